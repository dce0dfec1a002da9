/** First pass: block group descriptors, and what belongs to groups: copies of the superblock, bitmaps, tables of inodes. */
import * as c from '../ext4/constants.js';
import { crc16 } from '../ext4/crc16.js';
import { copiesIn, descriptorBlock } from '../ext4/superblock.js';
import type { Ext4State, Group } from './ext4-state.js';

export async function checkGroups(state: Ext4State): Promise<void> {
  const { sb } = state;
  // Without the feature of clusters, these say the same as two other fields, or nobody mounts it.
  if (sb.raw.readUInt32LE(28) !== sb.raw.readUInt32LE(24) || sb.raw.readUInt32LE(36) !== c.BLOCKS_PER_GROUP)
    state.problems.add('the superblock makes no sense');
  for (let group = 0; group < sb.groups; group++) {
    const copies = copiesIn(sb, group);
    // The copies are for the day when the first one is lost: whether they are as it is does not matter today.
    if (copies > 0)
      state.takeMetadata(group * c.BLOCKS_PER_GROUP, copies, () => `the superblock copy of group ${group}`);
  }
  for (let group = 0; group < sb.groups; group++) state.groups.push(await readGroup(state, group));
  state.groupMetadata = state.metadata.length;
}

async function readGroup(state: Ext4State, group: number): Promise<Group> {
  const { sb, problems } = state;
  const at = group * sb.descriptorSize;
  const block = await state.block(descriptorBlock(sb, Math.floor(at / c.BLOCK)));
  const raw = Buffer.from(block.subarray(at % c.BLOCK, (at % c.BLOCK) + sb.descriptorSize));
  const found: Group = {
    raw,
    blockBitmap: raw.readUInt32LE(0),
    inodeBitmap: raw.readUInt32LE(4),
    inodeTable: raw.readUInt32LE(8),
    freeBlocks: raw.readUInt16LE(12),
    freeInodes: raw.readUInt16LE(14),
    directories: raw.readUInt16LE(16),
    flags: raw.readUInt16LE(18),
    unused: raw.readUInt16LE(28),
    sound: true,
  };
  if (checksumOf(raw, group, sb.uuid) !== raw.readUInt16LE(30))
    problems.add(`the descriptor of block group ${group} has another checksum`);
  const tableBlocks = Math.ceil((sb.inodesPerGroup * sb.inodeSize) / c.BLOCK);
  for (const [start, count, what] of [
    [found.blockBitmap, 1, 'block bitmap'],
    [found.inodeBitmap, 1, 'inode bitmap'],
    [found.inodeTable, tableBlocks, 'inode table'],
  ] as const) {
    if (start === 0 || start + count > sb.blocks) {
      problems.add(`the ${what} of group ${group} is at block ${start}, where there is none`);
      found.sound = false;
    } else if (!state.takeMetadata(start, count, () => `the ${what} of group ${group}`)) found.sound = false;
  }
  if (found.unused > sb.inodesPerGroup) {
    problems.add(`group ${group} has ${found.unused} unused inodes, more than it has in all`);
    found.sound = false;
  }
  return found;
}

function checksumOf(raw: Buffer, group: number, uuid: Buffer): number {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  return crc16(crc16(crc16(0xffff, uuid), number), raw.subarray(0, 30));
}
