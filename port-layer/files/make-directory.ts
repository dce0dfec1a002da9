/** Makes the working directory of a container that has never been started: Docker makes it at create, a VM only when it starts. */
import { cleanPath, toBytes } from './paths.js';
import { Errno, FileError, isDirectory, type RootFiles, S_IFDIR, using } from './root-files.js';

/**
 * Makes a directory and its parents, unless it exists. If something else is in the way nothing is made: the start will report that.
 * @param open opens the container's files: once to look, and again if anything has to be made
 */
export async function makeDirectory(open: () => Promise<RootFiles>, directory: string): Promise<void> {
  const missing = await using(open, (files) => missingParts(files, cleanPath(toBytes(directory))));
  if (missing.length === 0) return;
  await using(open, async (files) => {
    const now = { sec: Math.floor(Date.now() / 1000), nsec: 0 };
    const ids = { uid: 0, gid: 0, nlink: 2, size: 0, ino: 0n, dev: 0n, major: 0, minor: 0 };
    const times = { mtime: now, ctime: now, atime: now };
    for (const path of missing)
      await files.put({ path, mode: S_IFDIR | 0o755, ...ids, ...times, target: '', capability: null }, true);
    await files.finish();
  });
}

/** What is to be made, outermost first. */
async function missingParts(files: RootFiles, path: string): Promise<string[]> {
  const parts = path.split('/').filter((part) => part !== '');
  for (let depth = 1; depth <= parts.length; depth++) {
    const part = (count: number): string => `/${parts.slice(0, count).join('/')}`;
    try {
      if (!isDirectory(await files.stat(part(depth)))) return [];
    } catch (error) {
      if (!(error instanceof FileError) || error.errno !== Errno.ENOENT) throw error;
      return parts.slice(depth - 1).map((_, index) => part(depth + index));
    }
  }
  return [];
}
