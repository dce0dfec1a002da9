/** Files of virtual disks, each with what is on record about it. */
import { mkdir, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { invalid } from '../../common/errors.js';
import {
  createChild,
  createEmpty,
  extendDisk,
  FileBlocks,
  readVmdkIdentity,
  vmdkDifference,
} from '../../disk/index.js';
import { forgetRecord, readRecord, recordDisk } from './disk-records.js';
import { whileUnfollowed } from './settled-disks.js';

/** Makes a disk at a local path, with a record that no QEMU can change. @param parent local path; null: a disk without parent */
export async function createDisk(path: string, parent: string | null, capacityBytes: number): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o755 });
  if (parent === null) await createEmpty(path, capacityBytes);
  else await createChild(path, parent);
  await forgetRecord(path);
  await recordDisk(path);
}

/** Deletes a disk, if it is there, and its record. */
export async function deleteDisk(path: string): Promise<void> {
  await rm(path, { force: true });
  await forgetRecord(path);
}

/**
 * Makes a disk larger that no VM uses. It is the old one until the new one is whole.
 * @param keep its content id, for a disk that others stand on
 * @throws invalid if it would not be larger, or is not what was recorded of it
 */
export async function enlargeDisk(path: string, capacityBytes: number, keep?: { cid: string }): Promise<void> {
  await recordDisk(path);
  const record = await readRecord(path);
  const file = await FileBlocks.open(path);
  const { identity } = await readVmdkIdentity(file).finally(() => file.close());
  const difference = record === null ? null : vmdkDifference(record, identity);
  if (difference !== null) throw invalid(`it is not what was recorded of it: ${difference}`);
  const draft = `${path}.larger`;
  await rm(draft, { force: true });
  await extendDisk(path, draft, capacityBytes, keep?.cid);
  await putInPlace(draft, path);
}

/** Puts an empty disk that stands on `parent` into the place of a disk that no VM uses, in one step. */
export async function replaceDisk(path: string, parent: string): Promise<void> {
  const draft = `${path}.replacing`;
  await rm(draft, { force: true });
  await createChild(draft, parent);
  await putInPlace(draft, path);
}

/** If this is killed in between, the disk has no record for a moment, and is recorded as it is. */
async function putInPlace(draft: string, path: string): Promise<void> {
  await whileUnfollowed(async () => {
    await forgetRecord(path);
    await rename(draft, path);
    await recordDisk(path);
  });
}
