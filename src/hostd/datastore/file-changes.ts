/** Changing files of the datastore: what is on record of a disk goes along with it. Paths are local ones. */
import { copyFile, rename, rm, stat } from 'node:fs/promises';
import { copyRecord, forgetRecord, moveRecord } from '../disks/disk-records.js';

export async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

/** Deletes a file, or a directory with all that is in it. @throws Error of the system where there is none */
export async function deleteTree(path: string): Promise<void> {
  await stat(path);
  await rm(path, { recursive: true });
  await forgetRecord(path);
}

/** Deletes a file. @throws Error of the system where there is none */
export async function deleteFile(path: string): Promise<void> {
  await rm(path);
  await forgetRecord(path);
}

export async function move(from: string, to: string): Promise<void> {
  await rename(from, to);
  await moveRecord(from, to);
}

export async function copy(from: string, to: string): Promise<void> {
  await copyFile(from, to);
  await copyRecord(from, to);
}
