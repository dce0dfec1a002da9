/** Last pass: the bitmaps and counts of what is in use agree with what was found. */
import * as c from '../ext4/constants.js';
import type { Ext4State } from './ext4-state.js';

const BITS = Uint8Array.from({ length: 256 }, (_, byte) => byte.toString(2).replaceAll('0', '').length);
const ones = (bytes: Uint8Array): number => bytes.reduce((sum, byte) => sum + BITS[byte]!, 0);

export async function checkBitmaps(state: Ext4State): Promise<void> {
  const { sb, problems } = state;
  const inodes = inodesByGroup(state);
  let freeBlocks = 0;
  let freeInodes = 0;
  for (const [group, found] of state.groups.entries()) {
    if (!found.sound) continue;
    const start = group * c.BLOCKS_PER_GROUP;
    const size = Math.min(c.BLOCKS_PER_GROUP, sb.blocks - start);
    const used = state.use.bytes(start, size);
    const free = size - ones(used);
    freeBlocks += free;
    if (!(found.flags & c.BG_BLOCK_UNINIT)) {
      const bitmap = await state.block(found.blockBitmap);
      if (!bitmap.subarray(0, used.length).equals(used) && differs(bitmap, used, size))
        problems.add(`the block bitmap of group ${group} does not say what is in use`);
      if (!padded(bitmap, size)) problems.add(`the end of the block bitmap of group ${group} is not set`);
    } else if (free !== size - ownBlocks(state, start, size))
      problems.add(`group ${group} has blocks in use, and says it has none`);
    if (found.freeBlocks !== free)
      problems.add(`group ${group} counts ${found.freeBlocks} free blocks, and has ${free}`);

    const mine = inodes[group] ?? { bits: new Uint8Array(sb.inodesPerGroup / 8), directories: 0 };
    const free2 = sb.inodesPerGroup - ones(mine.bits);
    freeInodes += free2;
    if (!(found.flags & c.BG_INODE_UNINIT)) {
      const bitmap = await state.block(found.inodeBitmap);
      if (!bitmap.subarray(0, mine.bits.length).equals(mine.bits))
        problems.add(`the inode bitmap of group ${group} does not say what is in use`);
      if (!padded(bitmap, sb.inodesPerGroup)) problems.add(`the end of the inode bitmap of group ${group} is not set`);
    } else if (free2 !== sb.inodesPerGroup) problems.add(`group ${group} has inodes in use, and says it has none`);
    if (found.freeInodes !== free2)
      problems.add(`group ${group} counts ${found.freeInodes} free inodes, and has ${free2}`);
    if (found.directories !== mine.directories)
      problems.add(`group ${group} counts ${found.directories} directories, and has ${mine.directories}`);
  }
  // A kernel brings these up to date when it unmounts.
  if (state.dirty || state.groups.some(({ sound }) => !sound)) return;
  if (sb.raw.readUInt32LE(12) !== freeBlocks)
    problems.add(`it counts ${sb.raw.readUInt32LE(12)} free blocks, and has ${freeBlocks}`);
  if (sb.raw.readUInt32LE(16) !== freeInodes)
    problems.add(`it counts ${sb.raw.readUInt32LE(16)} free inodes, and has ${freeInodes}`);
}

interface GroupInodes {
  bits: Uint8Array;
  directories: number;
}

function inodesByGroup({ sb, inodes }: Ext4State): GroupInodes[] {
  const groups: GroupInodes[] = [];
  const of = (ino: number): GroupInodes => {
    const group = Math.floor((ino - 1) / sb.inodesPerGroup);
    groups[group] ??= { bits: new Uint8Array(sb.inodesPerGroup / 8), directories: 0 };
    return groups[group];
  };
  const set = (ino: number): void => {
    const bit = (ino - 1) % sb.inodesPerGroup;
    of(ino).bits[bit >> 3]! |= 1 << (bit & 7);
  };
  for (let ino = 1; ino < c.FIRST_INO; ino++) set(ino);
  for (const [ino, { type }] of inodes) {
    set(ino);
    if (type === c.FT_DIR) of(ino).directories++;
  }
  return groups;
}

/** Compares bit by bit, since a group's size need not be a multiple of 8. */
function differs(bitmap: Buffer, used: Uint8Array, size: number): boolean {
  for (let bit = 0; bit < size; bit++)
    if ((((bitmap[bit >> 3]! ^ used[bit >> 3]!) >> (bit & 7)) & 1) === 1) return true;
  return false;
}

function padded(bitmap: Buffer, size: number): boolean {
  for (let bit = size; bit < c.BLOCKS_PER_GROUP; bit++) if (((bitmap[bit >> 3]! >> (bit & 7)) & 1) === 0) return false;
  return true;
}

/** Blocks of a group that hold tables of groups. */
function ownBlocks(state: Ext4State, start: number, size: number): number {
  let count = 0;
  for (const run of state.groupRuns)
    count += Math.max(0, Math.min(run.start + run.count, start + size) - Math.max(run.start, start));
  return count;
}
