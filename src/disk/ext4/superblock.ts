/** The superblock ("ext4 Data Structures and Algorithms", "Super Block"): decoding, with every field checked. */
import { invalid, unsupported } from '../../common/errors.js';
import * as c from './constants.js';

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
  incompat: number;
  uuid: Buffer;
  label: string;
  hashSeed: Buffer;
  journalIno: number;
}

const READABLE =
  c.INCOMPAT_FILETYPE |
  c.INCOMPAT_RECOVER |
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
    incompat,
    uuid: raw.subarray(104, 120),
    label: raw.toString('utf8', 120, end < 0 || end > 136 ? 136 : end),
    hashSeed: raw.subarray(236, 252),
    journalIno: raw.readUInt32LE(92) & c.COMPAT_HAS_JOURNAL ? raw.readUInt32LE(224) : 0,
  };
}
