/** Searching the datastore's directories. */
import type { Dirent } from 'node:fs';
import { opendir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { matchesGlob } from '../../common/glob.js';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { restrictedCaller } from '../access/caller.js';
import { fault } from '../faults.js';
import { isOwnFile } from './own-files.js';

const MAX_PATTERNS = 50;
const MAX_PATTERN = 255;
/** What is found is kept with its task. */
const MAX_FOUND = 200_000;
/** Files that are looked at before others have their turn. */
const AT_ONCE = 200;

/** HostDatastoreBrowserSearchSpec, as far as it is heeded. */
export interface SearchSpec {
  matchPattern?: string[];
  details?: { fileType?: boolean; fileSize?: boolean; modification?: boolean };
}

/** What is in a directory. @param found counts for the whole search @throws LimitExceeded */
export async function entriesOf(local: string, found: { count: number }): Promise<Dirent[]> {
  const entries: Dirent[] = [];
  for await (const entry of await opendir(local)) {
    if (++found.count > MAX_FOUND && restrictedCaller() !== undefined)
      throw fault('LimitExceeded', `A search finds at most ${MAX_FOUND} files`, {
        property: 'file',
        limit: MAX_FOUND,
      });
    entries.push(entry);
  }
  return entries;
}

/** HostDatastoreBrowserSearchResults of one directory. @param path as it was asked for @param local its local path */
export async function listFiles(
  datastore: ManagedObjectReference,
  path: string,
  spec: SearchSpec | undefined,
  local: string,
  all: readonly Dirent[],
): Promise<object> {
  const patterns = spec?.matchPattern ?? ['*'];
  if (patterns.length > MAX_PATTERNS || patterns.some(({ length }) => length > MAX_PATTERN))
    throw fault('InvalidArgument', `A search has at most ${MAX_PATTERNS} patterns of ${MAX_PATTERN} characters`, {
      invalidProperty: 'searchSpec.matchPattern',
    });
  const file: object[] = [];
  for (let at = 0; at < all.length; at += AT_ONCE) {
    const entries = all
      .slice(at, at + AT_ONCE)
      .filter((entry) => !isOwnFile(entry.name) && patterns.some((pattern) => matchesGlob(entry.name, pattern)));
    const infos = await Promise.all(entries.map((entry) => stat(join(local, entry.name)).catch(() => null)));
    for (const [index, entry] of entries.entries())
      file.push({
        $type: entry.isDirectory() ? 'FolderFileInfo' : 'FileInfo',
        path: entry.name,
        fileSize: infos[index]?.size ?? 0,
        modification: infos[index]?.mtime ?? new Date(0),
      });
    await setImmediate();
  }
  return {
    datastore,
    folderPath: path.endsWith('/') || path.endsWith(']') ? path : `${path}/`,
    file,
  };
}
