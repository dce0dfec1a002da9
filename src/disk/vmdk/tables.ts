/** A VMDK's grain directory and tables, all of them, and whether they fit into their file. */
import { invalid } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';
import { decodeHeader, GRAIN_BYTES, GRAIN_SECTORS, GTES_PER_GT, SECTOR } from './header.js';

/** Bytes of a grain table. */
export const TABLE_BYTES = GTES_PER_GT * 4;
const TABLE_SECTORS = TABLE_BYTES / SECTOR;
/** Tables read at once: 1 MiB. */
const BATCH = 512;

/** The sectors of all tables; 0: there is none. @param at sector of the directory @param tables how many */
export async function readDirectory(file: BlockReader, at: number, tables: number): Promise<number[]> {
  const bytes = await file.read(at * SECTOR, tables * 4);
  return Array.from({ length: tables }, (_, i) => bytes.readUInt32LE(i * 4));
}

/** The tables that can be read, neighbours in one read. @param sound which of them can */
export async function* tablesOf(
  file: BlockReader,
  directory: readonly number[],
  sound: readonly boolean[],
): AsyncGenerator<{ index: number; bytes: Buffer }> {
  for await (const { first, count, bytes } of batches(file, directory, sound))
    for (let i = 0; i < count; i++)
      yield { index: first + i, bytes: bytes.subarray(i * TABLE_BYTES, (i + 1) * TABLE_BYTES) };
}

async function* batches(
  file: BlockReader,
  directory: readonly number[],
  sound: readonly boolean[],
): AsyncGenerator<{ first: number; count: number; bytes: Buffer }> {
  for (let first = 0; first < directory.length; ) {
    if (!sound[first]) {
      first++;
      continue;
    }
    const start = directory[first] as number;
    let count = 1;
    while (count < BATCH && sound[first + count] && directory[first + count] === start + count * TABLE_SECTORS) count++;
    yield { first, count, bytes: await file.read(start * SECTOR, count * TABLE_BYTES) };
    first += count;
  }
}

/**
 * What a start can afford to check (about a millisecond for 32 GiB): no table and no grain lies outside the file, or on its first sectors.
 * @throws invalid
 */
export async function checkTablesFit(file: BlockReader): Promise<void> {
  const header = decodeHeader(await file.read(0, Math.min(file.size, SECTOR)), file.size);
  if (header.overHead * SECTOR > file.size) throw invalid('its grains begin beyond the end of the file');
  const tables = Math.ceil(header.capacity / (GRAIN_SECTORS * GTES_PER_GT));
  const directory = await readDirectory(file, header.gdOffset, tables);
  const last = Math.floor(file.size / SECTOR) - TABLE_SECTORS;
  for (const [i, sector] of directory.entries())
    if (sector > last) throw invalid(`grain table ${i} lies beyond the end of the file, which was cut or is damaged`);
  const most = Math.floor((file.size - GRAIN_BYTES) / SECTOR);
  const least = header.descriptorOffset + header.descriptorSize;
  const sound = directory.map((sector) => sector !== 0);
  for await (const { first, bytes } of batches(file, directory, sound)) {
    const entries = wordsOf(bytes);
    for (let i = 0; i < entries.length; i++) {
      const sector = entries[i] as number;
      if (sector === 0 || (sector === 1 && header.zeroGrains)) continue;
      if (sector > most || sector < least) {
        const where = sector > most ? 'beyond the end of the file, which was cut or is damaged' : 'on its descriptor';
        throw invalid(`grain ${first * GTES_PER_GT + i} lies ${where}`);
      }
    }
  }
}

/** The little-endian numbers of 4 bytes in a buffer. */
function wordsOf(bytes: Buffer): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : Buffer.from(Uint8Array.from(bytes).buffer);
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}
