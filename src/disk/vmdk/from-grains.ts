/** Disks from their grains, and grains of a disk. */

import { unsupported } from '../../common/errors.js';
import { FileBlocks } from '../blocks.js';
import { VmdkChain } from './chain.js';
import { newCid } from './create.js';
import { DeltaDisk, type GrowFile } from './delta.js';
import { GRAIN_BYTES } from './header.js';
import type { DiskGrain } from './stream.js';

/**
 * Writes a disk without parent to `outPath`, which must not exist. Grains of zeros take no space.
 * @param capacity bytes, a multiple of a grain @returns the file's length; nothing is left after an error
 */
export async function writeDisk(
  outPath: string,
  capacity: number,
  grains: AsyncIterable<DiskGrain>,
  grow: GrowFile | null = null,
): Promise<number> {
  const disk = await DeltaDisk.create(outPath, null, capacity, grow);
  try {
    for await (const { index, data } of grains) await disk.write(index * GRAIN_BYTES, data);
    return await disk.finish({ cid: newCid(), parentCid: null, parentHint: null });
  } catch (error) {
    await disk.discard();
    throw error;
  }
}

/**
 * The capacity and the content of a disk in a local file, which may come from anybody.
 * @throws invalid; unsupported for a disk that stands on another one
 */
export async function diskGrains(path: string): Promise<{ capacity: number; grains: AsyncGenerator<DiskGrain> }> {
  const chain = await VmdkChain.open(path, async (file) => {
    if (file !== path) throw unsupported('it is the child of another disk');
    return FileBlocks.open(file);
  });
  return { capacity: chain.size, grains: contentOf(chain) };
}

async function* contentOf(chain: VmdkChain): AsyncGenerator<DiskGrain> {
  try {
    for (let next = await chain.nextGrain(0); next !== null; next = await chain.nextGrain(next + 1)) {
      const length = Math.min(GRAIN_BYTES, chain.size - next * GRAIN_BYTES);
      yield { index: next, data: await chain.read(next * GRAIN_BYTES, length) };
    }
  } finally {
    await chain.close();
  }
}
