/**
 * What hostd knows of each disk that a VM writes to, and the VM's QEMU cannot change: a file `<disk>.caisson-disk` beside the disk, made when
 * hostd first has to do with the disk for a VM, before any QEMU has it. A disk that says something else later is not started with.
 *
 * The record moves and goes with the disk's directory. Clients of the datastore cannot name it (`Datastore.inside`).
 */
import { copyFile, readFile, rename, rm } from 'node:fs/promises';
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

/** True for the path of a record, or of what would lie in a record's place. */
export function isRecordPath(path: string): boolean {
  return path.split('/').some((name) => name.endsWith(SUFFIX));
}

/** The record of a disk; null: there is none. @throws invalid for one that cannot be read: it is not made anew */
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

/** Records what a disk is, if nothing was recorded of it: what was there before records were kept is taken as it is. */
export async function recordDisk(disk: string): Promise<void> {
  if ((await readRecord(disk)) !== null) return;
  const file = await FileBlocks.open(disk);
  try {
    await writeRecord(disk, (await readVmdkIdentity(file)).identity);
  } finally {
    await file.close();
  }
}

/** The directory of images that a layer's disk is in; null for any other disk. Layers need no record: no QEMU has one for writing. */
export function imagesOf(path: string): string | null {
  return /^(.*\/VIC\/[^/]+\/images)\/[^/]+\/[^/]+\.vmdk$/.exec(path)?.[1] ?? null;
}

/** Records the disks that a VM was given, as far as they are there: one that is no disk is told of when it is started. */
export async function recordDisks(disks: readonly string[]): Promise<void> {
  for (const disk of disks) if (imagesOf(disk) === null) await recordDisk(disk).catch(() => undefined);
}

/** A disk was copied: what its copy has to be is known too. */
export async function copyRecord(from: string, to: string): Promise<void> {
  try {
    await copyFile(recordPath(from), recordPath(to));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    await diskReplaced(to);
  }
}

/** The disk is gone, or another is in its place by an administrator's doing. */
export async function forgetRecord(disk: string): Promise<void> {
  await rm(recordPath(disk), { force: true });
}

/**
 * Another file was put in the disk's place by a client of the datastore. One without parent is taken as it is. One with a parent must be
 * what was recorded: who changes a container's files puts its disk back whole, also one that its QEMU has tampered with.
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
