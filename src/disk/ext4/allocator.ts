/**
 * Free blocks and inodes of a filesystem being written: the group descriptors are in memory, the bitmaps in the disk's cache.
 *
 * Allocation goes upwards from behind the last block (inode) in use and returns to freed space only when the end is reached. So a layer's
 * content is stored together, in grains of its own, and the parent's grains need not be copied. With {@link Allocator.reuseFreed} it also
 * reuses what was freed, so that a disk does not grow with every change.
 */
import { insufficientResources, invalid } from '../../common/errors.js';
import type { DeltaDisk, Grain } from '../vmdk/delta.js';
import { GRAIN_BYTES } from '../vmdk/header.js';
import * as c from './constants.js';
import { setDescriptorChecksum } from './format.js';
import { decodeGroupDescriptor, type GroupDescriptor } from './group-descriptor.js';
import { copiesIn, descriptorBlock, type Superblock } from './superblock.js';

const DESCRIPTOR = 32;
const PER_BLOCK = c.BLOCK / DESCRIPTOR;

/** Number of the lowest clear bit in `byte` (not 0xff). */
const lowestClear = (byte: number): number => 31 - Math.clz32(~byte & (byte + 1));

/** First clear bit in `bits[from … to)`, or -1. */
function findClear(bits: Buffer, base: number, from: number, to: number): number {
  for (let bit = from; bit < to; ) {
    const byte = bits[base + (bit >> 3)] as number;
    const rest = byte | ((1 << (bit & 7)) - 1);
    if (rest !== 0xff) {
      const found = (bit & ~7) + lowestClear(rest);
      return found < to ? found : -1;
    }
    bit = (bit & ~7) + 8;
  }
  return -1;
}

/** Allocates and frees; {@link Allocator.store} writes the descriptors and counts back. */
export class Allocator {
  private nextBlock = 0;
  private nextInode = 0;
  /** Whether freed blocks in grains that the disk owns are reused: for a disk that is changed again and again. */
  reuseFreed = false;

  private constructor(
    private readonly disk: DeltaDisk,
    private readonly sb: Superblock,
    private readonly groups: GroupDescriptor[],
  ) {}

  /** Reads the descriptors of the filesystem on `disk`. Throws `invalid` if they are inconsistent. */
  static async load(disk: DeltaDisk, sb: Superblock): Promise<Allocator> {
    const groups: GroupDescriptor[] = [];
    const tableBlocks = (sb.inodesPerGroup * c.INODE_SIZE) / c.BLOCK;
    for (let i = 0; i < sb.groups; i++) {
      const at = descriptorBlock(sb, Math.floor(i / PER_BLOCK)) * c.BLOCK + (i % PER_BLOCK) * DESCRIPTOR;
      const grain = await disk.load(Math.floor(at / GRAIN_BYTES));
      const d = grain.data.subarray(at % GRAIN_BYTES, (at % GRAIN_BYTES) + DESCRIPTOR);
      const group = decodeGroupDescriptor(d);
      if (
        Math.max(group.blockBitmap, group.inodeBitmap, group.inodeTable + tableBlocks - 1) >= sb.blocks ||
        Math.min(group.blockBitmap, group.inodeBitmap, group.inodeTable) === 0 ||
        group.unusedInodes > sb.inodesPerGroup ||
        group.freeInodes > sb.inodesPerGroup
      ) {
        throw invalid(`damaged ext4: block group ${i} makes no sense`);
      }
      groups.push(group);
    }
    const allocator = new Allocator(disk, sb, groups);
    await allocator.findEnds();
    return allocator;
  }

  private groupSize(group: number): number {
    return Math.min(c.BLOCKS_PER_GROUP, this.sb.blocks - group * c.BLOCKS_PER_GROUP);
  }

  /** Blocks of each group that hold no content: superblock copies, bitmaps, inode tables. */
  private fixedBlocks(): Uint32Array {
    const fixed = new Uint32Array(this.sb.groups);
    const add = (block: number) => {
      fixed[Math.floor(block / c.BLOCKS_PER_GROUP)]!++;
    };
    const tableBlocks = (this.sb.inodesPerGroup * c.INODE_SIZE) / c.BLOCK;
    this.groups.forEach((group, i) => {
      fixed[i]! += copiesIn(this.sb, i);
      add(group.blockBitmap);
      add(group.inodeBitmap);
      for (let block = 0; block < tableBlocks; block++) add(group.inodeTable + block);
    });
    return fixed;
  }

  /** Sets the starting points behind the last block and inode in use. */
  private async findEnds(): Promise<void> {
    const fixed = this.fixedBlocks();
    for (let i = this.sb.groups - 1; i >= 0; i--) {
      const group = this.groups[i] as GroupDescriptor;
      const size = this.groupSize(i);
      if (group.flags & c.BG_BLOCK_UNINIT || size - group.freeBlocks <= (fixed[i] as number)) continue;
      const { grain, base } = await this.bitmap(group.blockBitmap);
      let bit = size - 1;
      while (bit >= 0 && !(((grain.data[base + (bit >> 3)] as number) >> (bit & 7)) & 1)) bit--;
      this.nextBlock = i * c.BLOCKS_PER_GROUP + bit + 1;
      break;
    }
    for (let i = this.sb.groups - 1; i >= 0; i--) {
      const used = this.sb.inodesPerGroup - (this.groups[i] as GroupDescriptor).unusedInodes;
      if (used === 0) continue;
      this.nextInode = i * this.sb.inodesPerGroup + used;
      break;
    }
  }

  private async bitmap(block: number): Promise<{ grain: Grain; base: number }> {
    const index = Math.floor(block / c.BLOCKS_PER_GRAIN);
    const grain = this.disk.cached(index) ?? (await this.disk.load(index));
    return { grain, base: (block % c.BLOCKS_PER_GRAIN) * c.BLOCK };
  }

  private async blockBitmap(index: number): Promise<{ grain: Grain; base: number }> {
    const group = this.groups[index] as GroupDescriptor;
    const place = await this.bitmap(group.blockBitmap);
    if (group.flags & c.BG_BLOCK_UNINIT) {
      // Such a group contains nothing but its copies of the superblock and of descriptors, if it has any.
      place.grain.data.fill(0, place.base, place.base + c.BLOCK);
      const used = copiesIn(this.sb, index);
      for (let bit = 0; bit < used; bit++) place.grain.data[place.base + (bit >> 3)]! |= 1 << (bit & 7);
      place.grain.dirty = true;
      group.flags &= ~c.BG_BLOCK_UNINIT;
    }
    return place;
  }

  /** Allocates one run of 1 … `wanted` blocks. Throws `insufficientResources` when the disk is full. */
  async allocateBlocks(wanted: number): Promise<{ start: number; count: number }> {
    let index = Math.floor(this.nextBlock / c.BLOCKS_PER_GROUP);
    let from = this.nextBlock % c.BLOCKS_PER_GROUP;
    for (let tried = 0; tried <= this.sb.groups; tried++, index++, from = 0) {
      if (index >= this.sb.groups) index = 0;
      const group = this.groups[index] as GroupDescriptor;
      if (group.freeBlocks === 0) continue;
      const { grain, base } = await this.blockBitmap(index);
      const size = this.groupSize(index);
      const first = findClear(grain.data, base, from, size);
      if (first < 0) continue;
      let end = first;
      const limit = Math.min(size, first + wanted);
      while (end < limit) {
        const at = base + (end >> 3);
        const byte = grain.data[at] as number;
        if (byte === 0 && (end & 7) === 0 && end + 8 <= limit) {
          grain.data[at] = 0xff;
          end += 8;
          continue;
        }
        if ((byte >> (end & 7)) & 1) break;
        grain.data[at] = byte | (1 << (end & 7));
        end++;
      }
      grain.dirty = true;
      group.freeBlocks -= end - first;
      const start = index * c.BLOCKS_PER_GROUP + first;
      this.nextBlock = start + (end - first);
      return { start, count: end - first };
    }
    throw insufficientResources('the image does not fit: its filesystem is full');
  }

  /** Gives blocks back. */
  async freeBlocks(start: number, count: number): Promise<void> {
    if (this.reuseFreed && start < this.nextBlock && this.disk.isOwn(Math.floor(start / c.BLOCKS_PER_GRAIN)))
      this.nextBlock = start;
    for (let block = start; block < start + count; ) {
      const index = Math.floor(block / c.BLOCKS_PER_GROUP);
      const group = this.groups[index];
      if (!group) throw invalid('damaged ext4: a block beyond the end was in use');
      const { grain, base } = await this.blockBitmap(index);
      const end = Math.min(start + count, (index + 1) * c.BLOCKS_PER_GROUP);
      for (; block < end; block++) {
        const bit = block % c.BLOCKS_PER_GROUP;
        const at = base + (bit >> 3);
        const mask = 1 << (bit & 7);
        if (!((grain.data[at] as number) & mask)) throw invalid('damaged ext4: a free block was in use');
        grain.data[at]! &= ~mask;
        group.freeBlocks++;
      }
      grain.dirty = true;
    }
  }

  /** Allocates an inode. Throws `insufficientResources` when there is none. */
  async allocateInode(directory: boolean): Promise<number> {
    const perGroup = this.sb.inodesPerGroup;
    let index = Math.floor(this.nextInode / perGroup);
    let from = this.nextInode % perGroup;
    for (let tried = 0; tried <= this.sb.groups; tried++, index++, from = 0) {
      if (index >= this.sb.groups) index = 0;
      const group = this.groups[index] as GroupDescriptor;
      if (group.freeInodes === 0) continue;
      const { grain, base } = await this.bitmap(group.inodeBitmap);
      if (group.flags & c.BG_INODE_UNINIT) {
        grain.data.fill(0, base, base + perGroup / 8);
        grain.data.fill(0xff, base + perGroup / 8, base + c.BLOCK);
        group.flags &= ~c.BG_INODE_UNINIT;
      }
      const bit = findClear(grain.data, base, from, perGroup);
      if (bit < 0) continue;
      grain.data[base + (bit >> 3)]! |= 1 << (bit & 7);
      grain.dirty = true;
      group.freeInodes--;
      group.unusedInodes = Math.min(group.unusedInodes, perGroup - bit - 1);
      if (directory) group.directories++;
      this.nextInode = index * perGroup + bit + 1;
      return this.nextInode;
    }
    throw insufficientResources('the image does not fit: its filesystem has no inode left');
  }

  /** Gives an inode back. */
  async freeInode(ino: number, directory: boolean): Promise<void> {
    const index = Math.floor((ino - 1) / this.sb.inodesPerGroup);
    const bit = (ino - 1) % this.sb.inodesPerGroup;
    const group = this.groups[index] as GroupDescriptor;
    const { grain, base } = await this.bitmap(group.inodeBitmap);
    grain.data[base + (bit >> 3)]! &= ~(1 << (bit & 7));
    grain.dirty = true;
    group.freeInodes++;
    if (directory) group.directories--;
  }

  /** Byte offset of an inode on the disk. Throws `invalid` for a number outside the filesystem. */
  inodeOffset(ino: number): number {
    if (ino < 1 || ino > this.sb.inodes) throw invalid(`damaged ext4: there is no inode ${ino}`);
    const group = this.groups[Math.floor((ino - 1) / this.sb.inodesPerGroup)] as GroupDescriptor;
    return group.inodeTable * c.BLOCK + ((ino - 1) % this.sb.inodesPerGroup) * c.INODE_SIZE;
  }

  /** Writes descriptors and the superblock's counts. Copies of the superblock are left alone, as the kernel does. */
  async store(): Promise<void> {
    const descriptors = Buffer.alloc(this.groups.length * DESCRIPTOR);
    let freeBlocks = 0;
    let freeInodes = 0;
    this.groups.forEach((group, i) => {
      const d = descriptors.subarray(i * DESCRIPTOR, (i + 1) * DESCRIPTOR);
      d.writeUInt32LE(group.blockBitmap, 0);
      d.writeUInt32LE(group.inodeBitmap, 4);
      d.writeUInt32LE(group.inodeTable, 8);
      d.writeUInt16LE(group.freeBlocks, 12);
      d.writeUInt16LE(group.freeInodes, 14);
      d.writeUInt16LE(group.directories, 16);
      d.writeUInt16LE(group.flags, 18);
      d.writeUInt16LE(group.unusedInodes, 28);
      setDescriptorChecksum(d, i, this.sb.uuid);
      freeBlocks += group.freeBlocks;
      freeInodes += group.freeInodes;
    });
    for (let at = 0; at < descriptors.length; at += c.BLOCK)
      await this.disk.write(
        descriptorBlock(this.sb, at / c.BLOCK) * c.BLOCK,
        descriptors.subarray(at, Math.min(at + c.BLOCK, descriptors.length)),
      );
    this.sb.raw.writeUInt32LE(freeBlocks, 12);
    this.sb.raw.writeUInt32LE(freeInodes, 16);
    await this.disk.write(c.SUPER_OFFSET, this.sb.raw);
  }
}
