/**
 * Makes a chain of disks shorter: two neighbours, of which nobody needs the lower one for itself, become one. In two steps:
 *
 * 1. {@link copyDown} puts what the upper disk has in itself into the lower one, in place. Every reader of the upper disk reads the same
 *    before, during and after this, VMs that run included.
 * 2. {@link moveUp} puts the lower disk into the place of the upper one. What stands on the upper disk stands on it from then on. A QEMU that
 *    has both open keeps the two files, and reads the same from them.
 *
 * What stands on a disk names it by its path and content id. All points of a chain therefore have the same content id (`makePoint`), and
 * nothing of a point has to be rewritten when it takes another one's place: a QEMU that has it open may look at its id at any time. Only the
 * disk of a volume, which step 2 replaces while no VM has it, has an id and a parent's path of its own.
 *
 * The lower disk is a point (`point-disks.ts`). A file `<point>.merge.caisson-disk` beside it says which disk was copied into it, and that it
 * is being moved, so that a hostd that is started later takes this to the end ({@link settleMoves}).
 */
import { readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { z } from 'zod';
import { invalid, messageOf, unsupported } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { writeWhole } from '../../common/write-whole.js';
import {
  commitDisk,
  FileBlocks,
  readVmdkIdentity,
  type VmdkIdentity,
  vmdkDifference,
  writeDescriptor,
} from '../../disk/index.js';
import type { DatastorePlace } from '../datastore/datastore-places.js';
import { enlargeDisk } from './disk-files.js';
import { forgetRecord, isDraftOfRecord, isRecordPath, readRecord, recordDisk, writeRecord } from './disk-records.js';
import { mayStandOnPoint, pointsBeside, pointsOf, settleSwitch } from './point-disks.js';
import { whileUnfollowed } from './settled-disks.js';

const log = logger('disks');
const MARK = '.merge.caisson-disk';

const marked = z.strictObject({
  version: z.literal(1),
  /** The upper disk, relative to the directory of the point, and its file as it was copied. */
  upper: z.string(),
  file: z.string(),
  moving: z.boolean(),
  /** What the lower disk says of itself in the place of the upper one. */
  cid: z.string(),
  parentCid: z.string().nullable(),
  parentHint: z.string().nullable(),
});
type Mark = z.infer<typeof marked>;

/**
 * Step 1. Only `upper` and what stands on it may stand on `lower`, and no VM may write to `upper`. It may be repeated.
 * @throws invalid, unsupported; both disks are usable then
 */
export async function copyDown(upper: string, lower: string): Promise<void> {
  await settleMoves(dirname(lower));
  await settleSwitch(upper, []);
  const above = await recorded(upper);
  await checkNeighbours(upper, above.identity, lower);
  let below = await recorded(lower);
  // What stands on a point, and a QEMU that has it open, keep to its content id.
  if (pointsOf(upper) !== null && above.cid !== below.cid)
    throw unsupported('the disks were made by an earlier version, which gave each one a content id of its own');
  if (below.identity.capacity < above.identity.capacity) {
    await enlargeDisk(lower, above.identity.capacity, { cid: below.cid });
    below = await recorded(lower);
  }
  await rm(markOf(lower), { force: true });
  const file = await stateOf(upper);
  await commitDisk(upper, lower);
  const { parentCid, parentHint } = below.identity;
  const hint = parentHint === null ? null : relative(dirname(upper), resolve(dirname(lower), parentHint));
  const mark: Mark = {
    version: 1,
    upper: relative(dirname(lower), upper),
    file,
    moving: false,
    cid: above.cid,
    parentCid,
    parentHint: hint,
  };
  await writeMark(lower, mark);
}

/**
 * Step 2. No VM may have `upper` for writing, or start with it meanwhile.
 * @throws invalid unless `upper` was copied into `lower` and has not changed since
 */
export async function moveUp(lower: string, upper: string): Promise<void> {
  const mark = await readMark(lower);
  if (mark === null || resolve(dirname(lower), mark.upper) !== upper)
    throw invalid('the disk was not copied into the one that is to take its place');
  if (mark.file !== (await stateOf(upper))) throw invalid('the disk has changed since it was copied');
  await writeMark(lower, { ...mark, moving: true });
  await whileUnfollowed(() => carryOut(lower, { ...mark, moving: true }));
}

/** Directories of points: those beside given disks, and those at the usual places of all datastores. @param disks local paths */
export async function pointDirectories(places: readonly DatastorePlace[], disks: readonly string[]): Promise<string[]> {
  const found = new Set(disks.map(pointsBeside));
  for (const { directory } of places)
    for (const above of ['', ...(await foldersIn(directory))]) {
      const vchs = join(directory, above, 'VIC');
      for (const vch of await foldersIn(vchs)) found.add(join(vchs, vch, 'volumes/points'));
    }
  return [...found];
}

async function foldersIn(directory: string): Promise<string[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  return entries.filter((entry) => entry.isDirectory()).map(({ name }) => name);
}

/** Ends what a hostd that was killed has begun. @param directory of points */
export async function settleMoves(directory: string): Promise<void> {
  const names = await readdir(directory).catch(() => []);
  for (const name of names.filter((one) => one.endsWith(MARK))) {
    const lower = join(directory, name.slice(0, -MARK.length));
    try {
      const mark = await readMark(lower);
      if (mark?.moving === true) await whileUnfollowed(() => carryOut(lower, mark));
      // The disk may have been written to by the time that this is asked for again.
      else await rm(markOf(lower), { force: true });
    } catch (error) {
      log.error({ disk: lower, err: messageOf(error) }, 'a disk stays between two places');
    }
  }
}

/** The same when hostd starts: drafts of records that a hostd was killed over go too. @param directory of points */
export async function settlePoints(directory: string): Promise<void> {
  await settleMoves(directory);
  const volumes = dirname(directory);
  for (const place of await foldersIn(volumes))
    for (const name of await readdir(join(volumes, place)))
      if (isDraftOfRecord(name)) await rm(join(volumes, place, name), { force: true });
}

/** Each step may have been done. */
async function carryOut(lower: string, mark: Mark): Promise<void> {
  const upper = resolve(dirname(lower), mark.upper);
  if (!mayStandOnPoint(upper, lower)) throw invalid('it is recorded to take the place of a disk that is not beside it');
  if (await isThere(lower)) {
    if (pointsOf(upper) === null) await writeDescriptor(lower, upper, mark);
    await rename(lower, upper);
  }
  await forgetRecord(upper);
  await recordDisk(upper);
  await forgetRecord(lower);
  await rm(markOf(lower), { force: true });
}

/** @throws invalid */
async function checkNeighbours(upper: string, { parentHint }: VmdkIdentity, lower: string): Promise<void> {
  const stands = mayStandOnPoint(upper, lower) && resolve(dirname(upper), parentHint ?? '') === lower;
  if (!stands) throw invalid(`${basename(upper)} does not stand on ${basename(lower)}`);
  const others = (await standingOn(lower)).filter((one) => one !== upper);
  if (others.length > 0)
    throw invalid(`${others.map((one) => basename(one)).join(', ')} stands on ${basename(lower)} too`);
}

/** The disks that stand on a point: among the other points, and those of the volumes beside. */
async function standingOn(point: string): Promise<string[]> {
  const points = dirname(point);
  const volumes = dirname(points);
  const directories = [
    points,
    ...(await readdir(volumes)).map((name) => join(volumes, name)).filter((one) => one !== points),
  ];
  const found: string[] = [];
  for (const directory of directories)
    for (const name of await readdir(directory).catch(() => [])) {
      if (!isRecordPath(name) || name.endsWith(MARK)) continue;
      const disk = join(directory, name.replace(/\.caisson-disk$/, ''));
      const parentHint = (await readRecord(disk).catch(() => null))?.parentHint ?? null;
      if (parentHint !== null && resolve(directory, parentHint) === point && (await isThere(disk))) found.push(disk);
    }
  return found;
}

/** What a disk says of itself. @throws invalid if that is not what was recorded of it */
async function recorded(path: string): Promise<{ identity: VmdkIdentity; cid: string }> {
  const record = await readRecord(path);
  const file = await FileBlocks.open(path);
  try {
    const found = await readVmdkIdentity(file);
    if (record === null) await writeRecord(path, found.identity);
    const difference = record === null ? null : vmdkDifference(record, found.identity);
    if (difference !== null) throw invalid(`${basename(path)} is not what was recorded of it: ${difference}`);
    return found;
  } finally {
    await file.close();
  }
}

/** Changes whenever something is written to the file. */
async function stateOf(path: string): Promise<string> {
  const { dev, ino, size, mtimeNs } = await stat(path, { bigint: true });
  return [dev, ino, size, mtimeNs].join(':');
}

function markOf(lower: string): string {
  return `${lower}${MARK}`;
}

function writeMark(lower: string, mark: Mark): Promise<void> {
  return writeWhole(markOf(lower), JSON.stringify(mark), 0o600);
}

async function readMark(lower: string): Promise<Mark | null> {
  const text = await readFile(markOf(lower), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  return text === null ? null : marked.parse(JSON.parse(text));
}

function isThere(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
