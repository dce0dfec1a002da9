/**
 * The files of a container, running or not, behind one interface: {@link RootFiles}. Paths are strings with one character per byte, from
 * the container's root, and nothing leads out of that root.
 */
import type { FileEntry, FileFailure } from '../../tether/protocol/files.js';
import { PortLayerError } from '../errors.js';

export type { FileEntry, FileTime } from '../../tether/protocol/files.js';

/** Type bits of `st_mode` (sys/stat.h). */
export const S_IFMT = 0o170000;
export const S_IFIFO = 0o010000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;
export const S_IFBLK = 0o060000;
export const S_IFREG = 0o100000;
export const S_IFLNK = 0o120000;
export const S_IFSOCK = 0o140000;

export const isDirectory = ({ mode }: FileEntry): boolean => (mode & S_IFMT) === S_IFDIR;
export const isRegular = ({ mode }: FileEntry): boolean => (mode & S_IFMT) === S_IFREG;
export const isSymlink = ({ mode }: FileEntry): boolean => (mode & S_IFMT) === S_IFLNK;

/** Linux error numbers that this code distinguishes (asm-generic/errno.h). */
export const Errno = {
  ENOENT: 2,
  EIO: 5,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENOSPC: 28,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ELOOP: 40,
} as const;

/** Messages as Go and the C library word them. */
const MESSAGES: Record<number, string> = {
  1: 'operation not permitted',
  2: 'no such file or directory',
  5: 'input/output error',
  12: 'cannot allocate memory',
  13: 'permission denied',
  16: 'device or resource busy',
  17: 'file exists',
  18: 'invalid cross-device link',
  20: 'not a directory',
  21: 'is a directory',
  22: 'invalid argument',
  26: 'text file busy',
  27: 'file too large',
  28: 'no space left on device',
  30: 'read-only file system',
  31: 'too many links',
  36: 'file name too long',
  39: 'directory not empty',
  40: 'too many levels of symbolic links',
  95: 'operation not supported',
  122: 'disk quota exceeded',
};

/** The kernel's error for an operation on a path. The message is worded like Go's: `lstat /x: no such file or directory`. */
export class FileError extends Error {
  readonly errno: number;
  readonly operation: string;
  readonly path: string;

  constructor({ errno, operation, path }: FileFailure) {
    super(`${operation} ${Buffer.from(path, 'latin1').toString()}: ${reason(errno)}`);
    this.errno = errno;
    this.operation = operation;
    this.path = path;
  }

  /** The message without operation and path. */
  get reason(): string {
    return reason(this.errno);
  }
}

/** A {@link FileError} for those outside the port layer. @param path to name instead of its own */
export function fileFailed(error: FileError, path = error.path): PortLayerError {
  const { operation, reason } = error;
  return new PortLayerError('files.failed', { operation, path: Buffer.from(path, 'latin1').toString(), reason }, error);
}

function reason(errno: number): string {
  return MESSAGES[errno] ?? `errno ${errno}`;
}

export interface TreeOptions {
  /** With the content of regular files. */
  content: boolean;
  /** Without what is below a directory. */
  alone?: boolean;
}

/**
 * A container's files while they are being looked at or changed. For one caller: operations must not overlap. Errors are
 * {@link FileError}s, or CaissonErrors where the container itself is the cause.
 */
export interface RootFiles {
  /** What is at `path`, without following a final symbolic link. With a trailing slash, the directory that the link leads to. */
  stat(path: string): Promise<FileEntry>;
  /**
   * What is at `path` and everything below it, the names of each directory in byte order. With content, a regular file is followed by its
   * bytes in pieces, exactly `size` in all; a file with several names has content only the first time.
   */
  tree(path: string, options: TreeOptions): AsyncIterable<FileEntry | Buffer>;
  /**
   * Puts an entry at `entry.path` and replaces what is there; a directory put over a directory changes its attributes. Missing parent
   * directories are made. A regular file with `target` becomes a hard link to that path.
   * @param keepKind refuse to replace a directory with something else (FileError EISDIR, operation `keep`), or something else with a
   *   directory (ENOTDIR)
   */
  put(entry: FileEntry, keepKind: boolean): Promise<void>;
  /** Adds content to the regular file that was put last. */
  data(bytes: Buffer): Promise<void>;
  /** Sets the times of an existing entry. */
  times(entry: FileEntry): Promise<void>;
  /** Resolves when everything has been written. */
  finish(): Promise<void>;
  /** Keeps others from changing files until {@link close}, for a consistent picture. */
  freeze(): Promise<void>;
  /** Releases everything. What was put without {@link finish} may or may not have been written. */
  close(): Promise<void>;
}

/** What a mount point, or a directory on the way to it, will be made as. */
export function madeDirectory(path: string): FileEntry {
  const now = { sec: Math.floor(Date.now() / 1000), nsec: 0 };
  return {
    path,
    mode: S_IFDIR | 0o755,
    uid: 0,
    gid: 0,
    nlink: 2,
    size: 4096,
    mtime: now,
    ctime: now,
    atime: now,
    ino: 0n,
    dev: 0n,
    major: 0,
    minor: 0,
    target: '',
    capability: null,
  };
}

/** Opens files for as long as `body` needs them. */
export async function using<T>(open: () => Promise<RootFiles>, body: (files: RootFiles) => Promise<T>): Promise<T> {
  const files = await open();
  try {
    return await body(files);
  } finally {
    await files.close();
  }
}
