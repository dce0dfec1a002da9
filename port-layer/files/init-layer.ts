/**
 * What Docker puts into every container before it starts (moby, `daemon/initlayer`): mount points, and empty files to bind others over.
 * Anything else that an image has in those places gives way, and so do links in the paths to them. The guest does the same when a container
 * starts for the first time (`tether/guest/place.c`); this does it for a container whose files are asked for earlier.
 */
import {
  Errno,
  type FileEntry,
  FileError,
  isDirectory,
  isRegular,
  isSymlink,
  type RootFiles,
  S_IFDIR,
  S_IFLNK,
  S_IFREG,
  using,
} from './root-files.js';

type Fixture = 'directory' | 'file' | { link: string };

const MARKER = '.dockerenv';

/** By path without its leading slash; a directory before what is in it. */
const FIXTURES: ReadonlyMap<string, Fixture> = new Map<string, Fixture>([
  ['dev', 'directory'],
  ['dev/pts', 'directory'],
  ['dev/shm', 'directory'],
  ['dev/console', 'file'],
  ['proc', 'directory'],
  ['sys', 'directory'],
  ['etc', 'directory'],
  ['etc/resolv.conf', 'file'],
  ['etc/hosts', 'file'],
  ['etc/hostname', 'file'],
  ['etc/mtab', { link: '/proc/mounts' }],
  // Last, because it marks the others as made.
  [MARKER, 'file'],
]);

/** Whether the init layer has something at the path. */
export function isFixturePath(path: string): boolean {
  return FIXTURES.has(path);
}

/** Whether this is what the init layer makes at its path. */
export function isFixture(entry: FileEntry): boolean {
  const fixture = FIXTURES.get(entry.path);
  if (fixture === undefined || entry.uid !== 0 || entry.gid !== 0) return false;
  if (fixture === 'directory') return isDirectory(entry) && (entry.mode & 0o7777) === 0o755;
  if (fixture === 'file') return isRegular(entry) && entry.size === 0;
  return isSymlink(entry) && entry.target === fixture.link;
}

/**
 * Makes the init layer on a disk, unless that was already done: later changes to it are kept.
 * @param open opens the container's files: once to look, and again if anything has to be made
 * @param createdAt when the container was created, ISO 8601. Only a `/.dockerenv` newer than that is the container's own; an older one came
 *   with the image
 */
export async function makeInitLayer(open: () => Promise<RootFiles>, createdAt: string): Promise<void> {
  const created = Math.floor(Date.parse(createdAt) / 1000);
  const missing = await using(open, (files) => missingFixtures(files, created));
  if (missing.length === 0) return;
  await using(open, async (files) => {
    for (const path of missing) await files.put(fixtureEntry(path), false);
    await files.finish();
  });
}

async function missingFixtures(files: RootFiles, created: number): Promise<string[]> {
  const marker = await entryAt(files, MARKER);
  if (marker !== null && isRegular(marker) && marker.ctime.sec >= created) return [];
  const missing = new Set<string>();
  for (const [path, fixture] of FIXTURES) {
    const slash = path.lastIndexOf('/');
    const there = missing.has(path.slice(0, Math.max(slash, 0))) ? null : await entryAt(files, path);
    if (there !== null && isDirectory(there)) continue;
    const same = there !== null && fixture !== 'directory' && there.nlink === 1 && isFixture(there);
    if (!same || path === MARKER) missing.add(path);
  }
  return [...missing];
}

async function entryAt(files: RootFiles, path: string): Promise<FileEntry | null> {
  try {
    return { ...(await files.stat(`/${path}`)), path };
  } catch (error) {
    if (error instanceof FileError && error.errno === Errno.ENOENT) return null;
    throw error;
  }
}

function fixtureEntry(path: string): FileEntry {
  const fixture = FIXTURES.get(path)!;
  const now = { sec: Math.floor(Date.now() / 1000), nsec: 0 };
  const mode = fixture === 'directory' ? S_IFDIR | 0o755 : fixture === 'file' ? S_IFREG | 0o755 : S_IFLNK | 0o777;
  const nothing = { uid: 0, gid: 0, nlink: 1, size: 0, ino: 0n, dev: 0n, major: 0, minor: 0, capability: null };
  const target = typeof fixture === 'object' ? fixture.link : '';
  return { path: `/${path}`, mode, ...nothing, mtime: now, ctime: now, atime: now, target };
}
