/** Numbers of the ext4 on-disk format, named as in the kernel's "ext4 Data Structures and Algorithms". */

export const BLOCK = 4096;
export const BLOCKS_PER_GRAIN = 16;
export const SUPER_MAGIC = 0xef53;
export const SUPER_OFFSET = 1024;
export const SUPER_SIZE = 1024;
export const BLOCKS_PER_GROUP = 32768;
export const INODE_SIZE = 256;
/** Bytes of an inode beyond the original 128 that hold fields (times in nanoseconds, …). */
export const EXTRA_ISIZE = 32;
export const ROOT_INO = 2;
export const JOURNAL_INO = 8;
export const FIRST_INO = 11;
export const MAX_NAME = 255;
export const MAX_LINKS = 65000;

export const COMPAT_HAS_JOURNAL = 0x4;
export const COMPAT_EXT_ATTR = 0x8;
export const COMPAT_DIR_INDEX = 0x20;

export const INCOMPAT_FILETYPE = 0x2;
export const INCOMPAT_RECOVER = 0x4;
export const INCOMPAT_META_BG = 0x10;
export const INCOMPAT_EXTENTS = 0x40;
export const INCOMPAT_64BIT = 0x80;
export const INCOMPAT_FLEX_BG = 0x200;
export const INCOMPAT_CSUM_SEED = 0x2000;
export const INCOMPAT_LARGEDIR = 0x4000;

export const RO_COMPAT_SPARSE_SUPER = 0x1;
export const RO_COMPAT_LARGE_FILE = 0x2;
export const RO_COMPAT_HUGE_FILE = 0x8;
export const RO_COMPAT_GDT_CSUM = 0x10;
export const RO_COMPAT_DIR_NLINK = 0x20;
export const RO_COMPAT_EXTRA_ISIZE = 0x40;

export const BG_INODE_UNINIT = 0x1;
export const BG_BLOCK_UNINIT = 0x2;
export const BG_INODE_ZEROED = 0x4;

export const FL_INDEX = 0x1000;
export const FL_HUGE_FILE = 0x40000;
export const FL_EXTENTS = 0x80000;
export const FL_INLINE_DATA = 0x10000000;

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFLNK = 0o120000;
export const S_IFREG = 0o100000;
export const S_IFBLK = 0o060000;
export const S_IFDIR = 0o040000;
export const S_IFCHR = 0o020000;
export const S_IFIFO = 0o010000;

/** `file_type` of a directory entry. */
export const FT_REG = 1;
export const FT_DIR = 2;
export const FT_CHR = 3;
export const FT_BLK = 4;
export const FT_FIFO = 5;
export const FT_SOCK = 6;
export const FT_SYMLINK = 7;

const FILE_TYPES: Record<number, number> = {
  [S_IFREG]: FT_REG,
  [S_IFDIR]: FT_DIR,
  [S_IFCHR]: FT_CHR,
  [S_IFBLK]: FT_BLK,
  [S_IFIFO]: FT_FIFO,
  [S_IFSOCK]: FT_SOCK,
  [S_IFLNK]: FT_SYMLINK,
};

/** The `file_type` for an inode's mode; 0 for an impossible one. */
export function fileTypeOf(mode: number): number {
  return FILE_TYPES[mode & S_IFMT] ?? 0;
}
