/** The index of a large directory ("ext4 Data Structures and Algorithms", "Hash Tree Directories"). */
import { invalid } from '../../common/errors.js';
import * as c from '../ext4/constants.js';
import type { Ext4State } from './ext4-state.js';

/** Hashes of the names that may be in a block. */
export interface LeafRange {
  from: number;
  to: number;
}

const HALF_MD4 = 1;
const MOST_LEVELS = 2;

/** @returns by the directory's block, the hashes of the names in it; blocks of the index are not in it. @throws invalid */
export async function checkIndex(state: Ext4State, ino: number, blocks: number[]): Promise<Map<number, LeafRange>> {
  const ranges = new Map<number, LeafRange>();
  const seen = new Set<number>([0]);
  const root = await state.block(blocks[0] as number);
  if (root.readUInt32LE(24) !== 0 || root[28] !== HALF_MD4 || root[29] !== 8 || (root[30] as number) > MOST_LEVELS)
    throw invalid('its index makes no sense');
  await visit(root, 32, root[30] as number, { from: 0, to: 0xffffffff });
  if (seen.size !== blocks.length) state.problems.add(`directory ${ino} has blocks that its index does not know`);
  return ranges;

  async function visit(view: Buffer, at: number, levels: number, range: LeafRange): Promise<void> {
    const node = Buffer.from(view);
    const [limit, count] = [node.readUInt16LE(at), node.readUInt16LE(at + 2)];
    const room = Math.floor((c.BLOCK - at) / 8);
    if (limit > room || limit < room - 1 || count === 0 || count > limit)
      throw invalid('a node of its index makes no sense');
    let last = range.from;
    for (let i = 0; i < count; i++) {
      // Bit 0 says that the hash before goes on in this block.
      const from = i === 0 ? range.from : node.readUInt32LE(at + i * 8) & ~1;
      const to = i + 1 < count ? node.readUInt32LE(at + (i + 1) * 8) : range.to;
      const index = node.readUInt32LE(at + i * 8 + 4);
      if (from >>> 0 < last) throw invalid('a node of its index is out of order');
      last = from >>> 0;
      if (index >= blocks.length || seen.has(index)) throw invalid('its index points astray');
      seen.add(index);
      if (levels === 0) ranges.set(index, { from: from >>> 0, to });
      else {
        const below = await state.block(blocks[index] as number);
        if (below.readUInt32LE(0) !== 0 || below.readUInt16LE(4) !== c.BLOCK)
          throw invalid('a node of its index has names');
        await visit(below, 8, levels - 1, { from: from >>> 0, to });
      }
    }
  }
}
