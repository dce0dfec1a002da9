/**
 * The header of a hosted sparse extent: "Virtual Disk Format 5.0" (VMware technical note, 2011), section "Hosted Sparse
 * Extent Header"; the same layout as version 1.1 of the note. All fields little-endian, offsets in 512-byte sectors.
 */
import { invalid, unsupported } from '../../common/errors.js';

export const SECTOR = 512;
/** Grains of 128 sectors: the size QEMU and VMware use for hosted sparse extents. */
export const GRAIN_SECTORS = 128;
export const GRAIN_BYTES = GRAIN_SECTORS * SECTOR;
/** Entries per grain table; the note fixes it at 512. */
export const GTES_PER_GT = 512;
/** Sectors reserved for the embedded descriptor, as VMware's tools and QEMU do. */
export const DESCRIPTOR_SECTORS = 20;
/** The largest capacity accepted: with 64 KiB grains a grain directory of 32 Ki entries. */
export const MAX_CAPACITY = 1024 * 2 ** 30;

const MAGIC = 0x564d444b; // "KDMV" in file order
const FLAG_NEWLINE_TEST = 1;
const FLAG_REDUNDANT_TABLE = 2;
const FLAG_ZERO_GRAIN = 4;
const FLAG_COMPRESSED = 0x10000;
const FLAG_MARKERS = 0x20000;

/** The header's fields that a reader needs; positions and sizes in sectors. */
export interface SparseHeader {
  version: number;
  capacity: number;
  grainSize: number;
  descriptorOffset: number;
  descriptorSize: number;
  gtesPerGt: number;
  rgdOffset: number;
  gdOffset: number;
  overHead: number;
  /** A grain table entry of 1 means "reads as zeros, whatever the parent has". */
  zeroGrains: boolean;
  /** There is a second grain directory, with tables of its own. */
  redundant: boolean;
}

/** Where the parts of an extent of `capacity` sectors are if all grain tables are laid out at creation. */
export interface SparseLayout {
  capacity: number;
  grains: number;
  /** Number of grain tables (and of grain directory entries). */
  tables: number;
  rgdOffset: number;
  rgtOffset: number;
  gdOffset: number;
  gtOffset: number;
  /** First sector of grain data. */
  overHead: number;
}

const GT_SECTORS = (GTES_PER_GT * 4) / SECTOR;

/** The layout of an extent of `bytes` capacity: descriptor, redundant directory and tables, directory and tables, grains. */
export function layoutFor(bytes: number): SparseLayout {
  if (!Number.isSafeInteger(bytes) || bytes <= 0 || bytes % SECTOR !== 0 || bytes > MAX_CAPACITY) {
    throw invalid(`a disk of ${bytes} bytes cannot be made: a multiple of 512, at most ${MAX_CAPACITY}, is needed`);
  }
  const capacity = bytes / SECTOR;
  const grains = Math.ceil(capacity / GRAIN_SECTORS);
  const tables = Math.ceil(grains / GTES_PER_GT);
  const gdSectors = Math.ceil((tables * 4) / SECTOR);
  const rgdOffset = 1 + DESCRIPTOR_SECTORS;
  const rgtOffset = rgdOffset + gdSectors;
  const gdOffset = rgtOffset + tables * GT_SECTORS;
  const gtOffset = gdOffset + gdSectors;
  const overHead = Math.ceil((gtOffset + tables * GT_SECTORS) / GRAIN_SECTORS) * GRAIN_SECTORS;
  return { capacity, grains, tables, rgdOffset, rgtOffset, gdOffset, gtOffset, overHead };
}

/** The 512 bytes of a version 1 header for `layout`. */
export function encodeHeader(layout: SparseLayout): Buffer {
  const b = Buffer.alloc(SECTOR);
  b.writeUInt32LE(MAGIC, 0);
  b.writeUInt32LE(1, 4);
  b.writeUInt32LE(FLAG_NEWLINE_TEST | FLAG_REDUNDANT_TABLE, 8);
  const u64 = (value: number, at: number) => b.writeBigUInt64LE(BigInt(value), at);
  u64(layout.capacity, 12);
  u64(GRAIN_SECTORS, 20);
  u64(1, 28);
  u64(DESCRIPTOR_SECTORS, 36);
  b.writeUInt32LE(GTES_PER_GT, 44);
  u64(layout.rgdOffset, 48);
  u64(layout.gdOffset, 56);
  u64(layout.overHead, 64);
  b[72] = 0; // uncleanShutdown
  b.write('\n \r\n', 73, 'latin1');
  return b;
}

/** The grain directory (one entry per grain table, in sectors) whose tables begin at sector `tablesAt`. */
export function encodeDirectory(layout: SparseLayout, tablesAt: number): Buffer {
  const b = Buffer.alloc(layout.tables * 4);
  for (let i = 0; i < layout.tables; i++) b.writeUInt32LE(tablesAt + i * GT_SECTORS, i * 4);
  return b;
}

/** Parses and checks the first 512 bytes of a file; `fileSize` in bytes bounds every offset. */
export function decodeHeader(b: Buffer, fileSize: number): SparseHeader {
  if (b.length < SECTOR || b.readUInt32LE(0) !== MAGIC) throw invalid('not a sparse VMDK: no KDMV magic');
  const version = b.readUInt32LE(4);
  const flags = b.readUInt32LE(8);
  if (version < 1 || version > 2) throw unsupported(`VMDK version ${version} is not supported`);
  if (flags & (FLAG_COMPRESSED | FLAG_MARKERS)) throw unsupported('compressed VMDKs are not supported as disks');
  if (flags & FLAG_NEWLINE_TEST && b.toString('latin1', 73, 77) !== '\n \r\n') {
    throw invalid('the VMDK was damaged by a text-mode transfer (newline test)');
  }
  const u64 = (at: number): number => {
    const value = b.readBigUInt64LE(at);
    if (value > 2n ** 43n) throw invalid(`an offset in the VMDK header is out of range: ${value}`);
    return Number(value);
  };
  const header: SparseHeader = {
    version,
    capacity: u64(12),
    grainSize: u64(20),
    descriptorOffset: u64(28),
    descriptorSize: u64(36),
    gtesPerGt: b.readUInt32LE(44),
    rgdOffset: u64(48),
    gdOffset: u64(56),
    overHead: u64(64),
    zeroGrains: (flags & FLAG_ZERO_GRAIN) !== 0,
    redundant: (flags & FLAG_REDUNDANT_TABLE) !== 0,
  };
  if (header.capacity === 0 || header.capacity * SECTOR > MAX_CAPACITY) {
    throw invalid(`a VMDK capacity of ${header.capacity} sectors is out of range`);
  }
  if (header.grainSize !== GRAIN_SECTORS) {
    throw unsupported(`VMDK grains of ${header.grainSize * SECTOR} bytes are not supported`);
  }
  if (header.gtesPerGt !== GTES_PER_GT)
    throw invalid(`a VMDK has ${header.gtesPerGt} entries per grain table, not 512`);
  const tables = Math.ceil(header.capacity / (GRAIN_SECTORS * GTES_PER_GT));
  const within = (sector: number, bytes: number) => sector > 0 && sector * SECTOR + bytes <= fileSize;
  if (!within(header.gdOffset, tables * 4)) throw invalid('the grain directory of a VMDK lies outside the file');
  if (header.descriptorSize > 2048 || !within(header.descriptorOffset, header.descriptorSize * SECTOR)) {
    throw invalid('the descriptor of a VMDK lies outside the file');
  }
  return header;
}
