/** Files of disks that a device change makes or deletes. */
import { createDisk, deleteDisk } from '../disks/disk-files.js';
import { recordDisks } from '../disks/disk-records.js';
import type { ChangedHardware } from './hardware/devices.js';

/** Makes the files of new disks: all of them or none. @param resolve local path of a datastore path */
export async function makeDisks(
  { hardware, create }: ChangedHardware,
  resolve: (file: string) => string,
): Promise<void> {
  const made: string[] = [];
  try {
    for (const { disk, parent, capacityBytes } of create) {
      const local = resolve(disk.file);
      await createDisk(local, parent === null ? null : resolve(parent), capacityBytes);
      made.push(local);
    }
  } catch (error) {
    for (const file of made) await deleteDisk(file);
    throw error;
  }
  // Recorded before any QEMU has them, so that a guest cannot change what is on record.
  await recordDisks(hardware.disks.map(({ file }) => resolve(file)));
}

/** Deletes the files that {@link makeDisks} has made, if the change fails. */
export async function deleteMade({ create }: ChangedHardware, resolve: (file: string) => string): Promise<void> {
  for (const { disk } of create) await deleteDisk(resolve(disk.file));
}

/** Deletes the files of removed disks. */
export async function deleteDisks({ removedFiles }: ChangedHardware, resolve: (file: string) => string): Promise<void> {
  for (const file of removedFiles) await deleteDisk(resolve(file));
}
