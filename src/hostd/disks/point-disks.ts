/**
 * Points: disks that nobody writes to any more, with which volumes share what they had in common when a snapshot or a clone was made. They
 * are in a directory `points` beside the directories of the volumes, and what stands on one is in this directory or beside it.
 *
 * A point is made of a volume's disk, which keeps its name: `<volume>.vmdk` becomes a new disk that stands on the point. The steps:
 *
 * 1. `<volume>.vmdk.switching` is made, a disk that stands on the point, which is not there yet.
 * 2. The point is made: a second name for the file `<volume>.vmdk`.
 * 3. A running VM writes to `….switching` from now on, and to the point no more.
 * 4. `….switching` is renamed to `<volume>.vmdk`.
 *
 * Whatever is killed in between, {@link settleSwitch} takes it to the end or back to the beginning.
 */
import { link, mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, relative } from 'node:path';
import { createChild, FileBlocks, readVmdkIdentity, writeContentId } from '../../disk/index.js';
import { copyRecord, forgetRecord, readRecord, recordDisk, recordPath } from './disk-records.js';

const SWITCHING = '.switching';

/** The directory of points that a disk is in; null for any other disk. No QEMU gets a point for writing. */
export function pointsOf(path: string): string | null {
  return /^(.*\/points)\/[0-9a-f]{16}\.vmdk$/.exec(path)?.[1] ?? null;
}

/** The directory that a disk's points are in: the disk's own if it is a point, else the one beside its directory. */
export function pointsBeside(path: string): string {
  return pointsOf(path) ?? `${dirname(dirname(path))}/points`;
}

/** A running VM that writes to a disk. */
export interface DiskWriter {
  pid: number;
  /** See `RunningVm.switchDisk`. */
  switchDisk(to: string): Promise<void>;
  /** See `RunningVm.releaseDisk`. */
  release(): Promise<void>;
}

/**
 * Makes a point of a disk; see the file's head. Nobody may start a VM with the disk meanwhile.
 * @param writer the VM that writes to it, if there is one: its filesystem should be frozen
 * @throws EEXIST when there is such a point; the disk is as before after any error
 */
export async function makePoint(disk: string, point: string, writer: DiskWriter | null): Promise<void> {
  await settleSwitch(disk, writer === null ? [] : [writer]);
  await recordDisk(disk);
  await takeChainId(disk);
  await mkdir(dirname(point), { recursive: true, mode: 0o755 });
  const next = `${disk}${SWITCHING}`;
  await makeNext(disk, point, next);
  try {
    await link(disk, point);
    await copyRecord(disk, point);
    await writer?.switchDisk(next);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') await undo(next, point);
    else await removeDisk(next);
    throw error;
  }
  await complete(next, disk);
}

/**
 * Gives a disk that stands on a point the point's content id: all points of a chain have the same, so that one can take another one's place
 * (`merge-disks.ts`). Nothing stands on the disk yet, and nobody writes to it at the moment.
 */
async function takeChainId(disk: string): Promise<void> {
  const file = await FileBlocks.open(disk);
  const { identity, cid } = await readVmdkIdentity(file).finally(() => file.close());
  if (identity.parentCid === null || identity.parentCid === cid) return;
  await writeContentId(disk, identity.parentCid);
}

/** The new disk, which is there whole or not at all. It stands on `disk` under the name that this is about to get. */
async function makeNext(disk: string, point: string, next: string): Promise<void> {
  const draft = `${next}.new`;
  await rm(draft, { force: true });
  await createChild(draft, disk, relative(dirname(disk), point));
  await rename(draft, next);
  await forgetRecord(next);
  await recordDisk(next);
}

/**
 * Ends a switch of a disk that was interrupted. If no VM writes to the disk, either end has the same content.
 * @param writers VMs that may have the disk open for writing
 */
export async function settleSwitch(disk: string, writers: readonly DiskWriter[]): Promise<void> {
  const next = `${disk}${SWITCHING}`;
  await rm(`${next}.new`, { force: true });
  const there = await stat(next).catch(() => null);
  if (there === null) return settleRecord(next, disk);
  const old = await stat(disk);
  const point = await pointOf(next);
  const shared = point === null ? null : await stat(point).catch(() => null);
  const isPoint = shared !== null && shared.ino === old.ino && shared.dev === old.dev;
  // A QEMU may have been given the new disk, and not been told to write to it.
  await Promise.all(writers.map((writer) => writer.release()));
  const open = await Promise.all(writers.map(({ pid }) => openFiles(pid)));
  const has = (file: { dev: number; ino: number }): boolean =>
    open.some((files) => files.has(`${file.dev}:${file.ino}`));
  // A VM that has both writes to the new one.
  if (isPoint && (has(there) || !has(old))) await complete(next, disk);
  else await undo(next, isPoint ? point : null);
}

/** The new disk is in its place, or was removed, and its record may still be under its former name. */
async function settleRecord(next: string, disk: string): Promise<void> {
  if ((await readRecord(next)) === null) return;
  if ((await readRecord(disk)) === null) await rename(recordPath(next), recordPath(disk));
  else await forgetRecord(next);
}

/** The local path of the disk that `next` stands on. */
async function pointOf(next: string): Promise<string | null> {
  const file = await FileBlocks.open(next);
  try {
    const { identity } = await readVmdkIdentity(file);
    const name = basename(identity.parentHint ?? '');
    const point = `${pointsBeside(next)}/${name}`;
    return pointsOf(point) === null ? null : point;
  } catch {
    return null;
  } finally {
    await file.close();
  }
}

async function complete(next: string, disk: string): Promise<void> {
  // If this is killed in between, the disk has no record for a moment, and is recorded as it is.
  await forgetRecord(disk);
  await rename(next, disk);
  await rename(recordPath(next), recordPath(disk)).catch(() => recordDisk(disk));
}

async function undo(next: string, point: string | null): Promise<void> {
  if (point !== null) await removeDisk(point);
  await removeDisk(next);
}

async function removeDisk(path: string): Promise<void> {
  await rm(path, { force: true });
  await forgetRecord(path);
}

/** Device and inode of each file that a process has open. */
async function openFiles(pid: number): Promise<Set<string>> {
  const names = await readdir(`/proc/${pid}/fd`).catch(() => []);
  const files = await Promise.all(names.map((fd) => stat(`/proc/${pid}/fd/${fd}`).catch(() => null)));
  return new Set(files.flatMap((file) => (file === null ? [] : [`${file.dev}:${file.ino}`])));
}

/** Whether a disk is where the disks that stand on that point may be. */
export function mayStandOnPoint(child: string, point: string): boolean {
  return pointsOf(point) !== null && pointsBeside(child) === dirname(point);
}
