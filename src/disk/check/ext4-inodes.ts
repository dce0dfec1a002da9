/** Second pass: every inode in use, its map of blocks, its attributes. */
import { messageOf } from '../../common/errors.js';
import * as c from '../ext4/constants.js';
import { Inode } from '../ext4/inode.js';
import { decodeXattrs, hashesMatch, XATTR_HEADER } from '../ext4/xattr.js';
import { readTree } from './ext4-extents.js';
import type { Ext4State } from './ext4-state.js';

/** Inodes below the first free one that may be in use. */
const RESERVED = new Set([c.ROOT_INO, c.JOURNAL_INO]);
const XATTR_MAGIC = 0xea020000;
/** Flags of features that the filesystem does not have: magic directories, encryption, inline content, attributes' inodes, folded case. */
const FOREIGN_FLAGS = 0x2000 | 0x800 | c.FL_INLINE_DATA | 0x200000 | 0x40000000;

export async function checkInodes(state: Ext4State): Promise<void> {
  const { sb } = state;
  await findOrphans(state);
  const perBlock = c.BLOCK / sb.inodeSize;
  for (const [group, { inodeTable, flags, unusedInodes, sound }] of state.groups.entries()) {
    if (!sound || flags & c.BG_INODE_UNINIT) continue;
    const count = sb.inodesPerGroup - unusedInodes;
    for (let index = 0; index < count; index += perBlock) {
      const block = await state.block(inodeTable + index / perBlock);
      for (let i = 0; i < perBlock && index + i < count; i++) {
        const raw = block.subarray(i * sb.inodeSize, (i + 1) * sb.inodeSize);
        // A copy: what is read meanwhile may take the buffer's place.
        if (raw.readUInt16LE(26) !== 0 || raw.readUInt16LE(0) !== 0)
          await checkInode(state, group * sb.inodesPerGroup + index + i + 1, new Inode(Buffer.from(raw)));
      }
    }
  }
  await checkAttributeBlocks(state);
  const root = state.inodes.get(c.ROOT_INO);
  if (root?.type !== c.FT_DIR) state.problems.add('there is no root directory');
}

/** Follows the list of inodes that were deleted while they were open. */
async function findOrphans(state: Ext4State): Promise<void> {
  const { sb } = state;
  for (let ino = sb.raw.readUInt32LE(232); ino !== 0; ) {
    if (ino < c.FIRST_INO || ino > sb.inodes || state.orphans.has(ino)) {
      state.problems.add('the list of inodes to be freed makes no sense');
      return;
    }
    state.orphans.add(ino);
    const group = state.groups[Math.floor((ino - 1) / sb.inodesPerGroup)];
    if (group === undefined || !group.sound) return;
    const at = ((ino - 1) % sb.inodesPerGroup) * sb.inodeSize;
    const block = await state.block(group.inodeTable + Math.floor(at / c.BLOCK));
    ino = block.readUInt32LE((at % c.BLOCK) + 20);
  }
}

async function checkInode(state: Ext4State, ino: number, inode: Inode): Promise<void> {
  const { problems } = state;
  const deleted = inode.raw.readUInt32LE(20);
  const orphan = state.orphans.has(ino);
  if (inode.links === 0 && !orphan) {
    if (deleted === 0 && ino >= c.FIRST_INO) problems.add(`inode ${ino} has no links, and was not deleted`);
    return;
  }
  if (ino < c.FIRST_INO && !RESERVED.has(ino)) {
    problems.add(`the reserved inode ${ino} is in use`);
    return;
  }
  if (deleted !== 0 && !orphan) problems.add(`inode ${ino} is in use, and was deleted`);
  const type = c.fileTypeOf(inode.mode);
  if (type === 0) {
    problems.add(`inode ${ino} has no type`);
    return;
  }
  const known = { type, links: inode.links, found: 0 };
  state.inodes.set(ino, known);
  try {
    await checkContent(state, ino, inode, known);
  } catch (error) {
    problems.add(`inode ${ino}: ${messageOf(error)}`);
  }
}

type Known = NonNullable<ReturnType<Ext4State['inodes']['get']>>;

async function checkContent(state: Ext4State, ino: number, inode: Inode, known: Known): Promise<void> {
  const { problems } = state;
  const { type } = known;
  const wrong = (what: string): void => problems.add(`inode ${ino}: ${what}`);
  let blocks = await checkAttributes(state, ino, inode);
  const extents = (inode.flags & c.FL_EXTENTS) !== 0;
  if (inode.flags & FOREIGN_FLAGS || (inode.flags & c.FL_INDEX && type !== c.FT_DIR)) wrong('its flags make no sense');
  if (type === c.FT_CHR || type === c.FT_BLK || type === c.FT_FIFO || type === c.FT_SOCK) {
    if (extents || inode.flags & c.FL_INDEX || inode.size !== 0) wrong('a device, pipe or socket has content');
    if (!isZero(inode.area.subarray(8))) wrong('a device, pipe or socket has blocks');
  } else if (type === c.FT_SYMLINK && !extents) {
    const end = inode.area.indexOf(0);
    if (inode.size === 0 || inode.size >= 60 || (end < 0 ? 60 : end) !== inode.size)
      wrong('the target of a symbolic link has another length');
  } else if (!extents) wrong('it has no extents');
  else {
    const tree = await readTree(state, ino, inode.area);
    blocks += tree.blocks;
    if (type === c.FT_DIR) {
      known.blocks = tree.list();
      known.indexed = (inode.flags & c.FL_INDEX) !== 0;
      if (inode.size !== known.blocks.length * c.BLOCK || tree.holes) wrong('a directory has another size than blocks');
    } else if (type === c.FT_SYMLINK) {
      if (tree.end !== 1 || inode.size === 0 || inode.size > c.BLOCK) wrong('a symbolic link makes no sense');
      else state.metadata.push({ start: tree.first, count: 1 });
    } else if (ino === c.JOURNAL_INO) state.metadata.push({ start: tree.first, count: 1 });
    // How much of the last block is in use only the size tells.
    else if (inode.size < (tree.writtenEnd - 1) * c.BLOCK && !state.orphans.has(ino))
      wrong(`its size is ${inode.size}, and it has blocks up to ${tree.writtenEnd * c.BLOCK}`);
  }
  if (inode.blocks !== blocks) wrong(`it counts ${inode.blocks} blocks, and has ${blocks}`);
  if (inode.raw.readUInt32LE(112) !== 0 || inode.raw.readUInt16LE(126) !== 0) wrong('fields that nobody uses are set');
}

/** @returns the blocks they take */
async function checkAttributes(state: Ext4State, ino: number, inode: Inode): Promise<number> {
  const { problems } = state;
  const extra = inode.raw.length > 128 ? inode.raw.readUInt16LE(128) : 0;
  if (extra !== 0 && (extra < 4 || extra > inode.raw.length - 128 || extra % 4 !== 0)) {
    problems.add(`inode ${ino}: the size of its further fields, ${extra}, makes no sense`);
    return 0;
  }
  const block = inode.xattrBlock;
  const inline = inode.inlineXattrs;
  if (inline.length >= 4 && inline.readUInt32LE(0) === XATTR_MAGIC) {
    decodeXattrs(inline, null);
    if (!hashesMatch(inline, 4, 4)) problems.add(`inode ${ino}: an extended attribute is not what was stored`);
  }
  if (block === 0) return 0;
  const users = state.attributes.get(block) ?? 0;
  if (users === 0 && !state.takeMetadata(block, 1, () => `the attributes of inode ${ino}`)) return 1;
  state.attributes.set(block, users + 1);
  return 1;
}

async function checkAttributeBlocks(state: Ext4State): Promise<void> {
  for (const [number, users] of state.attributes) {
    const block = await state.block(number);
    try {
      decodeXattrs(Buffer.alloc(0), block);
      if (!hashesMatch(block, XATTR_HEADER, 0))
        state.problems.add(`the block of attributes ${number} has one that is not what was stored`);
      const references = block.readUInt32LE(4);
      if (references !== users)
        state.problems.add(`the block of attributes ${number} counts ${references} inodes, and ${users} have it`);
      if (block.readUInt32LE(8) !== 1) state.problems.add(`the block of attributes ${number} says that it is several`);
    } catch (error) {
      state.problems.add(`the block of attributes ${number}: ${messageOf(error)}`);
    }
  }
}

const isZero = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0);
