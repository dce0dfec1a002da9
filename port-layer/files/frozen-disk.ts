/**
 * The disk of a running container, read on this side while the guest keeps its filesystem frozen. A frozen ext4 has written everything
 * back and its journal is empty, so the disk can be read like that of a container at rest, and nothing passes through the guest's channel.
 */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { RootFiles } from './root-files.js';

const log = logger('files');

/** Files that do not change, and whether that was so until now. */
export interface StillFiles {
  files: RootFiles;
  /** @throws when they may have changed since they were frozen: the container has ended, or its guest has thawed them */
  check(): Promise<void>;
}

/**
 * Freezes the files, and reads a running container's from its disk if the host gives that out. ESX locks the disk of a running machine:
 * there the guest reads them, as before.
 * @param files closed together with what is returned, but not if this fails
 * @param openDisk null for files that are read from a disk already
 */
export async function frozen(files: RootFiles, openDisk: (() => Promise<RootFiles>) | null): Promise<StillFiles> {
  await files.freeze();
  if (openDisk === null) return { files, check: async () => undefined };
  let disk: RootFiles;
  try {
    disk = await openDisk();
  } catch (error) {
    log.debug({ err: messageOf(error) }, "a running container's disk cannot be read, its guest reads it");
    return { files, check: async () => undefined };
  }
  const close = disk.close.bind(disk);
  disk.close = () => close().finally(() => files.close());
  // The server that has frozen them ends with the freeze.
  return { files: disk, check: () => files.finish() };
}

/** An archive that ends only if its files were still until all of it was read. */
export async function* whileStill(tar: AsyncIterable<Buffer>, check: () => Promise<void>): AsyncGenerator<Buffer> {
  let last: Buffer | null = null;
  for await (const part of tar) {
    if (last !== null) yield last;
    last = part;
  }
  await check();
  if (last !== null) yield last;
}
