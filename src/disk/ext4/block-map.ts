/**
 * The older form of a file's map: direct and indirect block numbers ("ext4 Data Structures and Algorithms", "Direct/Indirect Block
 * Addressing").
 */
import { invalid, unsupported } from '../../common/errors.js';
import { BLOCK } from './constants.js';
import { appendRun, checkOverlap, type Extent } from './extents.js';

const DIRECT = 12;
const PER_BLOCK = BLOCK / 4;
/** Files mapped this way are small leftovers; larger ones are not worth the memory. */
const MAX_SIZE = 2 ** 30;

/** The extents of a file of `size` bytes whose map starts in the 60 bytes `root`, and the blocks of the map itself. */
export async function readBlockMap(
  root: Buffer,
  size: number,
  totalBlocks: number,
  readBlock: (block: number) => Promise<Buffer>,
): Promise<{ extents: Extent[]; nodes: number[] }> {
  if (size > MAX_SIZE) throw unsupported('large ext4 files without extents are not supported');
  const wanted = Math.ceil(size / BLOCK);
  const extents: Extent[] = [];
  const nodes: number[] = [];
  let logical = 0;
  const visit = async (block: number, level: number): Promise<void> => {
    if (block >= totalBlocks) throw invalid('damaged ext4: a block map points astray');
    const span = PER_BLOCK ** level;
    if (block === 0) logical += span;
    else if (level === 0) appendRun(extents, logical++, block, 1);
    else {
      nodes.push(block);
      const node = Buffer.from(await readBlock(block));
      for (let i = 0; i < PER_BLOCK && logical < wanted; i++) await visit(node.readUInt32LE(i * 4), level - 1);
    }
  };
  for (let i = 0; i < DIRECT + 3 && logical < wanted; i++) {
    await visit(root.readUInt32LE(i * 4), Math.max(0, i - DIRECT + 1));
  }
  checkOverlap(extents, nodes);
  return { extents, nodes };
}
