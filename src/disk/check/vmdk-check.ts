/**
 * Finds damage in one VMDK file: its header, its descriptor, and the tables that say where its grains are. It reads no content. The format
 * is that of VMware's "Virtual Disk Format 5.0", "Hosted Sparse Extents".
 */
import { messageOf } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';
import { readVmdkInfo, type VmdkInfo } from '../vmdk/extent.js';
import { decodeHeader, GRAIN_BYTES, GRAIN_SECTORS, GTES_PER_GT, SECTOR, type SparseHeader } from '../vmdk/header.js';
import { readVmdkIdentity } from '../vmdk/identity.js';
import { readDirectory, TABLE_BYTES, tablesOf } from '../vmdk/tables.js';
import { Problems } from './problems.js';

/** What was found. */
export interface VmdkVerdict {
  /** In words; none: the file is sound. */
  problems: string[];
  /** What it says about itself; null if that cannot be read. */
  info: VmdkInfo | null;
  /** Grains that it has. */
  grains: number;
}

/** @throws only what reading the file throws */
export async function checkVmdk(file: BlockReader): Promise<VmdkVerdict> {
  const problems = new Problems();
  let header: SparseHeader;
  let info: VmdkInfo;
  try {
    header = decodeHeader(await file.read(0, Math.min(file.size, SECTOR)), file.size);
    info = await readVmdkInfo(file);
    await readVmdkIdentity(file);
  } catch (error) {
    return { problems: [messageOf(error)], info: null, grains: 0 };
  }
  const grains = await checkTables(file, header, problems);
  return { problems: problems.list(), info, grains };
}

async function checkTables(file: BlockReader, header: SparseHeader, problems: Problems): Promise<number> {
  const tables = Math.ceil(header.capacity / (GRAIN_SECTORS * GTES_PER_GT));
  const directory = await readDirectory(file, header.gdOffset, tables);
  if (header.overHead * SECTOR > file.size) problems.add('its grains begin beyond the end of the file');
  const fileSectors = Math.floor(file.size / SECTOR);
  const meta: Run[] = [
    { at: 0, length: 1, what: 'the header' },
    { at: header.descriptorOffset, length: header.descriptorSize, what: 'the descriptor' },
    { at: header.gdOffset, length: sectorsOf(tables * 4), what: 'the grain directory' },
  ];
  const sound = directory.map((sector, i) => {
    if (sector === 0) return false;
    if (sector + TABLE_BYTES / SECTOR > fileSectors) {
      problems.add(`grain table ${i} lies beyond the end of the file (sector ${sector})`);
      return false;
    }
    meta.push({ at: sector, length: TABLE_BYTES / SECTOR, what: `grain table ${i}` });
    return true;
  });
  const copy = await readCopy(file, header, tables, meta, problems);
  checkOverlap(meta, problems);
  return checkGrains(file, header, { directory, sound, copy }, meta, problems);
}

/** Sectors of something in a file, with a name for messages. */
interface Run {
  at: number;
  length: number;
  what: string;
}

const sectorsOf = (bytes: number): number => Math.ceil(bytes / SECTOR);

/** The second directory, whose tables a writer keeps equal to the first ones; null if the file has none. */
async function readCopy(
  file: BlockReader,
  header: SparseHeader,
  tables: number,
  meta: Run[],
  problems: Problems,
): Promise<number[] | null> {
  if (!header.redundant) return null;
  const length = sectorsOf(tables * 4);
  if (header.rgdOffset === 0 || (header.rgdOffset + length) * SECTOR > file.size) {
    problems.add('the second grain directory lies outside the file');
    return null;
  }
  meta.push({ at: header.rgdOffset, length, what: 'the second grain directory' });
  const copy = await readDirectory(file, header.rgdOffset, tables);
  copy.forEach((sector, i) => {
    if (sector === 0) return;
    if ((sector + TABLE_BYTES / SECTOR) * SECTOR > file.size)
      problems.add(`the second grain table ${i} lies beyond the end of the file (sector ${sector})`);
    else meta.push({ at: sector, length: TABLE_BYTES / SECTOR, what: `the second grain table ${i}` });
  });
  return copy;
}

/** Sorts the runs, and tells of two that share a sector. */
function checkOverlap(runs: Run[], problems: Problems): void {
  runs.sort((a, b) => a.at - b.at);
  for (let i = 1; i < runs.length; i++) {
    const [before, run] = [runs[i - 1] as Run, runs[i] as Run];
    if (before.at + before.length > run.at) problems.add(`${before.what} and ${run.what} lie in the same place`);
  }
}

interface Tables {
  directory: number[];
  /** Whether the table of each entry can be read. */
  sound: boolean[];
  copy: number[] | null;
}

/** Each grain is in the file, in no other's place and in no table's; the second tables say the same. @returns how many there are */
async function checkGrains(
  file: BlockReader,
  header: SparseHeader,
  { directory, sound, copy }: Tables,
  meta: Run[],
  problems: Problems,
): Promise<number> {
  const grains = Math.ceil(header.capacity / GRAIN_SECTORS);
  const places: number[] = [];
  const metaEnd = meta.reduce((end, { at, length }) => Math.max(end, at + length), 0);
  for await (const { index, bytes } of tablesOf(file, directory, sound)) {
    if (copy !== null) await checkCopy(file, { index, bytes }, copy[index] as number, problems);
    if (isBlank(bytes)) continue;
    for (let i = 0; i < GTES_PER_GT; i++) {
      const sector = bytes.readUInt32LE(i * 4);
      if (sector === 0 || (sector === 1 && header.zeroGrains)) continue;
      const grain = index * GTES_PER_GT + i;
      if (grain >= grains) problems.add(`there is a grain ${grain}, beyond the end of the disk`);
      else if (sector * SECTOR + GRAIN_BYTES > file.size)
        problems.add(`grain ${grain} lies beyond the end of the file (sector ${sector})`);
      else if (sector < metaEnd && clashes(meta, sector)) problems.add(`grain ${grain} lies on the file's own tables`);
      else places.push(sector);
    }
  }
  const sorted = Float64Array.from(places).sort();
  for (let i = 1; i < sorted.length; i++) {
    const [before, at] = [sorted[i - 1] as number, sorted[i] as number];
    if (at === before) problems.add(`two grains are in the same place (sector ${at})`);
    else if (at < before + GRAIN_SECTORS) problems.add(`the grains at sectors ${before} and ${at} overlap`);
  }
  return places.length;
}

async function checkCopy(
  file: BlockReader,
  { index, bytes }: { index: number; bytes: Buffer },
  sector: number,
  problems: Problems,
): Promise<void> {
  if (sector === 0) {
    if (!isBlank(bytes)) problems.add(`there is no second grain table ${index}`);
    return;
  }
  if ((sector + TABLE_BYTES / SECTOR) * SECTOR > file.size) return;
  if (!bytes.equals(await file.read(sector * SECTOR, TABLE_BYTES)))
    problems.add(`the two grain tables ${index} differ`);
}

const BLANK = Buffer.alloc(TABLE_BYTES);
const isBlank = (bytes: Buffer): boolean => bytes.equals(BLANK);

function clashes(meta: Run[], sector: number): boolean {
  return meta.some(({ at, length }) => sector < at + length && at < sector + GRAIN_SECTORS);
}
