/**
 * The files of a container, running or not, in one shape: {@link RootFiles}. Paths are strings with one character per byte and
 * count from the container's root, which nothing leads out of.
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

/** Linux error numbers that are told apart here (asm-generic/errno.h). */
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

/** Messages as Go and the C library have them. */
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

/** What the kernel said to an operation on a path. Its message is Go's: `lstat /x: no such file or directory`. */
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
  /** What is at `path`, a symbolic link itself; with a slash at its end, the directory that it leads to. */
  stat(path: string): Promise<FileEntry>;
  /**
   * What is at `path` and all below it, each directory's names in the order of their bytes. With content, a regular file is followed
   * by its bytes in pieces, together exactly `size`; of a file with several names only the first one that comes.
   */
  tree(path: string, options: TreeOptions): AsyncIterable<FileEntry | Buffer>;
  /**
   * Puts something at `entry.path`, in place of what is there; a directory over a directory changes its attributes. Directories
   * missing on the way are made. A regular file with `target` becomes another name of that path. @param keepKind refuse to replace
   * a directory by something else (FileError EISDIR, operation `keep`), and the other way round (ENOTDIR)
   */
  put(entry: FileEntry, keepKind: boolean): Promise<void>;
  /** Content of the regular file that was put last. */
  data(bytes: Buffer): Promise<void>;
  /** Sets the times of what is there. */
  times(entry: FileEntry): Promise<void>;
  /** Everything is written: resolves when it is so. */
  finish(): Promise<void>;
  /** Nobody changes files until {@link close}: for a picture of one instant. */
  freeze(): Promise<void>;
  /** Gives everything back; what was put without {@link finish} may be there or not. */
  close(): Promise<void>;
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
