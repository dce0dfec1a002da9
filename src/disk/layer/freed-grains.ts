/**
 * Which parts of a disk's file hold nothing any more, because the ext4 filesystem on the disk has freed their blocks ("ext4 Data Structures and
 * Algorithms", "Block and inode Bitmaps"). Only superblock, group descriptors and bitmaps are read, each within bounds, so it does no harm what
 * a guest wrote there: it can only give away its own blocks.
 */
import { invalid } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';
import * as c from '../ext4/constants.js';
import { decodeSuperblock } from '../ext4/superblock.js';
import type { VmdkExtent } from '../vmdk/extent.js';
import { GRAIN_BYTES } from '../vmdk/header.js';

const BLOCKS_PER_GRAIN = GRAIN_BYTES / c.BLOCK;
const GRAINS_PER_GROUP = c.BLOCKS_PER_GROUP / BLOCKS_PER_GRAIN;

/** A part of the file. */
export interface FileRange {
  offset: number;
  length: number;
}

/**
 * The ranges of the extent's own file, in the order of the disk, neighbours joined. None for a filesystem that was not unmounted: its journal
 * may still need blocks that the bitmaps call free.
 * @param own the topmost file of the disk @param disk the whole disk
 * @throws invalid, unsupported for what is no sound ext4
 */
export async function* freedGrains(own: VmdkExtent, disk: BlockReader): AsyncGenerator<FileRange> {
  const { groups, blocks, descriptorSize, incompat, firstMetaBlock } = decodeSuperblock(
    await disk.read(c.SUPER_OFFSET, c.SUPER_SIZE),
    disk.size,
  );
  if ((incompat & c.INCOMPAT_RECOVER) !== 0) return;
  // A kernel has made it larger, and its descriptors are in several places. No container's own disk is like that.
  if (Number.isFinite(firstMetaBlock)) return;
  const descriptors = await disk.read(c.BLOCK, groups * descriptorSize);
  let range: FileRange | null = null;
  for (let group = 0; group < groups; group++) {
    let bitmap: Buffer | null = null;
    const first = group * GRAINS_PER_GROUP;
    const grains = Math.min(GRAINS_PER_GROUP, Math.floor(blocks / BLOCKS_PER_GRAIN) - first);
    for (let grain = 0; grain < grains; grain++) {
      const at = await own.locate(first + grain);
      if (typeof at !== 'number') continue;
      bitmap ??= await bitmapOf(disk, descriptors.subarray(group * descriptorSize), { blocks, descriptorSize });
      // A bitmap's bits of a grain's sixteen blocks.
      if (bitmap.readUInt16LE(grain * 2) !== 0) continue;
      if (range !== null && range.offset + range.length === at) range.length += GRAIN_BYTES;
      else {
        if (range !== null) yield range;
        range = { offset: at, length: GRAIN_BYTES };
      }
    }
  }
  if (range !== null) yield range;
}

const ALL_USED = Buffer.alloc(c.BLOCK, 0xff);

/** Of the group with that descriptor. One that was never written stands for a group whose blocks were never given out. */
async function bitmapOf(
  disk: BlockReader,
  descriptor: Buffer,
  { blocks, descriptorSize }: { blocks: number; descriptorSize: number },
): Promise<Buffer> {
  if ((descriptor.readUInt16LE(18) & c.BG_BLOCK_UNINIT) !== 0) return ALL_USED;
  const block = descriptor.readUInt32LE(0) + (descriptorSize >= 64 ? descriptor.readUInt32LE(32) * 2 ** 32 : 0);
  if (block === 0 || block >= blocks) throw invalid('damaged ext4: a block bitmap lies outside the filesystem');
  return disk.read(block * c.BLOCK, c.BLOCK);
}
