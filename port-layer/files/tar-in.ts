/** Unpacks a tar into a container, the way Docker's daemon does. */
import type { Readable } from 'node:stream';
import { invalid, isKind, messageOf } from '../../src/common/errors.js';
import { type TarEntry, TarReader } from '../../src/disk/index.js';
import { type ArchiveEntry, type ErrorSubject, PortLayerError } from '../errors.js';
import { cleanPath, toText } from './paths.js';
import {
  Errno,
  type FileEntry,
  FileError,
  fileFailed,
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

/** How many directories get their times set at the end, to bound memory. */
const MAX_DIRECTORIES = 1_000_000;

export interface UnpackOptions {
  /** Neither replace a directory with something else, nor something else with a directory. */
  keepKind: boolean;
  /** The owner of everything that is unpacked; null: as the archive says. */
  owner: { uid: number; gid: number } | null;
  /** Whether an archive without its end mark is refused. Docker takes one, but then a part of what was sent looks like all of it. */
  whole?: boolean;
}

/**
 * Unpacks `tar` into the directory `destination` (an absolute path without symbolic links).
 * @throws unavailable for a damaged archive, or an entry that cannot be unpacked; FileError
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
      // An entry for the destination itself is skipped, whatever type it claims: the directory stays, with everything in it.
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
    if (options.whole === true && !reader.endMarked) throw new PortLayerError('archive.noEnd', {});
    for (const directory of directories) await files.times(directory);
    await files.finish();
  } catch (error) {
    throw translate(recent.ofEntry(error), destination);
  }
}

/** @throws unavailable for a name that leads out of the destination */
function inside(name: string, part: ErrorSubject<'archive.outside'>['part']): string {
  let depth = 0;
  for (const step of name.split('/')) {
    if (step === '..') depth--;
    else if (step !== '' && step !== '.') depth++;
    if (depth < 0) throw new PortLayerError('archive.outside', { part, name: toText(name) });
  }
  return cleanPath(name);
}

/** @throws unavailable for a target that leads out of the destination, or is the destination itself */
function linkTarget(linkName: string): string {
  const target = inside(linkName, 'hardlink target');
  if (target === '/') throw new PortLayerError('archive.outside', { part: 'hardlink target', name: toText(linkName) });
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

/** More entries than can be in transit to a file server. */
const MAX_RECENT = 20_000;
/** If a put fails at one of these, the error says that the entry could not be made: a disk and a guest fail at different steps. */
const MAKING = new Set(['open', 'mkdir', 'link', 'symlink', 'mknod', 'put']);

interface RecentEntry {
  entry: TarEntry;
  /** Relative to the destination. */
  name: string;
  put: FileEntry;
}

/** The entries put last, since a file server reports only later that it could not put one. */
class RecentEntries {
  private readonly entries = new Map<string, RecentEntry>();

  add(path: string, one: RecentEntry): void {
    this.entries.delete(path);
    this.entries.set(path, one);
    if (this.entries.size > MAX_RECENT) this.entries.delete(this.entries.keys().next().value!);
  }

  /** Adds to an error which entry could not be put. */
  ofEntry(error: unknown): unknown {
    if (!(error instanceof FileError)) return error;
    const { errno, operation, path } = error;
    const one = this.entries.get(path);
    if (one === undefined || !(operation === 'lchown' || MAKING.has(operation))) return error;
    if (errno === Errno.ENOENT) return new FileError({ errno, path, operation: 'lstat' });
    const { type, linkName } = one.entry;
    const entry: ArchiveEntry = {
      type,
      name: one.name,
      linkName: toText(type === 'link' ? cleanPath(linkName).slice(1) : linkName),
      uid: one.put.uid,
      gid: one.put.gid,
    };
    const step = operation === 'lchown' ? 'owner' : 'make';
    return new PortLayerError('archive.entryFailed', { step, entry, reason: error.reason }, error);
  }
}

/** The caller's error for an archive that could not be unpacked. */
function translate(error: unknown, destination: string): unknown {
  if (isKind(error, 'invalid')) {
    // TarReader's errors have no codes, so a truncated archive is recognised by its message.
    const cut = messageOf(error).includes('in the middle of an entry');
    return new PortLayerError(cut ? 'archive.cut' : 'archive.damaged', {}, error);
  }
  if (!(error instanceof FileError) || error.operation === 'lstat') return error;
  const path = error.path.slice(destination === '/' ? 1 : destination.length + 1);
  if (error.operation !== 'keep') return fileFailed(error, path);
  const subject = { directory: error.errno === Errno.EISDIR, path: toText(path), destination: toText(destination) };
  return new PortLayerError('archive.keepsKind', subject, error);
}
