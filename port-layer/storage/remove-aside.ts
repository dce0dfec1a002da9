/** Removing a directory of the datastore so that it is never half there. */
import { randomBytes } from 'node:crypto';
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { ImageStoreFiles } from './image-store-files.js';

const log = logger('storage');

/**
 * Renames the directory to `<directory>.removed-…`, then removes its files, which takes many steps. Whoever loads the directory above removes
 * what is left under such a name. Does nothing if there is no such directory.
 * @throws if it could not be renamed: then it is still there, whole
 */
export async function removeAside(
  files: Pick<ImageStoreFiles, 'move' | 'remove' | 'list'>,
  directory: string,
): Promise<void> {
  const removed = `${directory}.removed-${randomBytes(4).toString('hex')}`;
  try {
    await files.move(directory, removed);
  } catch (error) {
    // If the answer was lost, it may have been renamed.
    if (!isKind(error, 'notFound') && !(await isThere(files, removed))) throw error;
  }
  await files
    .remove(removed)
    .catch((error: unknown) =>
      log.warn({ directory: removed, err: messageOf(error) }, 'removed files stay until the next start'),
    );
}

/** False if there is nothing in it, or if it is not known. */
async function isThere(files: Pick<ImageStoreFiles, 'list'>, directory: string): Promise<boolean> {
  return (await files.list(directory).catch(() => [])).length > 0;
}
