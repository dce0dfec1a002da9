/** Inodes and their content on a disk being written. */
import { invalid } from '../../common/errors.js';
import type { DeltaDisk } from '../vmdk/delta.js';
import { GRAIN_BYTES } from '../vmdk/header.js';
import type { Allocator } from './allocator.js';
import * as c from './constants.js';
import { type Extent, readExtentTree } from './extents.js';
import { Inode } from './inode.js';
import { decodeXattrs, encodeXattrs, type Xattrs } from './xattr.js';

/** Reads, writes and frees inodes. */
export class InodeStore {
  constructor(
    readonly disk: DeltaDisk,
    readonly allocator: Allocator,
    private readonly totalBlocks: number,
  ) {}

  /** A copy of inode `ino`. */
  async read(ino: number): Promise<Inode> {
    const at = this.allocator.inodeOffset(ino);
    const index = Math.floor(at / GRAIN_BYTES);
    const grain = this.disk.cached(index) ?? (await this.disk.load(index));
    const start = at - index * GRAIN_BYTES;
    return new Inode(Buffer.from(grain.data.subarray(start, start + c.INODE_SIZE)));
  }

  /** Stores `inode` as number `ino`. */
  async write(ino: number, inode: Inode): Promise<void> {
    await this.put(ino, inode.raw);
  }

  private async put(ino: number, raw: Buffer): Promise<void> {
    const at = this.allocator.inodeOffset(ino);
    const index = Math.floor(at / GRAIN_BYTES);
    const grain = this.disk.cached(index) ?? (await this.disk.load(index));
    raw.copy(grain.data, at - index * GRAIN_BYTES);
    grain.dirty = true;
  }

  /** A block's bytes: a view, valid until the next `await` on the disk. */
  async block(block: number): Promise<Buffer> {
    if (block <= 0 || block >= this.totalBlocks) throw invalid(`damaged ext4: there is no block ${block}`);
    const index = Math.floor(block / c.BLOCKS_PER_GRAIN);
    const grain = this.disk.cached(index) ?? (await this.disk.load(index));
    const start = (block % c.BLOCKS_PER_GRAIN) * c.BLOCK;
    return grain.data.subarray(start, start + c.BLOCK);
  }

  /** The extents of a file, directory or long symlink. */
  async extentsOf(inode: Inode): Promise<{ extents: Extent[]; nodes: number[] }> {
    if (!(inode.flags & c.FL_EXTENTS)) return { extents: [], nodes: [] };
    return readExtentTree(inode.area, this.totalBlocks, (block) => this.block(block));
  }

  /** The target of a symlink, one character per byte. */
  async readlink(inode: Inode): Promise<string> {
    if (!(inode.flags & c.FL_EXTENTS)) return inode.area.toString('latin1', 0, Math.min(inode.size, 59));
    const { extents } = await this.extentsOf(inode);
    const first = extents[0];
    if (!first || inode.size > c.BLOCK) throw invalid('damaged ext4: a symlink makes no sense');
    return (await this.block(first.start)).toString('latin1', 0, inode.size);
  }

  /** The extended attributes of `inode`. */
  async xattrs(inode: Inode): Promise<Xattrs> {
    return decodeXattrs(inode.inlineXattrs, inode.xattrBlock ? await this.block(inode.xattrBlock) : null);
  }

  /** Replaces the extended attributes of `inode` (in memory; the caller writes it). */
  async setXattrs(inode: Inode, xattrs: Xattrs): Promise<void> {
    const block = encodeXattrs(xattrs, inode.inlineXattrs);
    if (inode.xattrBlock) {
      await this.releaseXattrs(inode.xattrBlock);
      inode.xattrBlock = 0;
      inode.blocks -= 1;
    }
    if (!block) return;
    inode.xattrBlock = (await this.allocator.allocateBlocks(1)).start;
    inode.blocks += 1;
    await this.disk.write(inode.xattrBlock * c.BLOCK, block);
  }

  /** Releases a block of attributes. Kernels let inodes with the same attributes share one. */
  private async releaseXattrs(block: number): Promise<void> {
    const index = Math.floor(block / c.BLOCKS_PER_GRAIN);
    const view = await this.block(block);
    const references = view.readUInt32LE(4);
    if (references <= 1) return this.allocator.freeBlocks(block, 1);
    view.writeUInt32LE(references - 1, 4);
    this.disk.cached(index)!.dirty = true;
  }

  /** Frees `ino` with all its blocks. */
  async free(ino: number, inode: Inode): Promise<void> {
    const { extents, nodes } = await this.extentsOf(inode);
    for (const extent of extents) await this.allocator.freeBlocks(extent.start, extent.count);
    for (const node of nodes) await this.allocator.freeBlocks(node, 1);
    if (inode.xattrBlock) await this.releaseXattrs(inode.xattrBlock);
    await this.put(ino, Buffer.alloc(c.INODE_SIZE));
    await this.allocator.freeInode(ino, inode.isDirectory);
  }
}
