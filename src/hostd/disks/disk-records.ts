/**
 * What hostd knows of each disk that a VM writes to. The VM's QEMU cannot change it: it is in a file `<disk>.caisson-disk` beside the
 * disk, made when hostd first handles the disk for a VM, before any QEMU has it. A VM with a disk that says something else later is not
 * started.
 *
 * The record moves and is removed with the disk's directory. Clients of the datastore cannot name it (`DatastorePaths.inside`).
 */
import { copyFile, readFile, rename, rm } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { z } from 'zod';
import { invalid } from '../../common/errors.js';
import { writeWhole } from '../../common/write-whole.js';
import { FileBlocks, readVmdkIdentity, type VmdkIdentity, vmdkDifference } from '../../disk/index.js';

const SUFFIX = '.caisson-disk';

const stored = z.strictObject({
  version: z.literal(1),
  header: z.string(),
  capacity: z.int().min(1),
  createType: z.string(),
  extents: z.array(z.string()),
  parentCid: z.string().nullable(),
  parentHint: z.string().nullable(),
});

/** Where a disk's record is. */
export function recordPath(disk: string): string {
  return `${disk}${SUFFIX}`;
}

/** True for a path that is, or could be, that of a record. */
export function isRecordPath(path: string): boolean {
  return path.split('/').some((name) => name.endsWith(SUFFIX));
}

/** True for a file that `writeWhole` makes before it is a record. */
export function isDraftOfRecord(name: string): boolean {
  return /\.caisson-disk\.\d+-\d+\.new$/.test(name);
}

/** The record of a disk, or null. @throws invalid for one that cannot be read: it is not made anew */
export async function readRecord(disk: string): Promise<VmdkIdentity | null> {
  let text: string;
  try {
    text = await readFile(recordPath(disk), 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const { version: _, ...identity } = stored.parse(JSON.parse(text));
    return identity;
  } catch (error) {
    throw invalid('what was recorded of it cannot be read', error);
  }
}

/** Records what a disk is now. */
export async function writeRecord(disk: string, identity: VmdkIdentity): Promise<void> {
  await writeWhole(recordPath(disk), JSON.stringify({ version: 1, ...identity }), 0o600);
}

/** Records what a disk is, unless there is a record. Disks from before there were records are taken as they are. */
export async function recordDisk(disk: string): Promise<void> {
  if ((await readRecord(disk)) !== null) return;
  const file = await FileBlocks.open(disk);
  try {
    await writeRecord(disk, (await readVmdkIdentity(file)).identity);
  } finally {
    await file.close();
  }
}

/** Whether a disk stands on another one, according to what is recorded of them. */
export async function standsOn(disk: string, other: string): Promise<boolean> {
  const seen = new Set<string>();
  for (let path = disk; !seen.has(path); ) {
    seen.add(path);
    const { parentHint = null } = (await readRecord(path).catch(() => null)) ?? {};
    if (parentHint === null) return false;
    path = resolve(dirname(path), parentHint);
    if (path === other) return true;
  }
  return false;
}

/** The directory of images that a layer's disk is in; null for any other disk. Layers need no record: no QEMU has one for writing. */
export function imagesOf(path: string): string | null {
  return /^(.*\/VIC\/[^/]+\/images)\/[^/]+\/[^/]+\.vmdk$/.exec(path)?.[1] ?? null;
}

/** Records the disks that a VM was given, if they are there. The start reports one that is no disk. */
export async function recordDisks(disks: readonly string[]): Promise<void> {
  for (const disk of disks) if (imagesOf(disk) === null) await recordDisk(disk).catch(() => undefined);
}

/** A disk was copied: the record holds for the copy too. */
export async function copyRecord(from: string, to: string): Promise<void> {
  try {
    await copyFile(recordPath(from), recordPath(to));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await diskReplaced(to);
  }
}

/** The disk is gone, or an administrator has put another in its place. */
export async function forgetRecord(disk: string): Promise<void> {
  await rm(recordPath(disk), { force: true });
}

/**
 * A client of the datastore has put another file in the disk's place. A disk without parent is taken as it is. One with a parent must
 * match the record: the endpoint, when it changes a container's files, puts the whole disk back, even one that its QEMU has tampered with.
 */
export async function diskReplaced(disk: string): Promise<void> {
  const record = await readRecord(disk);
  if (record === null) return;
  const file = await FileBlocks.open(disk);
  try {
    const { identity } = await readVmdkIdentity(file);
    if (identity.parentHint === null && vmdkDifference(record, identity) !== null) await forgetRecord(disk);
  } catch {
    // No disk at all: starting with it tells.
  } finally {
    await file.close();
  }
}

/** A file of the datastore was moved: the record goes with a disk. */
export async function moveRecord(from: string, to: string): Promise<void> {
  try {
    await rename(recordPath(from), recordPath(to));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await diskReplaced(to);
  }
}
