/** Reads an inode's extent tree, more strictly than readers of files do: every field of it. */
import { invalid } from '../../common/errors.js';
import type { Extent } from '../ext4/extents.js';
import type { Ext4State } from './ext4-state.js';

const MAGIC = 0xf30a;
const MAX_DEPTH = 5;
const MAX_COUNT = 32_768;

/** What an inode's map has. */
export class ExtentTree {
  /** Blocks in use: content and nodes. */
  blocks = 0;
  /** The file's block behind the last extent, and behind the last that has content. */
  end = 0;
  writtenEnd = 0;
  /** Something is missing between two extents. */
  holes = false;
  readonly extents: Extent[] = [];

  /** Disk block of the beginning. */
  get first(): number {
    return this.extents[0]?.start ?? 0;
  }

  /** All blocks of content, in the file's order. */
  list(): number[] {
    return this.extents.flatMap(({ start, count }) => Array.from({ length: count }, (_, i) => start + i));
  }
}

/**
 * Takes the blocks that it names. Only directories' and links' blocks are kept by number.
 * @throws invalid for a tree that cannot be followed
 */
export async function readTree(state: Ext4State, ino: number, root: Buffer): Promise<ExtentTree> {
  const tree = new ExtentTree();
  await visit(state, ino, { node: root, depth: null, first: 0, end: 2 ** 32 }, tree);
  return tree;
}

interface Node {
  node: Buffer;
  /** That the node above gives it. */
  depth: number | null;
  /** The file's blocks that it is for. */
  first: number;
  end: number;
}

async function visit(
  state: Ext4State,
  ino: number,
  { node, depth, first, end }: Node,
  tree: ExtentTree,
): Promise<void> {
  const [entries, most, level] = [node.readUInt16LE(2), node.readUInt16LE(4), node.readUInt16LE(6)];
  if (node.readUInt16LE(0) !== MAGIC) throw invalid('an extent tree node has no magic');
  // The last bytes of a node may be a checksum's, so it may have room for one entry less.
  const room = Math.floor((node.length - 12) / 12);
  if (most > room || (depth === null ? most !== room : most < room - 1) || entries > most || level > MAX_DEPTH)
    throw invalid('an extent tree node makes no sense');
  if (depth !== null && level !== depth) throw invalid('an extent tree node is at another level');
  if (depth !== null && entries === 0) throw invalid('an extent tree node is empty');
  for (let i = 0; i < entries; i++) {
    const at = 12 + i * 12;
    const logical = node.readUInt32LE(at);
    if (i === 0 && depth !== null && logical !== first) throw invalid('an extent tree node begins elsewhere');
    if (logical < first || logical >= end || logical < tree.end) throw invalid('extents are out of order');
    if (level > 0) {
      const block = node.readUInt32LE(at + 4) + node.readUInt16LE(at + 8) * 2 ** 32;
      if (block === 0 || !state.takeMetadata(block, 1, () => `inode ${ino}`))
        throw invalid('an extent tree points astray');
      tree.blocks++;
      const next = i + 1 < entries ? node.readUInt32LE(at + 12) : end;
      const below = { node: Buffer.from(await state.block(block)), depth: level - 1, first: logical, end: next };
      await visit(state, ino, below, tree);
    } else leaf(state, ino, node, at, end, tree);
  }
}

function leaf(state: Ext4State, ino: number, node: Buffer, at: number, end: number, tree: ExtentTree): void {
  const logical = node.readUInt32LE(at);
  const length = node.readUInt16LE(at + 4);
  const unwritten = length > MAX_COUNT;
  const count = unwritten ? length - MAX_COUNT : length;
  const start = node.readUInt32LE(at + 8) + node.readUInt16LE(at + 6) * 2 ** 32;
  if (count === 0 || start === 0 || start + count > state.sb.blocks || logical + count > end)
    throw invalid('an extent makes no sense');
  state.take(start, count, () => `inode ${ino}`);
  tree.blocks += count;
  if (logical !== tree.end) tree.holes = true;
  tree.end = logical + count;
  if (!unwritten) tree.writtenEnd = tree.end;
  tree.extents.push({ logical, start, count });
}
