/**
 * Extended attributes ("ext4 Data Structures and Algorithms", "Extended Attributes"), first in the inode behind its fields, then in a block
 * of their own. POSIX ACLs are stored in a shorter form than `getxattr` shows (`fs/ext4/acl.h`).
 */
import { invalid, unsupported } from '../../common/errors.js';
import { BLOCK } from './constants.js';

const MAGIC = 0xea020000;
/** Bytes before the first attribute in a block. */
export const XATTR_HEADER = 32;
const ACL_ACCESS = 2;
const ACL_DEFAULT = 3;

const PREFIXES: [number, string][] = [
  [1, 'user.'],
  [4, 'trusted.'],
  [6, 'security.'],
];
const ACL_NAMES: [number, string][] = [
  [ACL_ACCESS, 'system.posix_acl_access'],
  [ACL_DEFAULT, 'system.posix_acl_default'],
];

/** Attributes by full name. */
export type Xattrs = Map<string, Buffer>;

/** True for names ext4 can store. */
export function isStorableXattr(name: string): boolean {
  const prefix = PREFIXES.find(([, start]) => name.startsWith(start) && name.length > start.length);
  return prefix !== undefined || ACL_NAMES.some(([, full]) => full === name);
}

interface Entry {
  index: number;
  suffix: string;
  value: Buffer;
}

const round4 = (value: number): number => (value + 3) & ~3;
const entrySize = (entry: Entry): number => 16 + round4(entry.suffix.length);

function toEntry(name: string, value: Buffer): Entry {
  const acl = ACL_NAMES.find(([, full]) => full === name);
  if (acl) return { index: acl[0], suffix: '', value: packAcl(value) };
  const prefix = PREFIXES.find(([, start]) => name.startsWith(start));
  const suffix = prefix ? name.slice(prefix[1].length) : '';
  if (!prefix || suffix === '' || suffix.length > 255)
    throw unsupported(`the extended attribute ${name} cannot be stored`);
  return { index: prefix[0], suffix, value };
}

function toName(index: number, suffix: string): string | null {
  const acl = ACL_NAMES.find(([number]) => number === index);
  if (acl) return acl[1];
  const prefix = PREFIXES.find(([number]) => number === index);
  return prefix ? prefix[1] + suffix : null;
}

// ACL tags. The entries of the owner, the group, the mask and others carry no id on disk.
const TAG_USER_OBJ = 0x1;
const TAG_USER = 0x2;
const TAG_GROUP_OBJ = 0x4;
const TAG_GROUP = 0x8;
const TAG_MASK = 0x10;
const TAG_OTHER = 0x20;
const NO_ID = 0xffffffff;

/** An ACL entry as `getxattr` shows it (`include/uapi/linux/posix_acl_xattr.h`). */
interface AclEntry {
  tag: number;
  perm: number;
  id: number;
}

function parseAcl(value: Buffer): AclEntry[] {
  if (value.length < 4 || (value.length - 4) % 8 !== 0 || value.readUInt32LE(0) !== 2) throw invalid('a malformed ACL');
  const entries: AclEntry[] = [];
  for (let at = 4; at < value.length; at += 8) {
    entries.push({ tag: value.readUInt16LE(at), perm: value.readUInt16LE(at + 2) & 7, id: value.readUInt32LE(at + 4) });
  }
  return entries;
}

const hasId = (tag: number): boolean => tag === TAG_USER || tag === TAG_GROUP;

function packAcl(value: Buffer): Buffer {
  const entries = parseAcl(value);
  const out = Buffer.alloc(4 + entries.reduce((sum, { tag }) => sum + (hasId(tag) ? 8 : 4), 0));
  out.writeUInt32LE(1, 0);
  let at = 4;
  for (const { tag, perm, id } of entries) {
    out.writeUInt16LE(tag, at);
    out.writeUInt16LE(perm, at + 2);
    if (hasId(tag)) out.writeUInt32LE(id, at + 4);
    at += hasId(tag) ? 8 : 4;
  }
  return out;
}

function unpackAcl(value: Buffer): Buffer {
  const parts: Buffer[] = [Buffer.from([2, 0, 0, 0])];
  for (let at = 4; at + 4 <= value.length; ) {
    const entry = Buffer.alloc(8);
    const tag = value.readUInt16LE(at);
    if (hasId(tag) && at + 8 > value.length) throw invalid('damaged ext4: an ACL is cut off');
    entry.writeUInt16LE(tag, 0);
    entry.writeUInt16LE(value.readUInt16LE(at + 2), 2);
    entry.writeUInt32LE(hasId(tag) ? value.readUInt32LE(at + 4) : NO_ID, 4);
    parts.push(entry);
    at += hasId(tag) ? 8 : 4;
  }
  return Buffer.concat(parts);
}

/**
 * The access ACL `value` after a `chmod` to `mode`, since the kernel keeps the two in step; null if it says no more than the mode.
 */
export function aclForMode(value: Buffer, mode: number): Buffer | null {
  const entries = parseAcl(value);
  const hasMask = entries.some(({ tag }) => tag === TAG_MASK);
  if (!hasMask && !entries.some(({ tag }) => hasId(tag))) return null;
  const out = Buffer.from(value);
  entries.forEach(({ tag }, i) => {
    const at = 4 + i * 8 + 2;
    if (tag === TAG_USER_OBJ) out.writeUInt16LE((mode >> 6) & 7, at);
    else if (tag === (hasMask ? TAG_MASK : TAG_GROUP_OBJ)) out.writeUInt16LE((mode >> 3) & 7, at);
    else if (tag === TAG_OTHER) out.writeUInt16LE(mode & 7, at);
  });
  return out;
}

function entryHash({ suffix, value }: Entry): number {
  let hash = 0;
  for (let i = 0; i < suffix.length; i++) hash = (hash << 5) ^ (hash >>> 27) ^ suffix.charCodeAt(i);
  const padded = Buffer.alloc(round4(value.length));
  value.copy(padded);
  for (let at = 0; at < padded.length; at += 4) hash = (hash << 16) ^ (hash >>> 16) ^ padded.readUInt32LE(at);
  return hash >>> 0;
}

/** Writes entries from `first` on and values from the end of `area` backwards; offsets count from `base`. */
function place(area: Buffer, first: number, base: number, entries: Entry[]): number[] {
  let at = first;
  let end = area.length;
  return entries.map((entry) => {
    end -= round4(entry.value.length);
    const hash = entryHash(entry);
    area[at] = entry.suffix.length;
    area[at + 1] = entry.index;
    area.writeUInt16LE(entry.value.length === 0 ? 0 : end - base, at + 2);
    area.writeUInt32LE(0, at + 4);
    area.writeUInt32LE(entry.value.length, at + 8);
    area.writeUInt32LE(hash, at + 12);
    area.write(entry.suffix, at + 16, 'latin1');
    entry.value.copy(area, end);
    at += entrySize(entry);
    return hash;
  });
}

/**
 * Stores `xattrs` in the inode's spare bytes `inline` (overwriting them) and, if they do not fit, in a block. Returns that block or null.
 * Throws `unsupported` if both are too small.
 */
export function encodeXattrs(xattrs: Xattrs, inline: Buffer): Buffer | null {
  inline.fill(0);
  if (xattrs.size === 0) return null;
  const entries = [...xattrs].map(([name, value]) => toEntry(name, value));
  // The order that the kernel keeps in blocks. `security.` goes into the inode first, where it costs no extra read on exec.
  const order = (a: Entry, b: Entry) =>
    a.index - b.index || a.suffix.length - b.suffix.length || (a.suffix < b.suffix ? -1 : 1);
  let room = inline.length - 8;
  const inside = new Set<Entry>();
  for (const entry of [...entries].sort((a, b) => b.index - a.index || order(a, b))) {
    const size = entrySize(entry) + round4(entry.value.length);
    if (size <= room) {
      inside.add(entry);
      room -= size;
    }
  }
  if (inside.size > 0) {
    inline.writeUInt32LE(MAGIC, 0);
    place(inline, 4, 4, [...inside].sort(order));
  }
  const outside = entries.filter((entry) => !inside.has(entry)).sort(order);
  if (outside.length === 0) return null;
  const needed = outside.reduce((sum, entry) => sum + entrySize(entry) + round4(entry.value.length), XATTR_HEADER + 4);
  if (needed > BLOCK) throw unsupported('extended attributes of more than 4 KiB on one file are not supported');
  const block = Buffer.alloc(BLOCK);
  const hashes = place(block, XATTR_HEADER, 0, outside);
  block.writeUInt32LE(MAGIC, 0);
  block.writeUInt32LE(1, 4); // references
  block.writeUInt32LE(1, 8); // blocks
  const hash = hashes.includes(0) ? 0 : hashes.reduce((sum, one) => (sum << 16) ^ (sum >>> 16) ^ one, 0);
  block.writeUInt32LE(hash >>> 0, 12);
  return block;
}

function decodeArea(area: Buffer, first: number, base: number, into: Xattrs): void {
  for (let at = first; at + 4 <= area.length && area.readUInt32LE(at) !== 0; ) {
    if (at + 16 > area.length) throw invalid('damaged ext4: an extended attribute is cut off');
    const nameLength = area[at] as number;
    const start = base + area.readUInt16LE(at + 2);
    const size = area.readUInt32LE(at + 8);
    if (at + 16 + nameLength > area.length || (size > 0 && start + size > area.length)) {
      throw invalid('damaged ext4: an extended attribute lies outside its block');
    }
    if (area.readUInt32LE(at + 4) !== 0) throw unsupported('extended attributes in inodes of their own');
    const index = area[at + 1] as number;
    const name = toName(index, area.toString('latin1', at + 16, at + 16 + nameLength));
    if (name !== null) {
      const value = Buffer.from(area.subarray(start, start + size));
      into.set(name, index === ACL_ACCESS || index === ACL_DEFAULT ? unpackAcl(value) : value);
    }
    at += 16 + round4(nameLength);
  }
}

/**
 * Whether attributes that {@link decodeXattrs} can read are what was stored: each has a hash of its name and value. Older inodes have none.
 * @param first offset of the first attribute @param base what offsets of values count from
 */
export function hashesMatch(area: Buffer, first: number, base: number): boolean {
  for (let at = first; at + 16 <= area.length && area.readUInt32LE(at) !== 0; ) {
    const nameLength = area[at] as number;
    const start = base + area.readUInt16LE(at + 2);
    const suffix = area.toString('latin1', at + 16, at + 16 + nameLength);
    const value = area.subarray(start, start + area.readUInt32LE(at + 8));
    const hash = area.readUInt32LE(at + 12);
    const old = base !== 0 && hash === 0;
    if (!old && hash !== entryHash({ index: 0, suffix, value })) return false;
    at += 16 + round4(nameLength);
  }
  return true;
}

/** Reads the attributes in an inode's spare bytes and in its block (null: none). */
export function decodeXattrs(inline: Buffer, block: Buffer | null): Xattrs {
  const xattrs: Xattrs = new Map();
  if (inline.length >= 8 && inline.readUInt32LE(0) === MAGIC) decodeArea(inline, 4, 4, xattrs);
  if (block) {
    if (block.readUInt32LE(0) !== MAGIC) throw invalid('damaged ext4: a block of extended attributes has no magic');
    decodeArea(block, XATTR_HEADER, 0, xattrs);
  }
  return xattrs;
}
