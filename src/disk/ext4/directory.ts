/**
 * Directory blocks ("ext4 Data Structures and Algorithms", "Directory Entries" and "Hash Tree Directories"). Names are
 * strings with one character per byte (latin1), so that any bytes survive.
 */
import { invalid } from '../../common/errors.js';
import { BLOCK, FT_DIR, MAX_NAME } from './constants.js';
import { directoryHash } from './directory-hash.js';

/** A name, its inode and `file_type`. */
export interface Dirent {
  name: string;
  ino: number;
  type: number;
}

/** How many entries an index block has room for: in the root, and in the nodes below. */
const ROOT_LIMIT = (BLOCK - 32) / 8;
const NODE_LIMIT = Math.floor((BLOCK - 8) / 8);
/** Leaves are filled to this many bytes, so that the guest's first new file does not split one. */
const LEAF_FILL = 3584;

/** Calls `visit` for every entry in use of one block; `.` and `..` too. Index blocks have none. */
export function parseDirectoryBlock(block: Buffer, visit: (name: string, ino: number, type: number) => void): void {
  for (let at = 0; at < block.length; ) {
    if (at + 8 > block.length) throw invalid('damaged ext4: a directory entry is cut off');
    const ino = block.readUInt32LE(at);
    const length = block.readUInt16LE(at + 4);
    const nameLength = block[at + 6] as number;
    if (length < 8 || length % 4 !== 0 || at + length > block.length || nameLength + 8 > length) {
      throw invalid('damaged ext4: a directory entry makes no sense');
    }
    // A metadata checksum at the end of a block looks like an entry with inode 0.
    if (ino !== 0 && nameLength > 0) {
      visit(block.toString('latin1', at + 8, at + 8 + nameLength), ino, block[at + 7] as number);
    }
    at += length;
  }
}

/** How many bytes an entry takes. */
const direntSize = (name: string): number => (8 + name.length + 3) & ~3;

function writeDirent(block: Buffer, at: number, length: number, name: string, ino: number, type: number): void {
  block.writeUInt32LE(ino, at);
  block.writeUInt16LE(length, at + 4);
  block[at + 6] = name.length;
  block[at + 7] = type;
  block.write(name, at + 8, 'latin1');
}

/** Fills `block` from `from` on with entries; the last one's length reaches to the end. */
function packEntries(block: Buffer, from: number, entries: Dirent[]): void {
  let at = from;
  entries.forEach(({ name, ino, type }, i) => {
    const length = i === entries.length - 1 ? BLOCK - at : direntSize(name);
    writeDirent(block, at, length, name, ino, type);
    at += length;
  });
}

/** A directory's blocks, one after the other, and whether they form an index (`EXT4_INDEX_FL`). */
export interface DirectoryBlocks {
  data: Buffer;
  indexed: boolean;
}

/**
 * Lays out a directory: one plain block if everything fits, otherwise a hash tree. In the indexed form the same entries give the same
 * blocks, whatever order they came in; the plain form keeps their order.
 */
export function buildDirectory(ino: number, parent: number, entries: Iterable<Dirent>, seed: Buffer): DirectoryBlocks {
  const all = [...entries];
  const dots: Dirent[] = [
    { name: '.', ino, type: FT_DIR },
    { name: '..', ino: parent, type: FT_DIR },
  ];
  const total = all.reduce((sum, entry) => sum + direntSize(entry.name), 24);
  if (total <= BLOCK) {
    const data = Buffer.alloc(BLOCK);
    packEntries(data, 0, [...dots, ...all]);
    return { data, indexed: false };
  }
  return { data: buildIndexed(dots, all, seed), indexed: true };
}

function buildIndexed(dots: Dirent[], entries: Dirent[], seed: Buffer): Buffer {
  const hashed = entries.map((entry) => ({ entry, ...directoryHash(entry.name, seed) }));
  hashed.sort((a, b) => a.hash - b.hash || a.minor - b.minor || (a.entry.name < b.entry.name ? -1 : 1));

  // Leaves: runs of entries in hash order. A hash that continues in the next leaf is marked by bit 0 in the index.
  const leaves: { hash: number; entries: Dirent[] }[] = [];
  let used = BLOCK;
  let previous = -1;
  for (const { entry, hash } of hashed) {
    const size = direntSize(entry.name);
    if (used + size > LEAF_FILL) {
      leaves.push({ hash: hash === previous ? hash + 1 : hash, entries: [] });
      used = 0;
    }
    (leaves.at(-1) as { entries: Dirent[] }).entries.push(entry);
    used += size;
    previous = hash;
  }

  const nodes = leaves.length > ROOT_LIMIT ? Math.ceil(leaves.length / NODE_LIMIT) : 0;
  if (nodes > ROOT_LIMIT) throw invalid('a directory with so many entries is not supported');
  const data = Buffer.alloc((1 + nodes + leaves.length) * BLOCK);
  leaves.forEach((leaf, i) => {
    const start = (1 + nodes + i) * BLOCK;
    packEntries(data.subarray(start, start + BLOCK), 0, leaf.entries);
  });
  const children = leaves.map((leaf, i) => ({ hash: leaf.hash, block: 1 + nodes + i }));

  const root = data.subarray(0, BLOCK);
  const [self, parent] = dots as [Dirent, Dirent];
  writeDirent(root, 0, 12, self.name, self.ino, self.type);
  writeDirent(root, 12, BLOCK - 12, parent.name, parent.ino, parent.type);
  root[28] = 1; // half MD4; the superblock's flags tell the signedness
  root[29] = 8; // length of this information
  root[30] = nodes > 0 ? 1 : 0; // levels below the root
  if (nodes === 0) {
    writeIndex(root, 32, ROOT_LIMIT, children);
    return data;
  }
  const above: { hash: number; block: number }[] = [];
  for (let i = 0; i < nodes; i++) {
    const part = children.slice(i * NODE_LIMIT, (i + 1) * NODE_LIMIT);
    const node = data.subarray((1 + i) * BLOCK, (2 + i) * BLOCK);
    node.writeUInt16LE(BLOCK, 4); // an unused entry over the whole block
    writeIndex(node, 8, NODE_LIMIT, part);
    above.push({ hash: (part[0] as { hash: number }).hash, block: 1 + i });
  }
  writeIndex(root, 32, ROOT_LIMIT, above);
  return data;
}

/** The first entry's place holds the limit and the count; its hash counts as 0. */
function writeIndex(node: Buffer, at: number, limit: number, entries: { hash: number; block: number }[]): void {
  entries.forEach(({ hash, block }, i) => {
    if (i > 0) node.writeUInt32LE(hash, at + i * 8);
    node.writeUInt32LE(block, at + i * 8 + 4);
  });
  node.writeUInt16LE(limit, at);
  node.writeUInt16LE(entries.length, at + 2);
}

/** Throws `invalid` unless `name` can be a directory entry's. */
export function checkName(name: string): void {
  if (name === '' || name === '.' || name === '..' || name.length > MAX_NAME || /[/\0]/.test(name)) {
    throw invalid(`"${Buffer.from(name, 'latin1').toString().slice(0, 64)}" is not a valid file name`);
  }
}
