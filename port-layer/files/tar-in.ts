/** Unpacking a tar into a container, as Docker's daemon unpacks one. */
import type { Readable } from 'node:stream';
import { CaissonError, invalid, isKind, messageOf } from '../../src/common/errors.js';
import { type TarEntry, TarReader } from '../../src/disk/index.js';
import { cleanPath, toText } from './paths.js';
import {
  Errno,
  type FileEntry,
  FileError,
  type RootFiles,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
} from './root-files.js';

const KINDS: Record<TarEntry['type'], number> = {
  file: S_IFREG,
  link: S_IFREG,
  symlink: S_IFLNK,
  char: S_IFCHR,
  block: S_IFBLK,
  directory: S_IFDIR,
  fifo: S_IFIFO,
};

/** The most directories whose times are set at the end: a bound on memory. */
const MAX_DIRECTORIES = 1_000_000;

export interface UnpackOptions {
  /** Do not replace a directory by something else, nor the other way round. */
  keepKind: boolean;
  /** Who gets everything; null: as the archive says. */
  owner: { uid: number; gid: number } | null;
}

/**
 * Unpacks `tar` into the directory `destination` (an absolute path without symbolic links).
 * @throws unavailable with Docker's words; FileError; `invalid` for a broken tar
 */
export async function unpack(
  files: RootFiles,
  destination: string,
  tar: Readable,
  options: UnpackOptions,
): Promise<void> {
  const reader = new TarReader(tar);
  const directories: FileEntry[] = [];
  const recent = new RecentEntries();
  const at = (name: string): string => `${destination === '/' ? '' : destination}${name}`;
  try {
    for (let entry = await reader.next(); entry !== null; entry = await reader.next()) {
      const name = inside(entry.name, 'entry name');
      // What is the destination itself is passed over, whatever it claims to be: the directory stays, with all in it.
      if (name === '/') continue;
      const put = fileEntry(entry, at(name), options.owner);
      if (entry.type === 'link') put.target = at(linkTarget(entry.linkName));
      recent.add(put.path, { entry, name: toText(name.slice(1)), put });
      await files.put(put, options.keepKind);
      if (entry.type === 'file') await copyContent(reader, entry, files);
      if (entry.type !== 'directory') continue;
      if (directories.length === MAX_DIRECTORIES) throw invalid('too many directories in one archive');
      directories.push(put);
    }
    for (const directory of directories) await files.times(directory);
    await files.finish();
  } catch (error) {
    throw translate(recent.told(error), destination);
  }
}

/** @throws unavailable for a name that leads out of where the archive is unpacked */
function inside(name: string, what: string): string {
  let depth = 0;
  for (const part of name.split('/')) {
    if (part === '..') depth--;
    else if (part !== '' && part !== '.') depth++;
    if (depth < 0) throw new CaissonError('unavailable', `invalid ${what} "${toText(name)}"`);
  }
  return cleanPath(name);
}

/** @throws unavailable for a target that is the destination itself, too */
function linkTarget(linkName: string): string {
  const target = inside(linkName, 'hardlink target');
  if (target === '/') throw new CaissonError('unavailable', `invalid hardlink target "${toText(linkName)}"`);
  return target;
}

function fileEntry(entry: TarEntry, path: string, owner: UnpackOptions['owner']): FileEntry {
  return {
    path,
    mode: KINDS[entry.type] | (entry.mode & 0o7777),
    uid: owner?.uid ?? entry.uid,
    gid: owner?.gid ?? entry.gid,
    nlink: 1,
    size: entry.size,
    mtime: entry.mtime,
    atime: entry.atime,
    ctime: entry.mtime,
    ino: 0n,
    dev: 0n,
    major: entry.major,
    minor: entry.minor,
    target: entry.type === 'symlink' ? entry.linkName : '',
    capability: entry.xattrs?.get('security.capability') ?? null,
  };
}

const ZEROS = Buffer.alloc(65_536);

async function copyContent(reader: TarReader, entry: TarEntry, files: RootFiles): Promise<void> {
  if (entry.parts === null) {
    for (let data = await reader.data(); data !== null; data = await reader.data()) await files.data(data);
    return;
  }
  let position = 0;
  const fill = async (to: number): Promise<void> => {
    for (; position < to; position += Math.min(ZEROS.length, to - position))
      await files.data(ZEROS.subarray(0, Math.min(ZEROS.length, to - position)));
  };
  for (const { offset, length } of entry.parts) {
    await fill(offset);
    for (let left = length; left > 0; ) {
      const data = await reader.data(left);
      if (data === null) throw invalid('unexpected EOF');
      await files.data(data);
      left -= data.length;
    }
    position = offset + length;
  }
  await fill(entry.size);
}

/** More than are under way to a file server. */
const MAX_RECENT = 20_000;
/** What of a put failed is told by what it was to make: on a disk and in a guest it fails at different steps. */
const MAKING = new Set(['open', 'mkdir', 'link', 'symlink', 'mknod', 'put']);

interface RecentEntry {
  entry: TarEntry;
  /** From the destination. */
  name: string;
  put: FileEntry;
}

/** The entries put last: a file server tells only later that it could not put one. */
class RecentEntries {
  private readonly entries = new Map<string, RecentEntry>();

  add(path: string, one: RecentEntry): void {
    this.entries.delete(path);
    this.entries.set(path, one);
    if (this.entries.size > MAX_RECENT) this.entries.delete(this.entries.keys().next().value!);
  }

  /** What Docker says of an entry that cannot be put, its system calls included. */
  told(error: unknown): unknown {
    if (!(error instanceof FileError)) return error;
    const { errno, operation, path } = error;
    const one = this.entries.get(path);
    if (one === undefined || !(operation === 'lchown' || MAKING.has(operation))) return error;
    if (errno === Errno.ENOENT) return new FileError({ errno, path, operation: 'lstat' });
    const { uid, gid } = one.put;
    const message =
      operation === 'lchown'
        ? `failed to Lchown "${one.name}" for UID ${uid}, GID ${gid}: lchownat ${one.name}: `
        : making(one.entry, one.name);
    return new CaissonError('unavailable', `${message}${error.reason}`, { cause: error });
  }
}

function making(entry: TarEntry, name: string): string {
  switch (entry.type) {
    case 'file':
      return `openat ${name}: `;
    case 'directory':
      return `mkdirat ${name}: `;
    case 'link':
      return `linkat ${toText(cleanPath(entry.linkName).slice(1))} ${name}: `;
    case 'symlink':
      return `symlinkat ${toText(entry.linkName)} ${name}: `;
    default:
      return '';
  }
}

/** What Docker says where the file server says it in the system's words. */
function translate(error: unknown, destination: string): unknown {
  if (isKind(error, 'invalid')) {
    const cut = messageOf(error).includes('in the middle of an entry');
    return new CaissonError('unavailable', cut ? 'unexpected EOF' : 'archive/tar: invalid tar header', {
      cause: error,
    });
  }
  if (!(error instanceof FileError) || error.operation === 'lstat') return error;
  const path = error.path.slice(destination === '/' ? 1 : destination.length + 1);
  if (error.operation === 'keep') {
    const message =
      error.errno === Errno.EISDIR
        ? `cannot overwrite directory "${toText(path)}" with non-directory "${toText(destination)}"`
        : `cannot overwrite non-directory "${toText(path)}" with directory "${toText(destination)}"`;
    return new CaissonError('unavailable', message, { cause: error });
  }
  return new CaissonError('unavailable', `${error.operation} ${toText(path)}: ${error.reason}`, { cause: error });
}
