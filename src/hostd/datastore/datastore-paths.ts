/** Paths of the datastore `datastore1`, a directory of this machine: `[datastore1] path` and local paths. None leads out of it. */
import { join, normalize, sep } from 'node:path';
import { fault } from '../faults.js';
import { isOwnFile } from './own-files.js';

export const DATASTORE = 'datastore1';
/** Where the host has it mounted, as clients are told. */
export const DATASTORE_MOUNT = `/vmfs/volumes/${DATASTORE}`;
/** Longer paths would be kept in the faults of tasks. */
const MAX_PATH = 4096;

/** Names files; looks at none of them. */
export class DatastorePaths {
  /** @param directory the datastore's directory on this machine */
  constructor(readonly directory: string) {}

  /** Local path of `[datastore1] path`. @throws InvalidDatastorePath, InvalidDatastore */
  resolve(datastorePath: string): string {
    if (datastorePath.length > MAX_PATH)
      throw fault('InvalidDatastorePath', `A datastore path has at most ${MAX_PATH} characters`, {
        datastorePath: datastorePath.slice(0, 100),
      });
    const match = /^\[([^\]]*)\]\s*(.*)$/s.exec(datastorePath);
    if (match === null)
      throw fault('InvalidDatastorePath', `'${datastorePath}' is not a datastore path`, { datastorePath });
    if (match[1] !== DATASTORE)
      throw fault('InvalidDatastore', `There is no datastore '${match[1]}'`, { name: match[1] });
    return this.inside(match[2]!, datastorePath);
  }

  /** Local path of a path below the root. @throws InvalidDatastorePath */
  inside(path: string, shown = path): string {
    const clean = normalize(`/${path}`);
    // hostd's own files are not for clients.
    if (path.includes('\0') || path.split('/').includes('..') || isOwnFile(clean))
      throw fault('InvalidDatastorePath', `'${shown}' is not a path of the datastore`, { datastorePath: shown });
    return clean === sep ? this.directory : join(this.directory, clean).replace(/\/$/, '');
  }

  /** True for the local path of a file that a client may know. The path may come from anybody's file. */
  has(local: string): boolean {
    if (!local.startsWith(`${this.directory}/`)) return false;
    try {
      return this.inside(this.relative(local)) === local;
    } catch {
      return false;
    }
  }

  /** A local path without the datastore's directory; empty for that itself. */
  relative(local: string): string {
    return local.slice(this.directory.length + 1);
  }

  /** `[datastore1] path` of a local path. */
  pathOf(local: string): string {
    return `[${DATASTORE}] ${this.relative(local)}`;
  }
}
