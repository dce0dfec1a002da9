/**
 * Stream-optimized VMDKs: "Virtual Disk Format 5.0", section "Stream-Optimized Compressed Sparse Extents". Header and descriptor, then
 * compressed grains and their tables, each after a marker, then the directory, a footer with its place, and the end of the stream. They
 * are written and read in one pass.
 */
import { promisify } from 'node:util';
import { deflate, inflate } from 'node:zlib';
import { invalid, unsupported } from '../../common/errors.js';
import { newCid } from './create.js';
import { decodeDescriptor, encodeStreamDescriptor } from './descriptor.js';
import { DESCRIPTOR_SECTORS, GRAIN_BYTES, GRAIN_SECTORS, GTES_PER_GT, MAX_CAPACITY, SECTOR } from './header.js';

const compress = promisify(deflate) as (data: Buffer) => Promise<Buffer>;
const expand = promisify(inflate) as (data: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

const MAGIC = 0x564d444b;
/** Newline test, compressed grains, markers. */
const FLAGS = 0x30001;
const DEFLATE = 1;
const OVERHEAD = 128;
const AT_END = 0xffffffffffffffffn;
const Marker = { end: 0, table: 1, directory: 2, footer: 3 } as const;
const TABLE_SECTORS = (GTES_PER_GT * 4) / SECTOR;
const TABLE_BYTES = GRAIN_BYTES * GTES_PER_GT;
/** Deflated data is hardly ever longer than what it is made of. */
const MAX_COMPRESSED = 2 * GRAIN_BYTES;
const MAX_DESCRIPTOR = 2048;

/** Content of a disk: whole grains in ascending order. */
export interface DiskGrain {
  index: number;
  data: Buffer;
}

function encodeHead(capacity: number, gdOffset: bigint): Buffer {
  const b = Buffer.alloc(SECTOR);
  b.writeUInt32LE(MAGIC, 0);
  b.writeUInt32LE(3, 4);
  b.writeUInt32LE(FLAGS, 8);
  b.writeBigUInt64LE(BigInt(capacity / SECTOR), 12);
  b.writeBigUInt64LE(BigInt(GRAIN_SECTORS), 20);
  b.writeBigUInt64LE(1n, 28);
  b.writeBigUInt64LE(BigInt(DESCRIPTOR_SECTORS), 36);
  b.writeUInt32LE(GTES_PER_GT, 44);
  b.writeBigUInt64LE(gdOffset, 56);
  b.writeBigUInt64LE(BigInt(OVERHEAD), 64);
  b.write('\n \r\n', 73, 'latin1');
  b.writeUInt16LE(DEFLATE, 77);
  return b;
}

function encodeMarker(value: number, type: number): Buffer {
  const b = Buffer.alloc(SECTOR);
  b.writeBigUInt64LE(BigInt(value), 0);
  b.writeUInt32LE(type, 12);
  return b;
}

/** The bytes of a stream-optimized disk. @param capacity bytes, a multiple of a grain. @param name of the file, for its descriptor */
export async function* writeVmdkStream(
  capacity: number,
  grains: AsyncIterable<DiskGrain>,
  name: string,
): AsyncGenerator<Buffer> {
  const tables = Math.ceil(capacity / TABLE_BYTES);
  const directory = Buffer.alloc(Math.ceil((tables * 4) / SECTOR) * SECTOR);
  let sector = 0;
  const counted = (bytes: Buffer): Buffer => {
    sector += bytes.length / SECTOR;
    return bytes;
  };
  let table: { index: number; entries: Buffer } | null = null;
  const endTable = (): Buffer[] => {
    if (table === null) return [];
    const marker = counted(encodeMarker(TABLE_SECTORS, Marker.table));
    directory.writeUInt32LE(sector, table.index * 4);
    const entries = counted(table.entries);
    table = null;
    return [marker, entries];
  };
  yield counted(encodeHead(capacity, AT_END));
  yield counted(encodeStreamDescriptor(newCid(), capacity / SECTOR, name, OVERHEAD - 1));
  for await (const { index, data } of grains) {
    const of = Math.floor(index / GTES_PER_GT);
    if (table !== null && (table as { index: number }).index !== of) yield* endTable();
    table ??= { index: of, entries: Buffer.alloc(TABLE_SECTORS * SECTOR) };
    const packed = await compress(data);
    const out = Buffer.alloc(Math.ceil((12 + packed.length) / SECTOR) * SECTOR);
    out.writeBigUInt64LE(BigInt(index * GRAIN_SECTORS), 0);
    out.writeUInt32LE(packed.length, 8);
    packed.copy(out, 12);
    (table as { entries: Buffer }).entries.writeUInt32LE(sector, (index % GTES_PER_GT) * 4);
    yield counted(out);
  }
  yield* endTable();
  yield counted(encodeMarker(directory.length / SECTOR, Marker.directory));
  const at = sector;
  yield counted(directory);
  yield counted(encodeMarker(1, Marker.footer));
  yield encodeHead(capacity, BigInt(at));
  yield encodeMarker(0, Marker.end);
}

/** Bytes of a stream, taken in pieces of given lengths. */
class Taker {
  private pieces: Buffer[] = [];
  private length = 0;

  constructor(private readonly source: AsyncIterator<Buffer>) {}

  /** The next `length` bytes. @throws invalid if the stream ends before that */
  async take(length: number): Promise<Buffer> {
    while (this.length < length) {
      const { value, done } = await this.source.next();
      if (done === true) throw invalid('the disk is cut short');
      this.pieces.push(value);
      this.length += value.length;
    }
    const all = this.pieces.length === 1 ? this.pieces[0]! : Buffer.concat(this.pieces);
    this.pieces = [all.subarray(length)];
    this.length -= length;
    return all.subarray(0, length);
  }

  async skip(length: number): Promise<void> {
    for (let left = length; left > 0; left -= Math.min(left, GRAIN_BYTES)) await this.take(Math.min(left, GRAIN_BYTES));
  }
}

/** The first bytes of a VMDK: what {@link readVmdkStream} can read. */
export const VMDK_HEAD = SECTOR;

/** Whether a file that begins with `head` is a VMDK, and which kind of one. */
export function vmdkKind(head: Buffer): 'stream' | 'sparse' | null {
  if (head.length < SECTOR || head.readUInt32LE(0) !== MAGIC) return null;
  return (head.readUInt32LE(8) & 0x30000) === 0 ? 'sparse' : 'stream';
}

/**
 * Reads a stream-optimized disk, which may come from anybody. Nothing is kept but the piece being read.
 * @returns its capacity in bytes, and its grains
 * @throws invalid, unsupported, also while the grains are read
 */
export async function readVmdkStream(
  source: AsyncIterable<Buffer>,
): Promise<{ capacity: number; grains: AsyncGenerator<DiskGrain> }> {
  const input = new Taker(source[Symbol.asyncIterator]());
  const head = await input.take(SECTOR);
  if (vmdkKind(head) !== 'stream') throw invalid('it is no stream-optimized VMDK');
  const number = (at: number): number => {
    const value = head.readBigUInt64LE(at);
    if (value > 2n ** 43n) throw invalid(`an offset in the VMDK header is out of range: ${value}`);
    return Number(value);
  };
  const [sectors, grain, descriptorAt, descriptorSize, overHead] = [12, 20, 28, 36, 64].map(number) as [
    number,
    number,
    number,
    number,
    number,
  ];
  const capacity = sectors * SECTOR;
  if (capacity === 0 || capacity > MAX_CAPACITY) throw invalid(`a VMDK capacity of ${sectors} sectors is out of range`);
  if (grain !== GRAIN_SECTORS || head.readUInt32LE(44) !== GTES_PER_GT || head.readUInt16LE(77) !== DEFLATE)
    throw unsupported('the VMDK has another grain size, table size or compression than usual');
  if (descriptorAt === 0 || descriptorSize === 0 || descriptorSize > MAX_DESCRIPTOR)
    throw unsupported('a VMDK without a descriptor in it is not supported');
  if (overHead < descriptorAt + descriptorSize || overHead > 2 ** 20) throw invalid('a VMDK header makes no sense');
  await input.skip((descriptorAt - 1) * SECTOR);
  const { createType, parentHint } = decodeDescriptor(await input.take(descriptorSize * SECTOR));
  if (createType !== 'streamOptimized') throw unsupported(`VMDKs of type "${createType}" are not supported`);
  if (parentHint !== null) throw unsupported('it is the child of another disk');
  await input.skip((overHead - descriptorAt - descriptorSize) * SECTOR);
  return { capacity, grains: readGrains(input, capacity) };
}

async function* readGrains(input: Taker, capacity: number): AsyncGenerator<DiskGrain> {
  let last = -1;
  for (;;) {
    const marker = await input.take(SECTOR);
    const value = marker.readBigUInt64LE(0);
    const size = marker.readUInt32LE(8);
    if (size === 0) {
      const type = marker.readUInt32LE(12);
      if (type === Marker.end) return;
      if (type > Marker.footer || value > 2n ** 20n) throw invalid('a marker in the VMDK makes no sense');
      await input.skip(Number(value) * SECTOR);
      continue;
    }
    const index = Number(value) / GRAIN_SECTORS;
    if (size > MAX_COMPRESSED || !Number.isInteger(index) || index * GRAIN_BYTES >= capacity)
      throw invalid('a grain of the VMDK makes no sense');
    if (index <= last) throw invalid('the grains of the VMDK are not in order');
    last = index;
    const rest = Math.ceil((12 + size) / SECTOR) * SECTOR - SECTOR;
    const packed = rest === 0 ? marker : Buffer.concat([marker, await input.take(rest)]);
    const data = await expand(packed.subarray(12, 12 + size), { maxOutputLength: GRAIN_BYTES }).catch(
      (error: unknown) => {
        throw invalid('a grain of the VMDK is damaged', error);
      },
    );
    yield { index, data };
  }
}
