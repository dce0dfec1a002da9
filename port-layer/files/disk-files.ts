/**
 * The files of a container that does not run, on its disk: read through the datastore, and changed in a local copy of the disk's file,
 * which then takes its place.
 */
import { createReadStream, createWriteStream } from 'node:fs';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { cancelled, internal, isKind } from '../../src/common/errors.js';
import {
  ChangedDisk,
  Ext4Filesystem,
  type FileStat,
  type FileType,
  type MayStandOn,
  type OpenFile,
  type TreeGuard,
  VmdkChain,
} from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { DatastoreBlocks } from '../storage/datastore-blocks.js';
import { DiskChanges } from './disk-changes.js';
import {
  Errno,
  type FileEntry,
  FileError,
  type FileTime,
  type RootFiles,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFREG,
  S_IFSOCK,
  type TreeOptions,
} from './root-files.js';

/** As the kernel's PATH_MAX and NAME_MAX. */
const MAX_PATH = 4096;
const MAX_NAME = 255;

const KINDS: Record<FileType, number> = {
  file: S_IFREG,
  directory: S_IFDIR,
  symlink: S_IFLNK,
  char: S_IFCHR,
  block: S_IFBLK,
  fifo: S_IFIFO,
  socket: S_IFSOCK,
};

/** See {@link RootFiles}. Whoever opens it sees to it that the VM stays off. */
export class DiskFiles implements RootFiles {
  private changes: DiskChanges | null = null;
  private spool: string | null = null;
  /** Inodes of files with several names whose content was given already. */
  private readonly given = new Set<number>();

  private constructor(
    private readonly datastore: DatastoreClient,
    private readonly path: string,
    private readonly spoolDir: string,
    private readonly openFile: OpenFile,
    private readonly mayStandOn: MayStandOn,
    private readonly chain: VmdkChain,
    private readonly filesystem: Ext4Filesystem,
    private readonly signal?: AbortSignal,
  ) {}

  /** @param path of the disk, relative to the datastore. @param spoolDir for the copy that is changed. @param openFile `Layers.openDisk`, and what it may stand on (`Layers.standing`), for one that stands on layers. @throws notFound, invalid */
  static async open(
    datastore: DatastoreClient,
    path: string,
    spoolDir: string,
    signal?: AbortSignal,
    openFile: OpenFile = (file) => DatastoreBlocks.open(datastore, file),
    mayStandOn: MayStandOn = () => false,
  ): Promise<DiskFiles> {
    const chain = await VmdkChain.open(path, openFile, mayStandOn);
    try {
      const filesystem = await Ext4Filesystem.open(chain);
      return new DiskFiles(datastore, path, spoolDir, openFile, mayStandOn, chain, filesystem, signal);
    } catch (error) {
      await chain.close();
      throw error;
    }
  }

  async stat(path: string): Promise<FileEntry> {
    return this.entry(await this.find(path), path, false);
  }

  async *tree(path: string, options: TreeOptions): AsyncGenerator<FileEntry | Buffer> {
    yield* this.walk(await this.find(path), '', options, this.filesystem.treeGuard());
  }

  private async *walk(
    ino: number,
    path: string,
    options: TreeOptions,
    guard: TreeGuard,
  ): AsyncGenerator<FileEntry | Buffer> {
    if (this.signal?.aborted) throw cancelled('the request was cancelled');
    const entry = await this.entry(ino, path, options.content);
    yield entry;
    const kind = entry.mode & 0o170000;
    if (kind === S_IFREG && options.content && (entry.nlink === 1 || !this.given.has(ino))) {
      if (entry.nlink > 1) this.given.add(ino);
      for await (const part of this.filesystem.readFile(ino, { end: entry.size })) yield part as Buffer;
    }
    if (kind !== S_IFDIR || options.alone) return;
    const names: { name: string; ino: number }[] = [];
    for await (const { rawName, ino: child } of this.filesystem.readdir(ino, guard))
      names.push({ name: rawName.toString('latin1'), ino: child });
    names.sort((a, b) => (a.name < b.name ? -1 : 1));
    if (path.length > MAX_PATH) throw new FileError({ errno: Errno.ENAMETOOLONG, operation: 'lstat', path });
    for (const { name, ino: child } of names)
      yield* this.walk(child, path === '' ? name : `${path}/${name}`, options, guard);
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

  async put(entry: FileEntry, keepKind: boolean): Promise<void> {
    if (this.signal?.aborted) throw cancelled('the request was cancelled');
    await (await this.changed()).put(entry, keepKind);
  }

  async data(bytes: Buffer): Promise<void> {
    await this.changes?.data(bytes);
  }

  /** Times of directories are theirs already: nothing here changes them. */
  async times(): Promise<void> {}

  async finish(): Promise<void> {
    if (this.changes === null || this.spool === null) return;
    const { changes } = this;
    const local = this.local();
    await changes.finish();
    this.changes = null;
    const { size } = await stat(local);
    const content = createReadStream(local, { highWaterMark: 1 << 20 });
    await this.datastore.put(this.path, content, { size, ...(this.signal ? { signal: this.signal } : {}) });
  }

  async freeze(): Promise<void> {}

  async close(): Promise<void> {
    await this.changes?.discard();
    this.changes = null;
    await this.chain.close();
    if (this.spool !== null) await rm(this.spool, { recursive: true, force: true });
    this.spool = null;
  }

  private local(): string {
    if (this.spool === null) throw internal('there is no copy of the disk');
    return join(this.spool, posix.basename(this.path));
  }

  /** The copy that is changed: made when something is put for the first time. */
  private async changed(): Promise<DiskChanges> {
    if (this.changes !== null) return this.changes;
    const { parentHint } = this.chain.info;
    this.spool = await mkdtemp(join(this.spoolDir, 'disk-'));
    await pipeline(
      await this.datastore.get(this.path, this.signal ? { signal: this.signal } : {}),
      createWriteStream(this.local(), { mode: 0o600, highWaterMark: 1 << 20 }),
    );
    const parent = parentHint === null ? null : await this.openChain(posix.join(posix.dirname(this.path), parentHint));
    try {
      this.changes = new DiskChanges(await ChangedDisk.open(this.local(), parent), parent);
    } catch (error) {
      await parent?.close();
      throw error;
    }
    return this.changes;
  }

  private openChain(path: string): Promise<VmdkChain> {
    return VmdkChain.open(path, this.openFile, this.mayStandOn);
  }
}

function timeOf(ns: bigint): FileTime {
  const sec = ns >= 0n ? ns / 1_000_000_000n : -((-ns + 999_999_999n) / 1_000_000_000n);
  return { sec: Number(sec), nsec: Number(ns - sec * 1_000_000_000n) };
}
