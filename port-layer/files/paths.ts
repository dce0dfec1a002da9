/** Paths of a container's files, as Docker's daemon takes them from a request. One character per byte. */
import { Errno, FileError, isSymlink, type RootFiles } from './root-files.js';

const MAX_LINKS = 255;
/** As the kernel's PATH_MAX. */
const MAX_PATH = 4096;
/** Path components that are followed in all: a guest may give each link a long target. */
const MAX_STEPS = 16_384;

/** Text as bytes, one character each. */
export function toBytes(text: string): string {
  return Buffer.from(text).toString('latin1');
}

/** Bytes as text. */
export function toText(path: string): string {
  return Buffer.from(path, 'latin1').toString();
}

/** `path` counted from the root, without `.`, `..` and doubled slashes; a slash or `/.` at its end is kept. */
export function absolutePath(path: string): string {
  const clean = cleanPath(path);
  const last = withoutSlashes(path);
  const dot = last === '.' || last.endsWith('/.');
  const slash = path.endsWith('/');
  const base = clean === '/' ? '' : clean;
  if (dot) return `${base}/.${slash ? '/' : ''}`;
  return slash ? `${base}/` : clean;
}

/** `path` counted from the root, in its shortest form. It never climbs out. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split('/')) {
    if (part === '..') parts.pop();
    else if (part !== '' && part !== '.') parts.push(part);
  }
  return `/${parts.join('/')}`;
}

/** The last component, as Go's `filepath.Base`: `/` for the root, `.` for a path that ends with `/.`. */
export function baseName(path: string): string {
  const trimmed = withoutSlashes(path);
  return trimmed === '' ? '/' : trimmed.slice(trimmed.lastIndexOf('/') + 1);
}

/** The path without trailing slashes. */
function withoutSlashes(path: string): string {
  let end = path.length;
  while (end > 0 && path[end - 1] === '/') end--;
  return path.slice(0, end);
}

/** The directory that contains `path`. */
export function parentOf(path: string): string {
  const at = path.lastIndexOf('/');
  return at <= 0 ? '/' : path.slice(0, at);
}

/**
 * The path that `path` means with all its symbolic links followed.
 * @param missing whether a missing component is an error, or is kept as it is
 * @throws FileError ENOENT, ENOTDIR, ENAMETOOLONG, and ELOOP after too many links
 */
export async function followLinks(
  files: Pick<RootFiles, 'stat'>,
  path: string,
  missing: 'error' | 'keep',
): Promise<string> {
  const rest = path.split('/').reverse();
  let current = '';
  let followed = 0;
  let steps = 0;
  for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      current = current.slice(0, Math.max(0, current.lastIndexOf('/')));
      continue;
    }
    const next = `${current}/${name}`;
    if (next.length > MAX_PATH) throw new FileError({ errno: Errno.ENAMETOOLONG, operation: 'lstat', path });
    if (++steps > MAX_STEPS) throw new FileError({ errno: Errno.ELOOP, operation: 'lstat', path });
    const entry = await files.stat(next).catch((error: unknown) => {
      const nothing = error instanceof FileError && (error.errno === Errno.ENOENT || error.errno === Errno.ENOTDIR);
      if (missing === 'keep' && nothing) return null;
      throw error;
    });
    if (entry === null || !isSymlink(entry)) {
      current = next;
      continue;
    }
    if (++followed > MAX_LINKS) throw new FileError({ errno: Errno.ELOOP, operation: 'lstat', path });
    if (entry.target.startsWith('/')) current = '';
    rest.push(...entry.target.split('/').reverse());
  }
  return current === '' ? '/' : current;
}
