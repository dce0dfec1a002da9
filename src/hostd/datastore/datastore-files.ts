/** Files of the datastore as a caller may reach them. */
import { lstat, realpath } from 'node:fs/promises';
import { dirname, sep } from 'node:path';
import { restrictedCaller } from '../access/caller.js';
import { fault } from '../faults.js';
import { DatastorePaths } from './datastore-paths.js';
import type { DatastorePlace } from './datastore-places.js';
import type { Need } from './file-access.js';

/** Paths of the datastore, with the check that every file named in a request must pass. */
export class DatastoreFiles extends DatastorePaths {
  /** @param check throws NoPermission where the caller may not do that with the file of that local path */
  constructor(
    directory: string,
    more: readonly DatastorePlace[],
    private readonly check: (local: string, need: Need) => void,
  ) {
    super(directory, more);
  }

  /**
   * Local path of `[datastore1] path` for a caller who wants to do something with it: every file that a request names goes through
   * here or {@link admit}. @throws NoPermission, InvalidDatastorePath, InvalidDatastore
   */
  async locate(datastorePath: string, need: Need): Promise<string> {
    return this.admit(this.resolve(datastorePath), need);
  }

  /** As {@link locate}, for a local path. */
  async admit(local: string, need: Need): Promise<string> {
    this.check(local, need);
    await this.confine(local);
    return local;
  }

  /** Refuses a path that a symbolic link would lead out of the datastore. @throws InvalidDatastorePath */
  private async confine(local: string): Promise<void> {
    const { directory } = this.placeOf(local);
    const root = await realpath(directory);
    for (let at = local; at.length > directory.length; at = dirname(at)) {
      const stat = await lstat(at).catch(() => null);
      if (stat === null) continue;
      const real = await realpath(at);
      if (real !== root && !real.startsWith(`${root}${sep}`))
        throw fault('InvalidDatastorePath', 'The path leads out of the datastore', { datastorePath: this.pathOf(at) });
      // The path tells whose a file is, and a link could lead to somebody else's.
      if (restrictedCaller() !== undefined && real !== `${root}${at.slice(directory.length)}`)
        throw fault('InvalidDatastorePath', 'The path goes through a link', { datastorePath: this.pathOf(at) });
      return;
    }
  }
}
