/** The superblock ("ext4 Data Structures and Algorithms", "Super Block"): decoding, with every field checked. */
import { invalid, unsupported } from '../../common/errors.js';
import * as c from './constants.js';
import { hasSuperblock } from './format.js';

/** The fields of a superblock that we use. `raw` is the block's 1024 bytes. */
export interface Superblock {
  raw: Buffer;
  blocks: number;
  inodes: number;
  groups: number;
  blocksPerGroup: number;
  inodesPerGroup: number;
  inodeSize: number;
  /** Bytes of a block group descriptor. */
  descriptorSize: number;
  /**
   * From this block of descriptors on, each is in the first of the groups that it describes (meta_bg: a filesystem that a kernel has made
   * larger); those before it follow the superblock.
   */
  firstMetaBlock: number;
  incompat: number;
  uuid: Buffer;
  label: string;
  hashSeed: Buffer;
  journalIno: number;
}

const READABLE =
  c.INCOMPAT_FILETYPE |
  c.INCOMPAT_RECOVER |
  c.INCOMPAT_META_BG |
  c.INCOMPAT_EXTENTS |
  c.INCOMPAT_64BIT |
  c.INCOMPAT_FLEX_BG |
  c.INCOMPAT_CSUM_SEED |
  c.INCOMPAT_LARGEDIR;

/** Parses the 1024 bytes at offset 1024 of a disk of `diskSize` bytes. Throws `invalid` or `unsupported`. */
export function decodeSuperblock(raw: Buffer, diskSize: number): Superblock {
  if (raw.length !== c.SUPER_SIZE || raw.readUInt16LE(56) !== c.SUPER_MAGIC) throw invalid('not an ext4 filesystem');
  const incompat = raw.readUInt32LE(96);
  if (raw.readUInt32LE(24) !== 2) throw unsupported('ext4 with blocks other than 4 KiB is not supported');
  if (incompat & ~READABLE)
    throw unsupported(`ext4 features 0x${(incompat & ~READABLE).toString(16)} are not supported`);
  if (!(incompat & c.INCOMPAT_EXTENTS)) throw unsupported('ext2 and ext3 are not supported, only ext4 with extents');
  const wide = (incompat & c.INCOMPAT_64BIT) !== 0;
  const blocks = raw.readUInt32LE(4) + (wide ? raw.readUInt32LE(336) * 2 ** 32 : 0);
  const inodes = raw.readUInt32LE(0);
  const blocksPerGroup = raw.readUInt32LE(32);
  const inodesPerGroup = raw.readUInt32LE(40);
  const inodeSize = raw.readUInt16LE(88);
  const descriptorSize = wide ? raw.readUInt16LE(254) : 32;
  const groups = Math.ceil(blocks / c.BLOCKS_PER_GROUP);
  if (
    blocksPerGroup !== c.BLOCKS_PER_GROUP ||
    blocks === 0 ||
    blocks * c.BLOCK > diskSize ||
    raw.readUInt32LE(20) !== 0 ||
    inodesPerGroup === 0 ||
    inodesPerGroup > c.BLOCKS_PER_GROUP ||
    inodes !== groups * inodesPerGroup ||
    ![128, 256, 512, 1024].includes(inodeSize) ||
    ![32, 64].includes(descriptorSize)
  ) {
    throw invalid('damaged ext4: the superblock makes no sense');
  }
  const end = raw.indexOf(0, 120);
  return {
    raw,
    blocks,
    inodes,
    groups,
    blocksPerGroup,
    inodesPerGroup,
    inodeSize,
    descriptorSize,
    firstMetaBlock: incompat & c.INCOMPAT_META_BG ? raw.readUInt32LE(260) : Number.POSITIVE_INFINITY,
    incompat,
    uuid: raw.subarray(104, 120),
    label: raw.toString('utf8', 120, end < 0 || end > 136 ? 136 : end),
    hashSeed: raw.subarray(236, 252),
    journalIno: raw.readUInt32LE(92) & c.COMPAT_HAS_JOURNAL ? raw.readUInt32LE(224) : 0,
  };
}

/** The block with the descriptors number `index * 4096 / descriptorSize` and up. */
export function descriptorBlock(sb: Pick<Superblock, 'descriptorSize' | 'firstMetaBlock'>, index: number): number {
  if (index < sb.firstMetaBlock) return 1 + index;
  const group = index * (c.BLOCK / sb.descriptorSize);
  return group * c.BLOCKS_PER_GROUP + (hasSuperblock(group) ? 1 : 0);
}

/** How many blocks of a group are copies of the superblock and of descriptors. */
export function copiesIn(sb: Superblock, group: number): number {
  const perBlock = c.BLOCK / sb.descriptorSize;
  const all = Math.ceil(sb.groups / perBlock);
  const first = Math.min(sb.firstMetaBlock, all);
  const superblock = hasSuperblock(group) ? 1 : 0;
  if (group < first * perBlock) return superblock === 0 ? 0 : 1 + first;
  return superblock + ([0, 1, perBlock - 1].includes(group % perBlock) ? 1 : 0);
}
