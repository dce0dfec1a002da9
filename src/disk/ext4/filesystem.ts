import { Readable } from 'node:stream';
import { unsupported } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';

/** The type of a file. */
export type FileType = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';

/** What an inode says. */
export interface FileStat {
  ino: number;
  type: FileType;
  /** Permission bits with setuid, setgid and sticky: `mode & 0o7777`. */
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Bytes; for a symlink the length of its target. */
  size: number;
  /** Bytes really stored. */
  allocated: number;
  /** Nanoseconds since 1970. */
  mtime: bigint;
  atime: bigint;
  ctime: bigint;
  /** Device numbers of `char` and `block`, else 0. */
  major: number;
  minor: number;
}

/** A name in a directory. `name` is the UTF-8 reading of `rawName`. */
export interface DirectoryEntry {
  name: string;
  rawName: Buffer;
  ino: number;
  type: FileType;
}

/** A read-only ext4 filesystem. A journal left by a killed VM is replayed in memory. */
export class Ext4Filesystem {
  private constructor(readonly label: string) {}

  /** Opens the filesystem on `disk`, which stays the caller's to close. Throws `invalid` or `unsupported`. */
  static async open(_disk: BlockReader): Promise<Ext4Filesystem> {
    throw unsupported('the ext4 reader is not there yet');
  }

  /** The inode number at `path` (absolute; `.` and `..` are understood and never leave the root). Throws `notFound`. */
  async resolve(_path: string | Buffer, _options: { followLast: boolean }): Promise<number> {
    throw unsupported('');
  }

  /** What is at `path`; a symlink itself, unless `follow`. */
  async stat(_path: string | Buffer, _options?: { follow?: boolean }): Promise<FileStat> {
    throw unsupported('');
  }

  /** What inode `ino` says. */
  async statInode(_ino: number): Promise<FileStat> {
    throw unsupported('');
  }

  /** The entries of the directory `ino`, without `.` and `..`, in the order they are stored. */
  // biome-ignore lint/correctness/useYield: a stub
  async *readdir(_ino: number): AsyncGenerator<DirectoryEntry> {
    throw unsupported('');
  }

  /** The target of the symlink `ino`. */
  async readlink(_ino: number): Promise<Buffer> {
    throw unsupported('');
  }

  /** Bytes `start … end` (exclusive; default all) of the regular file `ino`, holes as zeros. */
  readFile(_ino: number, _range?: { start?: number; end?: number }): Readable {
    return Readable.from([]);
  }

  /** Extended attributes by full name (`security.capability`, …), ACLs in the form `getxattr` gives. */
  async xattrs(_ino: number): Promise<Map<string, Buffer>> {
    throw unsupported('');
  }
}
