/** Reads an ext4 filesystem: one of ours, or one that a guest's kernel has written to since. */
import { Readable } from 'node:stream';
import { Breather } from '../../common/breather.js';
import { invalid, notFound, unsupported } from '../../common/errors.js';
import { type BlockReader, CachedBlocks, PageCache } from '../blocks.js';
import { readBlockMap } from './block-map.js';
import * as c from './constants.js';
import { parseDirectoryBlock } from './directory.js';
import { type Extent, extentAt, readExtentTree } from './extents.js';
import { Inode, type Time } from './inode.js';
import { emptyJournal, type JournalledBlock, replayJournal, restoreMagic } from './journal.js';
import { decodeSuperblock, descriptorBlock, type Superblock } from './superblock.js';
import { TreeGuard } from './tree-guard.js';
import { decodeXattrs } from './xattr.js';

/** The type of a file. */
export type FileType = 'file' | 'directory' | 'symlink' | 'char' | 'block' | 'fifo' | 'socket';

/** The fields of an inode. */
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
  /** Bytes actually stored. */
  allocated: number;
  /** Nanoseconds since 1970. */
  mtime: bigint;
  atime: bigint;
  ctime: bigint;
  /** Device numbers of `char` and `block`, else 0. */
  major: number;
  minor: number;
}

/** A part of a file's content: either where it is on the disk (in bytes), or that it is zeros. */
export type ContentPiece = { at: number; length: number } | { zeros: number };

/** A name in a directory. `name` is `rawName` decoded as UTF-8. */
export interface DirectoryEntry {
  name: string;
  rawName: Buffer;
  ino: number;
  type: FileType;
}

const KINDS: Record<number, FileType> = {
  [c.S_IFREG]: 'file',
  [c.S_IFDIR]: 'directory',
  [c.S_IFLNK]: 'symlink',
  [c.S_IFCHR]: 'char',
  [c.S_IFBLK]: 'block',
  [c.S_IFIFO]: 'fifo',
  [c.S_IFSOCK]: 'socket',
};
const DIRENT_KINDS: (FileType | undefined)[] = [
  undefined,
  'file',
  'directory',
  'char',
  'block',
  'fifo',
  'socket',
  'symlink',
];

const MAX_SYMLINKS = 40;
/** How much metadata is cached: 256 pages of 64 KiB. */
const PAGES = 256;
/** The largest journal that `mke2fs` makes. */
const MAX_JOURNAL = 2 ** 30;
/** File content is read in pieces of this size. */
const PIECE = 1 << 20;

const nanoseconds = ({ sec, nsec }: Time): bigint => BigInt(sec) * 1_000_000_000n + BigInt(nsec);

/** A read-only ext4 filesystem. A journal left by a killed VM is replayed in memory. Concurrent use is fine. */
export class Ext4Filesystem {
  /** By block number, where in the journal the newer content of disk blocks is. */
  private overlay = new Map<number, JournalledBlock>();
  private journal: Extent[] = [];
  /** The blocks of the overlay in order; computed when first needed. */
  private journalled: Float64Array | null = null;
  private readonly meta: CachedBlocks;
  private readonly breather = new Breather();

  private constructor(
    private readonly disk: BlockReader,
    private sb: Superblock,
  ) {
    this.meta = new CachedBlocks(disk, new PageCache(65536, PAGES));
  }

  /** Opens the filesystem on `disk`, which the caller still has to close. Throws `invalid` or `unsupported`. */
  static async open(disk: BlockReader): Promise<Ext4Filesystem> {
    if (disk.size < c.SUPER_OFFSET + c.SUPER_SIZE) throw invalid('not an ext4 filesystem: the disk is too small');
    const raw = Buffer.from(await disk.read(c.SUPER_OFFSET, c.SUPER_SIZE));
    const filesystem = new Ext4Filesystem(disk, decodeSuperblock(raw, disk.size));
    if (filesystem.sb.incompat & c.INCOMPAT_RECOVER) await filesystem.replay();
    return filesystem;
  }

  /** The volume label. */
  get label(): string {
    return this.sb.label;
  }

  /** The filesystem's UUID, in the usual notation. */
  get uuid(): string {
    return this.sb.uuid.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  }

  /** Inode number of the root directory. */
  readonly root = c.ROOT_INO;

  /** Whether it was not unmounted, so that it has a journal to replay, which requires writing. */
  get needsRecovery(): boolean {
    return (this.sb.incompat & c.INCOMPAT_RECOVER) !== 0;
  }

  private async replay(): Promise<void> {
    const inode = await this.inode(this.sb.journalIno);
    if (inode.size > MAX_JOURNAL) throw unsupported('an ext4 journal larger than 1 GiB is not supported');
    const { extents } = await readExtentTree(inode.area, this.sb.blocks, (block) => this.block(block));
    this.journal = extents;
    const length = Math.floor(inode.size / c.BLOCK);
    this.overlay = await replayJournal(length, this.sb.blocks, (block) => this.journalBlock(block));
    const superblock = await this.block(0);
    this.sb = decodeSuperblock(
      Buffer.from(superblock.subarray(c.SUPER_OFFSET, c.SUPER_OFFSET + c.SUPER_SIZE)),
      this.disk.size,
    );
  }

  private async journalBlock(index: number): Promise<Buffer> {
    const extent = extentAt(this.journal, index);
    if (extent === null) throw invalid('damaged ext4: the journal has a hole');
    return this.meta.read((extent.start + index - extent.logical) * c.BLOCK, c.BLOCK);
  }

  /**
   * What must be written to the disk to empty its journal, as a kernel does when mounting: the newest content of blocks, then the
   * superblocks of filesystem and journal. Nothing if there is nothing to replay.
   */
  async *recovery(): AsyncGenerator<{ block: number; data: Buffer }> {
    if (!this.needsRecovery) return;
    for (const block of this.overlay.keys()) if (block !== 0) yield { block, data: await this.block(block) };
    const journal = this.journal[0];
    if (journal === undefined || journal.logical !== 0) throw invalid('damaged ext4: the journal has no beginning');
    yield { block: journal.start, data: emptyJournal(await this.journalBlock(0)) };
    const first = Buffer.from(await this.block(0));
    first.writeUInt32LE(this.sb.incompat & ~c.INCOMPAT_RECOVER, c.SUPER_OFFSET + 96);
    yield { block: 0, data: first };
  }

  /** A block's current content, which must not be changed. */
  private async block(block: number): Promise<Buffer> {
    if (block >= this.sb.blocks) throw invalid(`damaged ext4: there is no block ${block}`);
    // Every operation on a filesystem comes through here, and nearly all of them are answered from memory, so other work would never get a
    // turn.
    if (this.breather.due) await this.breather.breathe();
    const newer = this.overlay.get(block);
    if (newer) {
      const data = await this.journalBlock(newer.journalBlock);
      return newer.escaped ? restoreMagic(data) : data;
    }
    return this.meta.read(block * c.BLOCK, c.BLOCK);
  }

  private async inode(ino: number): Promise<Inode> {
    const { sb } = this;
    if (!Number.isInteger(ino) || ino < 1 || ino > sb.inodes) throw invalid(`there is no inode ${ino}`);
    const group = Math.floor((ino - 1) / sb.inodesPerGroup);
    const at = group * sb.descriptorSize;
    const descriptors = await this.block(descriptorBlock(sb, Math.floor(at / c.BLOCK)));
    const within = at % c.BLOCK;
    const high = sb.descriptorSize >= 64 ? descriptors.readUInt32LE(within + 40) : 0;
    const table = descriptors.readUInt32LE(within + 8) + high * 2 ** 32;
    const offset = ((ino - 1) % sb.inodesPerGroup) * sb.inodeSize;
    const block = await this.block(table + Math.floor(offset / c.BLOCK));
    const start = offset % c.BLOCK;
    return new Inode(Buffer.from(block.subarray(start, start + sb.inodeSize)));
  }

  /** Where a file's content is, and the blocks of its map. */
  private async map(inode: Inode): Promise<{ extents: Extent[]; nodes: number[] }> {
    if (inode.flags & c.FL_INLINE_DATA) throw unsupported('ext4 inline data is not supported');
    const read = (block: number) => this.block(block);
    // Kernels give every file an extent tree; e2fsck makes `lost+found` without one.
    if (!(inode.flags & c.FL_EXTENTS)) return readBlockMap(inode.area, inode.size, this.sb.blocks, read);
    return readExtentTree(inode.area, this.sb.blocks, read);
  }

  /**
   * The inode number at `path`, which counts from the root; `.`, `..` and symlinks never leave it. Throws `notFound`, including when
   * something on the way is not a directory.
   */
  async resolve(path: string | Buffer, options: { followLast: boolean }): Promise<number> {
    const bytes = Buffer.isBuffer(path) ? path : Buffer.from(path);
    const shown = bytes.toString();
    const split = (text: string) => text.split('/').filter((name) => name !== '' && name !== '.');
    const rest = split(bytes.toString('latin1')).reverse();
    const parents: number[] = [];
    let current = c.ROOT_INO;
    let followed = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      if (name === '..') {
        current = parents.pop() ?? c.ROOT_INO;
        continue;
      }
      const found = await this.find(current, name);
      if (!found) throw notFound(`no such file or directory: ${shown}`);
      if (found.inode.mode >> 12 === c.S_IFLNK >> 12 && (rest.length > 0 || options.followLast)) {
        if (++followed > MAX_SYMLINKS) throw invalid(`too many levels of symbolic links: ${shown}`);
        const target = (await this.target(found.inode)).toString('latin1');
        if (target.startsWith('/')) {
          current = c.ROOT_INO;
          parents.length = 0;
        }
        rest.push(...split(target).reverse());
        continue;
      }
      if (rest.length > 0 && !found.inode.isDirectory) throw notFound(`not a directory on the way to ${shown}`);
      parents.push(current);
      current = found.ino;
    }
    return current;
  }

  private async find(directory: number, name: string): Promise<{ ino: number; inode: Inode } | null> {
    let ino = 0;
    await this.scan(directory, (entry, number) => {
      if (entry !== name) return false;
      ino = number;
      return true;
    });
    return ino === 0 ? null : { ino, inode: await this.inode(ino) };
  }

  /** Visits the entries of a directory block by block, until `visit` returns true. */
  private async scan(ino: number, visit: (name: string, ino: number, type: number) => boolean): Promise<void> {
    for await (const block of this.directoryBlocks(ino)) {
      let done = false;
      parseDirectoryBlock(block, (name, number, type) => {
        if (!done) done = visit(name, number, type);
      });
      if (done) return;
    }
  }

  private async *directoryBlocks(ino: number, guard?: TreeGuard): AsyncGenerator<Buffer> {
    const inode = await this.inode(ino);
    if (!inode.isDirectory) throw invalid(`inode ${ino} is not a directory`);
    guard?.enter(ino);
    const { extents, nodes } = await this.map(inode);
    if (guard !== undefined) for (const node of nodes) guard.take(node);
    const blocks = Math.ceil(inode.size / c.BLOCK);
    for (const { logical, start, count, unwritten } of extents) {
      if (unwritten) throw invalid('damaged ext4: a directory has unwritten blocks');
      for (let i = 0; i < count && logical + i < blocks; i++) {
        guard?.take(start + i);
        yield await this.block(start + i);
      }
    }
  }

  /** A guard for a walk through directories; pass it to each {@link readdir} of the walk. */
  treeGuard(): TreeGuard {
    return new TreeGuard();
  }

  /** The fields of what is at `path`; of a symlink itself, unless `follow`. Throws `notFound`. */
  async stat(path: string | Buffer, options: { follow?: boolean } = {}): Promise<FileStat> {
    return this.statInode(await this.resolve(path, { followLast: options.follow === true }));
  }

  /** The fields of inode `ino`. */
  async statInode(ino: number): Promise<FileStat> {
    const inode = await this.inode(ino);
    const type = KINDS[inode.mode & c.S_IFMT];
    if (!type) throw invalid(`damaged ext4: inode ${ino} has no type`);
    return {
      ino,
      type,
      mode: inode.mode & 0o7777,
      uid: inode.uid,
      gid: inode.gid,
      nlink: inode.links,
      size: inode.size,
      allocated: inode.blocks * c.BLOCK,
      mtime: nanoseconds(inode.mtime),
      atime: nanoseconds(inode.atime),
      ctime: nanoseconds(inode.ctime),
      ...inode.device,
    };
  }

  /**
   * The entries of the directory `ino`, without `.` and `..`, in the order they are stored.
   * @param guard of the walk that this call belongs to; whoever descends into directories must use one ({@link treeGuard})
   */
  async *readdir(ino: number, guard?: TreeGuard): AsyncGenerator<DirectoryEntry> {
    for await (const block of this.directoryBlocks(ino, guard)) {
      const entries: DirectoryEntry[] = [];
      parseDirectoryBlock(block, (raw, number, type) => {
        if (raw === '.' || raw === '..') return;
        const rawName = Buffer.from(raw, 'latin1');
        const kind = DIRENT_KINDS[type];
        if (!kind || /[/\0]/.test(raw)) throw invalid('damaged ext4: a directory entry makes no sense');
        entries.push({ name: rawName.toString(), rawName, ino: number, type: kind });
      });
      yield* entries;
    }
  }

  /** The target of the symlink `ino`. */
  async readlink(ino: number): Promise<Buffer> {
    const inode = await this.inode(ino);
    if ((inode.mode & c.S_IFMT) !== c.S_IFLNK) throw invalid(`inode ${ino} is not a symbolic link`);
    return this.target(inode);
  }

  private async target(inode: Inode): Promise<Buffer> {
    if (inode.size < 60 && !(inode.flags & c.FL_EXTENTS)) return Buffer.from(inode.area.subarray(0, inode.size));
    // One block: its map has no nodes.
    if (inode.size > c.BLOCK || inode.area.readUInt16LE(6) !== 0)
      throw invalid('damaged ext4: a symbolic link makes no sense');
    const [extent] = (await this.map(inode)).extents;
    if (!extent) throw invalid('damaged ext4: a symbolic link makes no sense');
    return Buffer.from((await this.block(extent.start)).subarray(0, inode.size));
  }

  /** Bytes `start … end` (exclusive; default all) of the regular file `ino`, holes as zeros. */
  readFile(ino: number, range: { start?: number; end?: number } = {}): Readable {
    return Readable.from(this.content(ino, range), { objectMode: false });
  }

  /** Like {@link Ext4Filesystem.readFile}, without the cost of a stream for each file. */
  async *content(ino: number, range: { start?: number; end?: number } = {}): AsyncGenerator<Buffer> {
    for await (const piece of this.layout(ino, range)) {
      if ('zeros' in piece) yield* zeros(piece.zeros);
      else
        for (let done = 0; done < piece.length; done += PIECE)
          yield await this.dataAt(piece.at + done, Math.min(PIECE, piece.length - done));
    }
  }

  /**
   * Where bytes `start … end` of the regular file `ino` are: places on the disk and zeros, in order. The content of a place that {@link
   * isJournalled} is somewhere else; {@link dataAt} finds it.
   */
  async *layout(ino: number, range: { start?: number; end?: number } = {}): AsyncGenerator<ContentPiece> {
    const inode = await this.inode(ino);
    if ((inode.mode & c.S_IFMT) !== c.S_IFREG) throw invalid(`inode ${ino} is not a regular file`);
    const end = Math.min(range.end ?? inode.size, inode.size);
    let position = range.start ?? 0;
    const { extents } = await this.map(inode);
    for (const extent of extents) {
      const from = extent.logical * c.BLOCK;
      const to = Math.min(from + extent.count * c.BLOCK, end);
      if (to <= position) continue;
      const hole = Math.min(from, end) - position;
      if (hole > 0) yield { zeros: hole };
      position = Math.max(position, Math.min(from, end));
      if (extent.unwritten) yield { zeros: to - position };
      else yield { at: extent.start * c.BLOCK + position - from, length: to - position };
      position = to;
    }
    if (end > position) yield { zeros: end - position };
  }

  /** Whether the journal has newer content for some block in this range of the disk, so that the range itself cannot be read. */
  isJournalled(at: number, length: number): boolean {
    if (this.overlay.size === 0) return false;
    this.journalled ??= Float64Array.from(this.overlay.keys()).sort();
    const first = Math.floor(at / c.BLOCK);
    let [low, high] = [0, this.journalled.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.journalled[middle]! < first) low = middle + 1;
      else high = middle;
    }
    const next = this.journalled[low];
    return next !== undefined && next * c.BLOCK < at + length;
  }

  /** The content of files at a place from {@link layout}. Only a filesystem mounted with `data=journal` has some of it in the journal. */
  async dataAt(at: number, length: number): Promise<Buffer> {
    const data = await this.disk.read(at, length);
    if (this.overlay.size === 0) return data;
    const patched = Buffer.from(data);
    for (let block = Math.floor(at / c.BLOCK); block * c.BLOCK < at + length; block++) {
      if (!this.overlay.has(block)) continue;
      const skip = Math.max(0, at - block * c.BLOCK);
      (await this.block(block)).copy(patched, Math.max(0, block * c.BLOCK - at), skip);
    }
    return patched;
  }

  /** Extended attributes by full name (`security.capability`, …), with ACLs in the form that `getxattr` returns. */
  async xattrs(ino: number): Promise<Map<string, Buffer>> {
    const inode = await this.inode(ino);
    return decodeXattrs(inode.inlineXattrs, inode.xattrBlock ? await this.block(inode.xattrBlock) : null);
  }
}

const ZEROS = Buffer.alloc(65536);

function* zeros(length: number): Generator<Buffer> {
  for (let left = length; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
}
