/**
 * Directories of VMs that are not in the inventory yet, or no longer. Making and destroying a VM takes many steps, and hostd can be killed
 * between any two. An empty file marks the directory meanwhile, so that the next hostd knows that it belongs to nobody. Directories that
 * clients put there, or took out of the inventory with `UnregisterVM`, have no such file and stay.
 */
import { readdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { UNFINISHED } from './own-files.js';

const log = logger('inventory');

/** To be called before the first step. @throws Error of the system */
export async function markUnfinished(directory: string): Promise<void> {
  await writeFile(join(directory, UNFINISHED), '');
}

/** To be called when the VM is in the inventory for good. */
export async function markFinished(directory: string): Promise<void> {
  await rm(join(directory, UNFINISHED), { force: true });
}

/** Removes a VM's directory, the mark last. Does nothing if there is none. */
export async function removeMachineFiles(directory: string): Promise<void> {
  try {
    const names = (await readdir(directory)).filter((name) => name !== UNFINISHED);
    await Promise.all(names.map((name) => rm(join(directory, name), { recursive: true, force: true })));
    await rm(directory, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}

/**
 * Removes what an earlier hostd has left below `directory`. Links are not followed.
 * @param isMachines true for a directory that a VM of this hostd has, be it only about to be made
 */
export async function removeUnfinished(directory: string, isMachines: (path: string) => boolean): Promise<void> {
  try {
    for (const entry of await readdir(directory, { withFileTypes: true })) {
      if (entry.isDirectory()) await removeUnfinished(join(directory, entry.name), isMachines);
      if (entry.name !== UNFINISHED) continue;
      // It was killed between putting the VM into the inventory and taking away the mark.
      if (isMachines(directory)) await markFinished(directory);
      else {
        await removeMachineFiles(directory);
        log.info({ directory }, 'removed the files of a VM that was being made or destroyed');
      }
      return;
    }
  } catch (error) {
    // Directories may come and go meanwhile.
    log.debug({ err: messageOf(error), directory }, 'a directory could not be looked through');
  }
}
