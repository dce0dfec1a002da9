/** Paths of datastores, each a directory of this machine: `[datastore1] path` and local paths. None leads out of its datastore. */
import { join, normalize, sep } from 'node:path';
import { fault } from '../faults.js';
import { DATASTORE, type DatastorePlace } from './datastore-places.js';
import { isOwnFile } from './own-files.js';

/** Below it, datastores have the directories that clients are told. */
const MOUNTS = '/vmfs/volumes';
/** Longer paths would be kept in the faults of tasks. */
const MAX_PATH = 4096;

/** Where the host has a datastore mounted, as clients are told. */
export function datastoreMount(name: string): string {
  return `${MOUNTS}/${name}`;
}

/** Names files; looks at none of them. */
export class DatastorePaths {
  /** The first is {@link DATASTORE}. */
  readonly places: readonly DatastorePlace[];

  /**
   * @param directory of {@link DATASTORE} on this machine
   * @param more the other datastores; no directory contains another
   */
  constructor(
    readonly directory: string,
    more: readonly DatastorePlace[] = [],
  ) {
    this.places = [{ name: DATASTORE, directory }, ...more];
  }

  /** The datastore of that name. */
  named(name: string): DatastorePlace | undefined {
    return this.places.find((place) => place.name === name);
  }

  /** The datastore that a local path is in; {@link DATASTORE} for a path that is in none. */
  placeOf(local: string): DatastorePlace {
    return this.places.find((place) => isIn(local, place)) ?? this.places[0]!;
  }

  /** True for the directory of a whole datastore. */
  isRoot(local: string): boolean {
    return this.places.some(({ directory }) => directory === local);
  }

  /** Local path of `[datastore1] path`. @throws InvalidDatastorePath, InvalidDatastore */
  resolve(datastorePath: string): string {
    if (datastorePath.length > MAX_PATH)
      throw fault('InvalidDatastorePath', `A datastore path has at most ${MAX_PATH} characters`, {
        datastorePath: datastorePath.slice(0, 100),
      });
    const match = /^\[([^\]]*)\]\s*(.*)$/s.exec(datastorePath);
    if (match === null)
      throw fault('InvalidDatastorePath', `'${datastorePath}' is not a datastore path`, { datastorePath });
    const place = this.named(match[1]!);
    if (place === undefined) throw fault('InvalidDatastore', `There is no datastore '${match[1]}'`, { name: match[1] });
    return this.inside(match[2]!, place, datastorePath);
  }

  /** Local path of a path below a datastore's root. @throws InvalidDatastorePath */
  inside(path: string, { directory }: DatastorePlace = this.places[0]!, shown = path): string {
    const clean = normalize(`/${path}`);
    // hostd's own files are not for clients.
    if (path.includes('\0') || path.split('/').includes('..') || isOwnFile(clean))
      throw fault('InvalidDatastorePath', `'${shown}' is not a path of the datastore`, { datastorePath: shown });
    return clean === sep ? directory : join(directory, clean).replace(/\/$/, '');
  }

  /** True for the local path of a file that a client may know. The path may come from anybody's file. */
  has(local: string): boolean {
    const place = this.places.find(({ directory }) => local.startsWith(`${directory}/`));
    if (place === undefined) return false;
    try {
      return this.inside(this.relative(local), place) === local;
    } catch {
      return false;
    }
  }

  /** A local path without its datastore's directory; empty for that itself. */
  relative(local: string): string {
    return local.slice(this.placeOf(local).directory.length + 1);
  }

  /** `[datastore1] path` of a local path. */
  pathOf(local: string): string {
    return `[${this.placeOf(local).name}] ${this.relative(local)}`;
  }
}

function isIn(local: string, { directory }: DatastorePlace): boolean {
  return local === directory || local.startsWith(`${directory}/`);
}

/** `/vmfs/volumes/datastore1/path` of `[datastore1] path`; undefined for what is no datastore path. */
export function toMountedFile(file: string): string | undefined {
  const match = /^\[([^\]/]+)\] (.*)$/s.exec(file);
  return match === null ? undefined : `${datastoreMount(match[1]!)}/${match[2]}`;
}

/** The reverse of {@link toMountedFile}. */
export function fromMountedFile(path: string): string | undefined {
  const match = /^\/vmfs\/volumes\/([^/]+)\/(.*)$/s.exec(path);
  return match === null ? undefined : `[${match[1]}] ${match[2]}`;
}
