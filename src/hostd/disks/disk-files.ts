/** Files of virtual disks, each with what is on record about it. */
import { mkdir, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { createChild, createEmpty } from '../../disk/index.js';
import { forgetRecord, recordDisk } from './disk-records.js';

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
