/** First pass: block group descriptors, and what belongs to groups: copies of the superblock, bitmaps, tables of inodes. */
import * as c from '../ext4/constants.js';
import { crc16 } from '../ext4/crc16.js';
import { decodeGroupDescriptor } from '../ext4/group-descriptor.js';
import { copiesIn, descriptorBlock } from '../ext4/superblock.js';
import type { Ext4State, Group } from './ext4-state.js';

export async function checkGroups(state: Ext4State): Promise<void> {
  const { sb } = state;
  // Without the feature of clusters, these say the same as two other fields, or nobody mounts it.
  if (sb.raw.readUInt32LE(28) !== sb.raw.readUInt32LE(24) || sb.raw.readUInt32LE(36) !== c.BLOCKS_PER_GROUP)
    state.problems.add('the superblock makes no sense');
  // Its journal is its own: no device, and nobody's id.
  const { raw } = sb;
  if (
    raw.readUInt32LE(224) !== c.JOURNAL_INO ||
    raw.readUInt32LE(228) !== 0 ||
    raw.subarray(208, 224).some((b) => b !== 0)
  )
    state.problems.add('the superblock names another journal');
  for (let group = 0; group < sb.groups; group++) {
    const copies = copiesIn(sb, group);
    if (copies === 0) continue;
    // The copies are for the day when the first one is lost: whether they are as it is does not matter today.
    take(state, group * c.BLOCKS_PER_GROUP, copies, `the superblock copy of group ${group}`);
    state.metadata.push({ start: group * c.BLOCKS_PER_GROUP, count: copies });
  }
  for (let group = 0; group < sb.groups; group++) state.groups.push(await readGroup(state, group));
}

async function readGroup(state: Ext4State, group: number): Promise<Group> {
  const { sb, problems } = state;
  const at = group * sb.descriptorSize;
  const block = await state.block(descriptorBlock(sb, Math.floor(at / c.BLOCK)));
  const raw = Buffer.from(block.subarray(at % c.BLOCK, (at % c.BLOCK) + sb.descriptorSize));
  const found: Group = {
    raw,
    ...decodeGroupDescriptor(raw),
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
    } else if (!take(state, start, count, `the ${what} of group ${group}`)) found.sound = false;
  }
  if (found.unusedInodes > sb.inodesPerGroup) {
    problems.add(`group ${group} has ${found.unusedInodes} unused inodes, more than it has in all`);
    found.sound = false;
  }
  if (found.sound) state.metadata.push(...writtenRuns(state, found));
  return found;
}

function take(state: Ext4State, start: number, count: number, what: string): boolean {
  state.groupRuns.push({ start, count });
  return state.take(start, count, () => what);
}

/** The bitmaps and the part of the inode table that were ever written: nobody reads the rest. */
function writtenRuns({ sb }: Ext4State, group: Group): { start: number; count: number }[] {
  const { flags, blockBitmap, inodeBitmap, inodeTable, unusedInodes } = group;
  const runs = flags & c.BG_BLOCK_UNINIT ? [] : [{ start: blockBitmap, count: 1 }];
  if (flags & c.BG_INODE_UNINIT) return runs;
  const count = Math.ceil(((sb.inodesPerGroup - unusedInodes) * sb.inodeSize) / c.BLOCK);
  return [...runs, { start: inodeBitmap, count: 1 }, { start: inodeTable, count }];
}

function checksumOf(raw: Buffer, group: number, uuid: Buffer): number {
  const number = Buffer.alloc(4);
  number.writeUInt32LE(group);
  return crc16(crc16(crc16(0xffff, uuid), number), raw.subarray(0, 30));
}
