/** One open disk in a disk-reading process: answers the endpoint's requests about it. */
import { posix } from 'node:path';
import { internal, isKind } from '../../../src/common/errors.js';
import {
  ChangedDisk,
  Ext4Filesystem,
  type FileStat,
  type FileType,
  GRAIN_BYTES,
  type OpenFile,
  type TreeGuard,
  VmdkChain,
  type VmdkExtent,
} from '../../../src/disk/index.js';
import { DiskChanges } from '../../files/disk-changes.js';
import {
  Errno,
  type FileEntry,
  FileError,
  type FileTime,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
  type TreeOptions,
} from '../../files/root-files.js';
import type { DiskRecord } from '../records.js';
import { UnitMap } from '../unit-map.js';
import type { BatchSender } from './batch-sender.js';

/** As the kernel's PATH_MAX and NAME_MAX. */
const MAX_PATH = 4096;
const MAX_NAME = 255;
/** Content that is in the journal is sent in pieces of this size. */
const PIECE = 256 * 1024;

const KINDS: Record<FileType, number> = {
  file: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  char: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
};

export class ServedDisk {
  /** Inodes with several names whose content has been sent. */
  private readonly given = new Set<number>();
  private changes: DiskChanges | null = null;

  private constructor(
    private readonly path: string,
    private readonly openFile: OpenFile,
    private readonly chain: VmdkChain,
    private readonly filesystem: Ext4Filesystem,
    private readonly numberOf: (extent: VmdkExtent) => number,
  ) {}

  /** @throws notFound, invalid, unsupported */
  static async open(path: string, openFile: OpenFile, numberOf: (extent: VmdkExtent) => number): Promise<ServedDisk> {
    const chain = await VmdkChain.open(path, openFile);
    try {
      return new ServedDisk(path, openFile, chain, await Ext4Filesystem.open(chain), numberOf);
    } catch (error) {
      await chain.close();
      throw error;
    }
  }

  async stat(path: string): Promise<FileEntry> {
    return this.entry(await this.find(path), path, false);
  }

  /** Sends everything at and below `path`. */
  async tree(path: string, options: TreeOptions, out: BatchSender): Promise<void> {
    await this.walk(await this.find(path), '', options, this.filesystem.treeGuard(), out);
    await out.flush();
  }

  private async walk(
    ino: number,
    path: string,
    options: TreeOptions,
    guard: TreeGuard,
    out: BatchSender,
  ): Promise<void> {
    const entry = await this.entry(ino, path, options.content);
    await out.entry(entry);
    const kind = entry.mode & 0o170000;
    if (kind === S_IFREG && options.content && (entry.nlink === 1 || !this.given.has(ino))) {
      if (entry.nlink > 1) this.given.add(ino);
      await this.content(ino, entry.size, out);
    }
    if (kind !== S_IFDIR || options.alone) return;
    const names: { name: string; ino: number }[] = [];
    for await (const { rawName, ino: child } of this.filesystem.readdir(ino, guard)) {
      if (out.cancelled) return;
      names.push({ name: rawName.toString('latin1'), ino: child });
    }
    names.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (path.length > MAX_PATH) throw new FileError({ errno: Errno.ENAMETOOLONG, operation: 'lstat', path });
    for (const { name, ino: child } of names) {
      if (out.cancelled) return;
      await this.walk(child, path === '' ? name : `${path}/${name}`, options, guard, out);
    }
  }

  /** Tells where the content of the whole disk is, a record for each grain that has any. */
  async grains(out: BatchSender): Promise<void> {
    let end = 0;
    for (let next = await this.chain.nextGrain(0); next !== null; next = await this.chain.nextGrain(end)) {
      if (out.cancelled) return;
      if (next > end) await out.zeros((next - end) * GRAIN_BYTES);
      end = next + 1;
      const length = Math.min(GRAIN_BYTES, this.chain.size - next * GRAIN_BYTES);
      for await (const { extent, at } of this.chain.runs(next * GRAIN_BYTES, length))
        if (extent === null) await out.zeros(length);
        else await out.place(this.numberOf(extent), at, length);
    }
    await out.flush();
  }

  /** See the request `said`. @returns the map of runs */
  async said(files: number, unit: number, out: BatchSender): Promise<string> {
    const grains = Math.ceil(this.chain.size / GRAIN_BYTES);
    const map = new UnitMap(Math.ceil(grains / unit));
    let end = 0;
    for (let next = await this.chain.nextSaid(0, files); next !== null; next = await this.chain.nextSaid(end, files)) {
      if (out.cancelled) break;
      const first = next - (next % unit);
      map.add(first / unit);
      if (first > end) await out.zeros((first - end) * GRAIN_BYTES);
      end = Math.min(grains, first + unit);
      for (let grain = first; grain < end; grain++) {
        const length = Math.min(GRAIN_BYTES, this.chain.size - grain * GRAIN_BYTES);
        for await (const { extent, at } of this.chain.runs(grain * GRAIN_BYTES, length))
          if (extent === null) await out.zeros(length);
          else await out.place(this.numberOf(extent), at, length);
      }
    }
    await out.flush();
    return map.text();
  }

  /** Tells where a file's content is, or sends the content itself if it is in the journal. */
  private async content(ino: number, size: number, out: BatchSender): Promise<void> {
    for await (const piece of this.filesystem.layout(ino, { end: size })) {
      if (out.cancelled) return;
      if ('zeros' in piece) await out.zeros(piece.zeros);
      else if (this.filesystem.isJournalled(piece.at, piece.length)) {
        for (let done = 0; done < piece.length && !out.cancelled; done += PIECE)
          await out.data(await this.filesystem.dataAt(piece.at + done, Math.min(PIECE, piece.length - done)));
      } else
        for await (const { extent, at, length } of this.chain.runs(piece.at, piece.length)) {
          if (out.cancelled) return;
          if (extent === null) await out.zeros(length);
          else await out.place(this.numberOf(extent), at, length);
        }
    }
  }

  /** @throws FileError ENOENT, ENOTDIR, ELOOP */
  private async find(path: string): Promise<number> {
    const asDirectory = /\/\.?$/.test(path);
    const failed = (errno: number): FileError => new FileError({ errno, operation: 'lstat', path });
    if (path.length >= MAX_PATH || path.split('/').some((part) => part.length > MAX_NAME))
      throw failed(Errno.ENAMETOOLONG);
    try {
      const ino = await this.filesystem.resolve(Buffer.from(path, 'latin1'), { followLast: asDirectory });
      if (asDirectory && (await this.filesystem.statInode(ino)).type !== 'directory') throw failed(Errno.ENOTDIR);
      return ino;
    } catch (error) {
      if (isKind(error, 'notFound'))
        throw failed(/^not a directory/.test((error as Error).message) ? Errno.ENOTDIR : Errno.ENOENT);
      if (isKind(error, 'invalid') && (error as Error).message.startsWith('too many levels')) throw failed(Errno.ELOOP);
      throw error;
    }
  }

  private async entry(ino: number, path: string, withCapability: boolean): Promise<FileEntry> {
    const one: FileStat = await this.filesystem.statInode(ino);
    const capability =
      withCapability && one.type === 'file'
        ? (await this.filesystem.xattrs(ino)).get('security.capability')
        : undefined;
    return {
      path,
      mode: KINDS[one.type] | one.mode,
      uid: one.uid,
      gid: one.gid,
      nlink: one.nlink,
      size: one.size,
      mtime: timeOf(one.mtime),
      ctime: timeOf(one.ctime),
      atime: timeOf(one.atime),
      ino: BigInt(ino),
      dev: 0n,
      major: one.major,
      minor: one.minor,
      target: one.type === 'symlink' ? (await this.filesystem.readlink(ino)).toString('latin1') : '',
      capability: capability ?? null,
    };
  }

  /** Bytes of all files; files with several names count once. */
  async usage(): Promise<number> {
    const { filesystem } = this;
    const counted = new Set<number>();
    let size = 0;
    const directories = [filesystem.root];
    const guard = filesystem.treeGuard();
    for (let at = directories.pop(); at !== undefined; at = directories.pop()) {
      for await (const { ino } of filesystem.readdir(at, guard)) {
        if (counted.has(ino)) continue;
        const one: FileStat = await filesystem.statInode(ino);
        if (one.nlink > 1 && one.type !== 'directory') counted.add(ino);
        if (one.type === 'directory') directories.push(ino);
        else if (one.type === 'file' || one.type === 'symlink') size += one.size;
      }
    }
    return size;
  }

  /** Whether the root has no entries. */
  async isEmpty(): Promise<boolean> {
    for await (const _entry of this.filesystem.readdir(this.filesystem.root)) return false;
    return true;
  }

  /** Whether a journal has to be replayed. */
  get isDirty(): boolean {
    return this.filesystem.needsRecovery;
  }

  /** From now on records go into the copy at `local`. */
  async change(local: string): Promise<void> {
    const { parentHint } = this.chain.info;
    const parent =
      parentHint === null
        ? null
        : await VmdkChain.open(posix.join(posix.dirname(this.path), parentHint), this.openFile);
    try {
      this.changes = new DiskChanges(await ChangedDisk.open(local, parent), parent);
    } catch (error) {
      await parent?.close();
      throw error;
    }
  }

  async put(record: DiskRecord): Promise<void> {
    if (this.changes === null) throw internal('the disk is not being changed');
    if (record.type === 'entry') await this.changes.put(record.entry, record.keepKind);
    else if (record.type === 'data') await this.changes.data(record.data);
    else throw internal('such a record cannot be put');
  }

  async finish(): Promise<void> {
    const { changes } = this;
    if (changes === null) throw internal('the disk is not being changed');
    await changes.finish();
    this.changes = null;
  }

  async close(): Promise<void> {
    await this.changes?.discard();
    this.changes = null;
    await this.chain.close();
  }
}

function timeOf(ns: bigint): FileTime {
  const sec = ns >= 0n ? ns / 1_000_000_000n : -((-ns + 999_999_999n) / 1_000_000_000n);
  return { sec: Number(sec), nsec: Number(ns - sec * 1_000_000_000n) };
}
