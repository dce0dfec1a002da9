/** Extent trees ("ext4 Data Structures and Algorithms", "Extent Tree"): which blocks hold a file's content. */
import { invalid } from '../../common/errors.js';
import { BLOCK } from './constants.js';

/** `count` blocks of content, starting at file block `logical` and disk block `start`. */
export interface Extent {
  logical: number;
  start: number;
  count: number;
  /** Allocated but never written: reads as zeros. */
  unwritten?: boolean;
}

const MAGIC = 0xf30a;
const ROOT_ENTRIES = 4;
const NODE_ENTRIES = Math.floor((BLOCK - 12) / 12);
/** Longest written extent. */
const MAX_COUNT = 32768;
const MAX_DEPTH = 5;
/** Bounds the memory that a hostile image can claim: a file would need 4 GiB in single blocks to have this many. */
const MAX_EXTENTS = 2 ** 20;

/** Adds a run to a list of extents, merging it with the last one if they touch. */
export function appendRun(list: Extent[], logical: number, start: number, count: number): void {
  const last = list.at(-1);
  if (
    last &&
    last.logical + last.count === logical &&
    last.start + last.count === start &&
    last.count + count <= MAX_COUNT
  ) {
    last.count += count;
  } else list.push({ logical, start, count });
}

/** The extent in a sorted list that contains file block `index`. */
export function extentAt(extents: readonly Extent[], index: number): Extent | null {
  let [low, high] = [0, extents.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const { logical, count } = extents[middle] as Extent;
    if (index < logical) high = middle;
    else if (index >= logical + count) low = middle + 1;
    else return extents[middle] as Extent;
  }
  return null;
}

function writeHeader(node: Buffer, entries: number, max: number, depth: number): void {
  node.writeUInt16LE(MAGIC, 0);
  node.writeUInt16LE(entries, 2);
  node.writeUInt16LE(max, 4);
  node.writeUInt16LE(depth, 6);
  node.writeUInt32LE(0, 8);
}

function writeLeaf(node: Buffer, extents: Extent[], max: number): void {
  writeHeader(node, extents.length, max, 0);
  let at = 12;
  for (const { logical, count, start } of extents) {
    node.writeUInt32LE(logical, at);
    node.writeUInt16LE(count, at + 4);
    node.writeUInt16LE(Math.floor(start / 2 ** 32), at + 6);
    node.writeUInt32LE(start % 2 ** 32, at + 8);
    at += 12;
  }
}

/**
 * Builds the tree for `extents` (sorted, without overlap) with its root in the 60 bytes `root`. Further nodes are placed by `allocate` and
 * passed to `write`. Returns how many blocks these take.
 */
export async function buildExtentTree(
  root: Buffer,
  extents: Extent[],
  allocate: () => Promise<number>,
  write: (block: number, node: Buffer) => Promise<void>,
): Promise<number> {
  root.fill(0);
  if (extents.length <= ROOT_ENTRIES) {
    writeLeaf(root, extents, ROOT_ENTRIES);
    return 0;
  }
  let blocks = 0;
  let level: { logical: number; block: number }[] = [];
  for (let i = 0; i < extents.length; i += NODE_ENTRIES) {
    const part = extents.slice(i, i + NODE_ENTRIES);
    const node = Buffer.alloc(BLOCK);
    writeLeaf(node, part, NODE_ENTRIES);
    const block = await allocate();
    await write(block, node);
    blocks++;
    level.push({ logical: (part[0] as Extent).logical, block });
  }
  for (let depth = 1; ; depth++) {
    if (level.length <= ROOT_ENTRIES) {
      writeIndex(root, level, ROOT_ENTRIES, depth);
      return blocks;
    }
    const above: { logical: number; block: number }[] = [];
    for (let i = 0; i < level.length; i += NODE_ENTRIES) {
      const part = level.slice(i, i + NODE_ENTRIES);
      const node = Buffer.alloc(BLOCK);
      writeIndex(node, part, NODE_ENTRIES, depth);
      const block = await allocate();
      await write(block, node);
      blocks++;
      above.push({ logical: (part[0] as { logical: number }).logical, block });
    }
    level = above;
  }
}

function writeIndex(node: Buffer, entries: { logical: number; block: number }[], max: number, depth: number): void {
  writeHeader(node, entries.length, max, depth);
  let at = 12;
  for (const { logical, block } of entries) {
    node.writeUInt32LE(logical, at);
    node.writeUInt32LE(block % 2 ** 32, at + 4);
    node.writeUInt16LE(Math.floor(block / 2 ** 32), at + 8);
    at += 12;
  }
}

/**
 * Reads the tree under `root`: all extents in file order, and the blocks its nodes are in. Every entry is checked against the disk's
 * `totalBlocks`; nodes are read at most once, and no block may be in the file twice.
 */
export async function readExtentTree(
  root: Buffer,
  totalBlocks: number,
  readBlock: (block: number) => Promise<Buffer>,
): Promise<{ extents: Extent[]; nodes: number[] }> {
  const extents: Extent[] = [];
  const nodes: number[] = [];
  const seen = new Set<number>();
  let next = 0;
  const visit = async (node: Buffer, depth: number | null): Promise<void> => {
    if (node.readUInt16LE(0) !== MAGIC) throw invalid('damaged ext4: an extent tree node has no magic');
    const entries = node.readUInt16LE(2);
    const level = node.readUInt16LE(6);
    if (12 + entries * 12 > node.length || level > MAX_DEPTH || (depth !== null && level !== depth)) {
      throw invalid('damaged ext4: an extent tree node makes no sense');
    }
    for (let i = 0; i < entries; i++) {
      const at = 12 + i * 12;
      const logical = node.readUInt32LE(at);
      if (level > 0) {
        const block = node.readUInt32LE(at + 4) + node.readUInt16LE(at + 8) * 2 ** 32;
        if (block >= totalBlocks || seen.has(block)) throw invalid('damaged ext4: an extent tree points astray');
        seen.add(block);
        nodes.push(block);
        // A copy: the buffer may be a view of a cache that the reads below change.
        await visit(Buffer.from(await readBlock(block)), level - 1);
        continue;
      }
      const length = node.readUInt16LE(at + 4);
      const unwritten = length > MAX_COUNT;
      const count = unwritten ? length - MAX_COUNT : length;
      const start = node.readUInt32LE(at + 8) + node.readUInt16LE(at + 6) * 2 ** 32;
      if (count === 0 || start === 0 || start + count > totalBlocks || logical < next) {
        throw invalid('damaged ext4: an extent makes no sense');
      }
      if (extents.length === MAX_EXTENTS) throw invalid('a file with so many extents is not supported');
      next = logical + count;
      extents.push(unwritten ? { logical, start, count, unwritten } : { logical, start, count });
    }
  };
  await visit(Buffer.from(root), null);
  checkOverlap(extents, nodes);
  return { extents, nodes };
}

/** @throws invalid if a block is in the file twice, since reading such a file could take far longer than reading the whole disk */
export function checkOverlap(extents: readonly Extent[], nodes: readonly number[] = []): void {
  if (extents.length + nodes.length < 2) return;
  const starts = new Float64Array(extents.length + nodes.length);
  const ends = new Float64Array(starts.length);
  extents.forEach(({ start, count }, i) => {
    starts[i] = start;
    ends[i] = start + count;
  });
  nodes.forEach((block, i) => {
    starts[extents.length + i] = block;
    ends[extents.length + i] = block + 1;
  });
  // Runs that do not overlap end in the order in which they begin.
  starts.sort();
  ends.sort();
  for (let i = 1; i < starts.length; i++)
    if ((starts[i] as number) < (ends[i - 1] as number)) throw invalid('damaged ext4: a block is in a file twice');
}
