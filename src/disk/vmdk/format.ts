/** The monolithicSparse form of VMDK (VMware Virtual Disk Format 1.1, "Hosted Sparse Extents"): header, descriptor, grain tables. */
import { invalid } from '../../common/errors.js';

export const SECTOR = 512;
export const GRAIN_SECTORS = 128;
export const GRAIN = GRAIN_SECTORS * SECTOR;
export const TABLE_ENTRIES = 512;
const MAGIC = 0x564d444b;
const DESCRIPTOR_SECTOR = 1;
const DESCRIPTOR_SECTORS = 20;
/** The spec's "no parent" content id. */
export const NO_PARENT_CID = 0xffffffff;
const MAX_CAPACITY = 64 * 2 ** 40;

/** Where things are in one extent. Offsets and sizes in bytes. */
export interface ExtentLayout {
  capacity: number;
  directoryOffset: number;
  tableCount: number;
  /** First byte after the grain tables, where grains begin. */
  dataOffset: number;
}

/** What a descriptor says. */
export interface Descriptor {
  cid: number;
  parentCid: number;
  /** Path of the parent, relative to this file's directory unless absolute; null: none. */
  parentHint: string | null;
}

/** An opened extent's header and descriptor. */
export interface ExtentInfo extends Descriptor {
  layout: ExtentLayout;
}

/** The layout of a new extent. @param capacity a multiple of 64 KiB */
export function layoutFor(capacity: number): ExtentLayout {
  if (capacity <= 0 || capacity % GRAIN !== 0 || capacity > MAX_CAPACITY)
    throw invalid(`a disk's capacity must be a multiple of 64 KiB up to 64 TiB, not ${capacity}`);
  const tableCount = Math.ceil(capacity / GRAIN / TABLE_ENTRIES);
  const directoryOffset = (DESCRIPTOR_SECTOR + DESCRIPTOR_SECTORS) * SECTOR;
  const directorySize = roundUp(tableCount * 4, SECTOR);
  return {
    capacity,
    directoryOffset,
    tableCount,
    dataOffset: roundUp(directoryOffset + directorySize + tableCount * TABLE_ENTRIES * 4, GRAIN),
  };
}

/** Offset of the first grain table; they follow the directory without gaps. */
export function tablesOffset(layout: ExtentLayout): number {
  return layout.directoryOffset + roundUp(layout.tableCount * 4, SECTOR);
}

/** Header, descriptor and grain directory: the bytes before the grain tables. */
export function encodeHead(layout: ExtentLayout, descriptor: Descriptor, fileName: string): Buffer {
  const head = Buffer.alloc(tablesOffset(layout));
  head.writeUInt32LE(MAGIC, 0);
  head.writeUInt32LE(1, 4); // version
  head.writeUInt32LE(1, 8); // flags: the line-end test below is valid; no redundant tables
  writeU64(head, 12, layout.capacity / SECTOR);
  writeU64(head, 20, GRAIN_SECTORS);
  writeU64(head, 28, DESCRIPTOR_SECTOR);
  writeU64(head, 36, DESCRIPTOR_SECTORS);
  head.writeUInt32LE(TABLE_ENTRIES, 44);
  writeU64(head, 48, 0);
  writeU64(head, 56, layout.directoryOffset / SECTOR);
  writeU64(head, 64, layout.dataOffset / SECTOR);
  head.write('\n \r\n', 73, 'latin1');
  const text = descriptorText(layout, descriptor, fileName);
  if (Buffer.byteLength(text) > DESCRIPTOR_SECTORS * SECTOR) throw invalid('the path of a parent disk is too long');
  head.write(text, DESCRIPTOR_SECTOR * SECTOR);
  const first = tablesOffset(layout) / SECTOR;
  for (let i = 0; i < layout.tableCount; i++)
    head.writeUInt32LE(first + i * ((TABLE_ENTRIES * 4) / SECTOR), layout.directoryOffset + i * 4);
  return head;
}

function descriptorText(layout: ExtentLayout, descriptor: Descriptor, fileName: string): string {
  const sectors = layout.capacity / SECTOR;
  const hex = (value: number): string => (value >>> 0).toString(16).padStart(8, '0');
  return [
    '# Disk DescriptorFile',
    'version=1',
    `CID=${hex(descriptor.cid)}`,
    `parentCID=${hex(descriptor.parentCid)}`,
    'createType="monolithicSparse"',
    ...(descriptor.parentHint === null ? [] : [`parentFileNameHint="${descriptor.parentHint}"`]),
    '',
    '# Extent description',
    `RW ${sectors} SPARSE "${fileName}"`,
    '',
    '# The Disk Data Base',
    '#DDB',
    '',
    'ddb.virtualHWVersion = "4"',
    `ddb.geometry.cylinders = "${Math.min(16383, Math.floor(sectors / (255 * 63)))}"`,
    'ddb.geometry.heads = "255"',
    'ddb.geometry.sectors = "63"',
    'ddb.adapterType = "lsilogic"',
    '',
  ].join('\n');
}

/** Bytes of a file's beginning that {@link decodeHead} needs. */
export const HEAD_BYTES = (DESCRIPTOR_SECTOR + DESCRIPTOR_SECTORS) * SECTOR;

/** Parses a header and its embedded descriptor. @throws invalid for anything but a sparse extent we can read */
export function decodeHead(head: Buffer): ExtentInfo {
  if (head.length < HEAD_BYTES || head.readUInt32LE(0) !== MAGIC) throw invalid('not a sparse VMDK');
  const flags = head.readUInt32LE(8);
  if ((flags & 0x30000) !== 0 || readU64(head, 20) !== GRAIN_SECTORS || head.readUInt32LE(44) !== TABLE_ENTRIES)
    throw invalid('this form of VMDK is not supported: monolithicSparse with grains of 64 KiB is');
  const capacity = readU64(head, 12) * SECTOR;
  if (capacity <= 0 || capacity > MAX_CAPACITY) throw invalid('damaged VMDK: impossible capacity');
  const text = head.toString('latin1', SECTOR * DESCRIPTOR_SECTOR).split('\0')[0]!;
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}\\s*=\\s*"?([^"\\n]*)"?\\s*$`, 'm').exec(text)?.[1];
  const parentCid = Number.parseInt(field('parentCID') ?? 'ffffffff', 16);
  return {
    cid: Number.parseInt(field('CID') ?? 'fffffffe', 16),
    parentCid,
    parentHint:
      parentCid === NO_PARENT_CID ? null : Buffer.from(field('parentFileNameHint') ?? '', 'latin1').toString('utf8'),
    layout: {
      capacity,
      directoryOffset: readU64(head, 56) * SECTOR,
      tableCount: Math.ceil(capacity / GRAIN / TABLE_ENTRIES),
      dataOffset: readU64(head, 64) * SECTOR,
    },
  };
}

export function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

function writeU64(buffer: Buffer, offset: number, value: number): void {
  buffer.writeBigUInt64LE(BigInt(value), offset);
}

function readU64(buffer: Buffer, offset: number): number {
  const value = buffer.readBigUInt64LE(offset);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid('damaged VMDK: impossible offset');
  return Number(value);
}
