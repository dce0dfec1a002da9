/**
 * Makes an empty filesystem. The allocation tables of each 256 block groups are together at their beginning (flex_bg), and unused groups
 * are marked as such, which is why 32 GiB take only a few blocks.
 */
import { createHash } from 'node:crypto';
import { invalid } from '../../common/errors.js';
import type { DeltaDisk } from '../vmdk/delta.js';
import * as c from './constants.js';
import { crc16 } from './crc16.js';
import { buildDirectory } from './directory.js';
import { buildExtentTree } from './extents.js';
import { Inode } from './inode.js';

const LOG_GROUPS_PER_FLEX = 8;
const DESCRIPTOR = 32;
/** A last group smaller than this is left out, since it could not hold its own tables. */
const MIN_LAST_GROUP = 1024;
const MIN_BLOCKS = 2048;
const COMPAT = c.COMPAT_HAS_JOURNAL | c.COMPAT_EXT_ATTR | c.COMPAT_DIR_INDEX;
const INCOMPAT = c.INCOMPAT_FILETYPE | c.INCOMPAT_EXTENTS | c.INCOMPAT_FLEX_BG;
const RO_COMPAT =
  c.RO_COMPAT_SPARSE_SUPER |
  c.RO_COMPAT_LARGE_FILE |
  c.RO_COMPAT_HUGE_FILE |
  c.RO_COMPAT_GDT_CSUM |
  c.RO_COMPAT_DIR_NLINK |
  c.RO_COMPAT_EXTRA_ISIZE;

/**
 * True when the superblock `raw` has the features that {@link formatExt4} sets, and at most the one that a kernel adds when it makes the
 * filesystem larger. Nothing is written on other filesystems.
 */
export function hasOurFeatures(raw: Buffer): boolean {
  const incompat = raw.readUInt32LE(96) & ~c.INCOMPAT_META_BG;
  return raw.readUInt32LE(92) === COMPAT && incompat === INCOMPAT && raw.readUInt32LE(100) === RO_COMPAT;
}

/** True when group `group` begins with a copy of the superblock and descriptors (sparse_super). */
export function hasSuperblock(group: number): boolean {
  if (group <= 1) return true;
  return [3, 5, 7].some((base) => {
    let power = base;
    while (power < group) power *= base;
    return power === group;
  });
}

/** Number of blocks of a superblock copy and its descriptors. */
export function superblockSpan(groups: number): number {
  return 1 + Math.ceil((groups * DESCRIPTOR) / c.BLOCK);
}

/** Journal size in blocks: 64 MiB on large disks. A container's disk grows by at most that much for its journal. */
function journalBlocks(blocks: number): number {
  if (blocks < 32768) return 1024;
  if (blocks < 262144) return 4096;
  return blocks < 1048576 ? 8192 : 16384;
}

/** 16 bytes derived from `seed` for `purpose`, in the form of a UUID. */
function derivedUuid(purpose: string, seed: string): Buffer {
  const bytes = createHash('sha256').update(`ext4 ${purpose} ${seed}`).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] as number) & 0x0f) | 0x40;
  bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
  return bytes;
}

/** Hands out blocks in order, skipping copies of the superblock. */
class Placer {
  private next = 0;
  /** Everything handed out, and every copy of the superblock: `[first, count]`. */
  readonly used: [number, number][] = [];

  constructor(
    private readonly groups: number,
    private readonly span: number,
  ) {
    for (let group = 0; group < groups; group++) {
      if (hasSuperblock(group)) this.used.push([group * c.BLOCKS_PER_GROUP, span]);
    }
  }

  moveTo(block: number): void {
    this.next = Math.max(this.next, block);
  }

  take(count: number): number {
    for (;;) {
      const first = Math.floor(this.next / c.BLOCKS_PER_GROUP);
      const last = Math.min(this.groups - 1, Math.floor((this.next + count - 1) / c.BLOCKS_PER_GROUP));
      let clash = -1;
      for (let group = first; group <= last; group++) {
        const start = group * c.BLOCKS_PER_GROUP;
        if (hasSuperblock(group) && this.next < start + this.span && this.next + count > start) clash = group;
      }
      if (clash < 0) break;
      this.next = clash * c.BLOCKS_PER_GROUP + this.span;
    }
    const start = this.next;
    this.next += count;
    this.used.push([start, count]);
    return start;
  }
}

/** Writes an empty filesystem that fills `disk`, which must read as zeros. Its root has mode 0755, no `lost+found`. */
export async function formatExt4(disk: DeltaDisk, seed: string, label: string): Promise<void> {
  let blocks = Math.floor(disk.size / c.BLOCK);
  if (blocks > c.BLOCKS_PER_GROUP && blocks % c.BLOCKS_PER_GROUP !== 0) {
    if (blocks % c.BLOCKS_PER_GROUP < MIN_LAST_GROUP) blocks -= blocks % c.BLOCKS_PER_GROUP;
  }
  if (blocks < MIN_BLOCKS) throw invalid(`a filesystem needs at least ${(MIN_BLOCKS * c.BLOCK) / 2 ** 20} MiB`);
  if (Buffer.byteLength(label) > 16) throw invalid('a filesystem label has at most 16 bytes');
  const groups = Math.ceil(blocks / c.BLOCKS_PER_GROUP);
  const groupSize = (group: number) => Math.min(c.BLOCKS_PER_GROUP, blocks - group * c.BLOCKS_PER_GROUP);
  // One inode per 16 KiB, in whole blocks of inodes.
  const inodesPerGroup = Math.ceil(Math.min(blocks, c.BLOCKS_PER_GROUP) / 4 / 16) * 16;
  const tableBlocks = (inodesPerGroup * c.INODE_SIZE) / c.BLOCK;
  const span = superblockSpan(groups);

  const placer = new Placer(groups, span);
  const blockBitmap: number[] = [];
  const inodeBitmap: number[] = [];
  const inodeTable: number[] = [];
  let journal = 0;
  let rootBlock = 0;
  for (let flex = 0; flex < groups; flex += 1 << LOG_GROUPS_PER_FLEX) {
    placer.moveTo(flex * c.BLOCKS_PER_GROUP);
    const count = Math.min(1 << LOG_GROUPS_PER_FLEX, groups - flex);
    for (let i = 0; i < count; i++) blockBitmap.push(placer.take(1));
    for (let i = 0; i < count; i++) inodeBitmap.push(placer.take(1));
    for (let i = 0; i < count; i++) inodeTable.push(placer.take(tableBlocks));
    if (flex === 0) {
      journal = placer.take(journalBlocks(blocks));
      rootBlock = placer.take(1);
    }
  }

  // Bitmaps of every group that contains more than its own copy of the superblock, and of the last one.
  const bitmaps = new Map<number, Buffer>();
  const bitmapOf = (group: number): Buffer => {
    let bitmap = bitmaps.get(group);
    if (!bitmap) {
      bitmap = Buffer.alloc(c.BLOCK);
      bitmaps.set(group, bitmap);
      for (let bit = groupSize(group); bit < c.BLOCKS_PER_GROUP; bit++) bitmap[bit >> 3]! |= 1 << (bit & 7);
      if (hasSuperblock(group)) markUsed(group * c.BLOCKS_PER_GROUP, span);
    }
    return bitmap;
  };
  const usedIn = new Uint32Array(groups);
  const markUsed = (start: number, count: number): void => {
    for (let block = start; block < start + count; block++) {
      const group = Math.floor(block / c.BLOCKS_PER_GROUP);
      const bit = block % c.BLOCKS_PER_GROUP;
      const bitmap = bitmapOf(group);
      if (((bitmap[bit >> 3] as number) >> (bit & 7)) & 1) continue;
      bitmap[bit >> 3]! |= 1 << (bit & 7);
      usedIn[group]!++;
    }
  };
  for (const [start, count] of placer.used) {
    const isCopy = start % c.BLOCKS_PER_GROUP === 0 && count === span && hasSuperblock(start / c.BLOCKS_PER_GROUP);
    if (!isCopy) markUsed(start, count);
  }
  bitmapOf(0);
  bitmapOf(groups - 1);
  for (const [group, bitmap] of bitmaps) await disk.write((blockBitmap[group] as number) * c.BLOCK, bitmap);

  const inodes = Buffer.alloc(c.BLOCK);
  for (let bit = 0; bit < c.BLOCKS_PER_GROUP; bit++) {
    if (bit < c.FIRST_INO - 1 || bit >= inodesPerGroup) inodes[bit >> 3]! |= 1 << (bit & 7);
  }
  await disk.write((inodeBitmap[0] as number) * c.BLOCK, inodes);

  const uuid = derivedUuid('uuid', seed);
  const hashSeed = derivedUuid('hash seed', seed);
  const descriptors = Buffer.alloc((span - 1) * c.BLOCK);
  let freeBlocks = 0;
  for (let group = 0; group < groups; group++) {
    const d = descriptors.subarray(group * DESCRIPTOR, (group + 1) * DESCRIPTOR);
    const uninit = !bitmaps.has(group);
    const used = uninit ? (hasSuperblock(group) ? span : 0) : (usedIn[group] as number);
    const free = groupSize(group) - used;
    const reserved = group === 0 ? c.FIRST_INO - 1 : 0;
    freeBlocks += free;
    d.writeUInt32LE(blockBitmap[group] as number, 0);
    d.writeUInt32LE(inodeBitmap[group] as number, 4);
    d.writeUInt32LE(inodeTable[group] as number, 8);
    d.writeUInt16LE(free, 12);
    d.writeUInt16LE(inodesPerGroup - reserved, 14);
    d.writeUInt16LE(group === 0 ? 1 : 0, 16);
    const flags = c.BG_INODE_ZEROED | (group === 0 ? 0 : c.BG_INODE_UNINIT) | (uninit ? c.BG_BLOCK_UNINIT : 0);
    d.writeUInt16LE(flags, 18);
    d.writeUInt16LE(inodesPerGroup - reserved, 28);
    setDescriptorChecksum(d, group, uuid);
  }

  const journalCount = journalBlocks(blocks);
  const journalInode = Inode.blank(c.S_IFREG | 0o600);
  journalInode.links = 1;
  journalInode.flags = c.FL_EXTENTS;
  journalInode.size = journalCount * c.BLOCK;
  journalInode.blocks = journalCount;
  await plainExtent(journalInode, journal, journalCount);
  const rootInode = Inode.blank(c.S_IFDIR | 0o755);
  rootInode.links = 2;
  rootInode.flags = c.FL_EXTENTS;
  rootInode.size = c.BLOCK;
  rootInode.blocks = 1;
  await plainExtent(rootInode, rootBlock, 1);
  const table = (inodeTable[0] as number) * c.BLOCK;
  await disk.write(table + (c.ROOT_INO - 1) * c.INODE_SIZE, rootInode.raw);
  await disk.write(table + (c.JOURNAL_INO - 1) * c.INODE_SIZE, journalInode.raw);
  await disk.write(rootBlock * c.BLOCK, buildDirectory(c.ROOT_INO, c.ROOT_INO, [], hashSeed).data);
  await disk.write(journal * c.BLOCK, journalSuperblock(journalCount, uuid));

  const raw = encodeSuperblock({ blocks, groups, inodesPerGroup, freeBlocks, uuid, hashSeed, label, journalInode });
  for (let group = 0; group < groups; group++) {
    if (!hasSuperblock(group)) continue;
    raw.writeUInt16LE(group & 0xffff, 90);
    const start = group * c.BLOCKS_PER_GROUP * c.BLOCK;
    await disk.write(start + (group === 0 ? c.SUPER_OFFSET : 0), raw);
    await disk.write(start + c.BLOCK, descriptors);
  }
}

/** One extent in the inode's own area. */
function plainExtent(inode: Inode, start: number, count: number): Promise<number> {
  const none = () => Promise.reject(new Error('one extent needs no tree'));
  return buildExtentTree(inode.area, [{ logical: 0, start, count }], none, none);
}

/** Puts the checksum (feature `gdt_csum`) into the descriptor of block group `group`. */
export function setDescriptorChecksum(descriptor: Buffer, group: number, uuid: Buffer): void {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  const crc = crc16(crc16(crc16(0xffff, uuid), number), descriptor.subarray(0, 30));
  descriptor.writeUInt16LE(crc, 30);
}

/** An empty journal's first block (jbd2 superblock version 2, big-endian). */
function journalSuperblock(blocks: number, uuid: Buffer): Buffer {
  const b = Buffer.alloc(c.BLOCK);
  b.writeUInt32BE(0xc03b3998, 0);
  b.writeUInt32BE(4, 4);
  b.writeUInt32BE(c.BLOCK, 12);
  b.writeUInt32BE(blocks, 16);
  b.writeUInt32BE(1, 20); // first block of the log
  b.writeUInt32BE(1, 24); // first commit expected
  uuid.copy(b, 48);
  b.writeUInt32BE(1, 64); // filesystems that use it
  return b;
}

function encodeSuperblock(f: {
  blocks: number;
  groups: number;
  inodesPerGroup: number;
  freeBlocks: number;
  uuid: Buffer;
  hashSeed: Buffer;
  label: string;
  journalInode: Inode;
}): Buffer {
  const b = Buffer.alloc(c.SUPER_SIZE);
  const inodes = f.groups * f.inodesPerGroup;
  b.writeUInt32LE(inodes, 0);
  b.writeUInt32LE(f.blocks, 4);
  b.writeUInt32LE(f.freeBlocks, 12);
  b.writeUInt32LE(inodes - (c.FIRST_INO - 1), 16);
  b.writeUInt32LE(2, 24); // blocks of 1024 << 2
  b.writeUInt32LE(2, 28);
  b.writeUInt32LE(c.BLOCKS_PER_GROUP, 32);
  b.writeUInt32LE(c.BLOCKS_PER_GROUP, 36);
  b.writeUInt32LE(f.inodesPerGroup, 40);
  b.writeUInt16LE(0xffff, 54); // no check after so many mounts
  b.writeUInt16LE(c.SUPER_MAGIC, 56);
  b.writeUInt16LE(1, 58); // clean
  b.writeUInt16LE(2, 60); // on errors: read-only
  b.writeUInt32LE(1, 76); // revision 1
  b.writeUInt32LE(c.FIRST_INO, 84);
  b.writeUInt16LE(c.INODE_SIZE, 88);
  b.writeUInt32LE(COMPAT, 92);
  b.writeUInt32LE(INCOMPAT, 96);
  b.writeUInt32LE(RO_COMPAT, 100);
  f.uuid.copy(b, 104);
  b.write(f.label, 120);
  b.writeUInt32LE(c.JOURNAL_INO, 224);
  f.hashSeed.copy(b, 236);
  b[252] = 1; // half MD4
  b[253] = 1; // the backup of the journal's inode below is valid
  b.writeUInt32LE(0xc, 256); // mount options: user_xattr, acl
  f.journalInode.area.copy(b, 268);
  b.writeUInt32LE(Math.floor(f.journalInode.size / 2 ** 32), 328);
  b.writeUInt32LE(f.journalInode.size % 2 ** 32, 332);
  b.writeUInt16LE(c.EXTRA_ISIZE, 348);
  b.writeUInt16LE(c.EXTRA_ISIZE, 350);
  b.writeUInt32LE(2, 352); // directory hashes take characters as unsigned
  b[372] = LOG_GROUPS_PER_FLEX;
  return b;
}
