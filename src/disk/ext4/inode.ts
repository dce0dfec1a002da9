/** An inode's 256 bytes ("ext4 Data Structures and Algorithms", "Index Nodes"). */
import { EXTRA_ISIZE, FL_HUGE_FILE, INODE_SIZE, S_IFBLK, S_IFCHR, S_IFDIR, S_IFMT } from './constants.js';

/** A point in time: whole seconds since 1970 (may be negative) and nanoseconds (0 … 999 999 999). */
export interface Time {
  sec: number;
  nsec: number;
}

const MIN_SEC = -(2 ** 31);
const MAX_SEC = 2 ** 34 - 2 ** 31 - 1;

/** Fields of one inode over its raw bytes; unknown fields are kept as they are. */
export class Inode {
  constructor(readonly raw: Buffer) {}

  /** A blank inode of the given mode (with file type). */
  static blank(mode: number): Inode {
    const inode = new Inode(Buffer.alloc(INODE_SIZE));
    inode.mode = mode;
    inode.raw.writeUInt16LE(EXTRA_ISIZE, 128);
    return inode;
  }

  get mode(): number {
    return this.raw.readUInt16LE(0);
  }
  set mode(value: number) {
    this.raw.writeUInt16LE(value, 0);
  }
  get isDirectory(): boolean {
    return (this.mode & S_IFMT) === S_IFDIR;
  }
  get uid(): number {
    return this.raw.readUInt16LE(2) + this.raw.readUInt16LE(120) * 65536;
  }
  set uid(value: number) {
    this.raw.writeUInt16LE(value % 65536, 2);
    this.raw.writeUInt16LE(Math.floor(value / 65536), 120);
  }
  get gid(): number {
    return this.raw.readUInt16LE(24) + this.raw.readUInt16LE(122) * 65536;
  }
  set gid(value: number) {
    this.raw.writeUInt16LE(value % 65536, 24);
    this.raw.writeUInt16LE(Math.floor(value / 65536), 122);
  }
  get size(): number {
    return this.raw.readUInt32LE(4) + this.raw.readUInt32LE(108) * 2 ** 32;
  }
  set size(value: number) {
    this.raw.writeUInt32LE(value % 2 ** 32, 4);
    this.raw.writeUInt32LE(Math.floor(value / 2 ** 32), 108);
  }
  get links(): number {
    return this.raw.readUInt16LE(26);
  }
  set links(value: number) {
    this.raw.writeUInt16LE(value, 26);
  }
  get flags(): number {
    return this.raw.readUInt32LE(32);
  }
  set flags(value: number) {
    this.raw.writeUInt32LE(value >>> 0, 32);
  }
  /** Blocks of 4 KiB in use, including those of the extent tree and of extended attributes. */
  get blocks(): number {
    const units = this.raw.readUInt32LE(28) + this.raw.readUInt16LE(116) * 2 ** 32;
    return this.flags & FL_HUGE_FILE ? units : units / 8;
  }
  set blocks(value: number) {
    const sectors = value * 8;
    this.raw.writeUInt32LE(sectors % 2 ** 32, 28);
    this.raw.writeUInt16LE(Math.floor(sectors / 2 ** 32), 116);
  }
  /** The 60 bytes `i_block`: the root of the extent tree, the target of a short symlink, or the device number. */
  get area(): Buffer {
    return this.raw.subarray(40, 100);
  }
  /** Block with extended attributes, 0 for none. */
  get xattrBlock(): number {
    return this.raw.readUInt32LE(104) + this.raw.readUInt16LE(118) * 2 ** 32;
  }
  set xattrBlock(value: number) {
    this.raw.writeUInt32LE(value % 2 ** 32, 104);
    this.raw.writeUInt16LE(Math.floor(value / 2 ** 32), 118);
  }
  private get extraSize(): number {
    return this.raw.length > 128 ? Math.min(this.raw.readUInt16LE(128), this.raw.length - 128) : 0;
  }
  /** The bytes behind the fields, for extended attributes inside the inode. */
  get inlineXattrs(): Buffer {
    const extra = this.extraSize;
    return extra === 0 ? Buffer.alloc(0) : this.raw.subarray(128 + extra);
  }

  private time(at: number, extraAt: number): Time {
    const sec = this.raw.readInt32LE(at);
    if (128 + this.extraSize < extraAt + 4) return { sec, nsec: 0 };
    const extra = this.raw.readUInt32LE(extraAt);
    return { sec: sec + (extra & 3) * 2 ** 32, nsec: extra >>> 2 };
  }
  private setTime(at: number, extraAt: number, { sec, nsec }: Time): void {
    const clamped = Math.min(Math.max(sec, MIN_SEC), MAX_SEC);
    const low = clamped | 0;
    this.raw.writeInt32LE(low, at);
    this.raw.writeUInt32LE(((nsec << 2) | ((clamped - low) / 2 ** 32)) >>> 0, extraAt);
  }
  get atime(): Time {
    return this.time(8, 140);
  }
  get ctime(): Time {
    return this.time(12, 132);
  }
  get mtime(): Time {
    return this.time(16, 136);
  }
  /** Sets modification, change and creation time to `mtime` (no clock is read), and the access time to `atime`. */
  setTimes(mtime: Time, atime: Time): void {
    this.setTime(8, 140, atime);
    this.setTime(12, 132, mtime);
    this.setTime(16, 136, mtime);
    this.setTime(144, 148, mtime);
  }

  /** Device number of a device node. */
  get device(): { major: number; minor: number } {
    const kind = this.mode & S_IFMT;
    if (kind !== S_IFCHR && kind !== S_IFBLK) return { major: 0, minor: 0 };
    const old = this.raw.readUInt32LE(40);
    if (old !== 0) return { major: (old >>> 8) & 0xff, minor: old & 0xff };
    const value = this.raw.readUInt32LE(44);
    return { major: (value >>> 8) & 0xfff, minor: (value & 0xff) | ((value >>> 12) & 0xfff00) };
  }
  /** `major` below 4096, `minor` below 2^20. */
  setDevice(major: number, minor: number): void {
    this.area.fill(0);
    if (major < 256 && minor < 256) this.raw.writeUInt32LE((major << 8) | minor, 40);
    else this.raw.writeUInt32LE(((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0, 44);
  }
}
