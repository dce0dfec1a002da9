/** A block group's descriptor: struct ext4_group_desc without the 64bit feature (Documentation/filesystems/ext4/group_descr.rst). */

export interface GroupDescriptor {
  blockBitmap: number;
  inodeBitmap: number;
  inodeTable: number;
  freeBlocks: number;
  freeInodes: number;
  directories: number;
  flags: number;
  /** Inodes at the end of the table that were never used. */
  unusedInodes: number;
}

/** What a descriptor says, unchecked. */
export function decodeGroupDescriptor(d: Buffer): GroupDescriptor {
  return {
    blockBitmap: d.readUInt32LE(0),
    inodeBitmap: d.readUInt32LE(4),
    inodeTable: d.readUInt32LE(8),
    freeBlocks: d.readUInt16LE(12),
    freeInodes: d.readUInt16LE(14),
    directories: d.readUInt16LE(16),
    flags: d.readUInt16LE(18),
    unusedInodes: d.readUInt16LE(28),
  };
}
