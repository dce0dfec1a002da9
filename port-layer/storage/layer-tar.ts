/** A stored layer's tar, made again and compared with its digest. */
import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { Ext4Filesystem, type RecipeSource, tarFromRecipe, type VmdkChain } from '../../src/disk/index.js';
import { PortLayerError } from '../errors.js';
import type { LayerInfo } from './types.js';

/** Large enough that a reader which hashes or compresses is not woken for every header. */
const PIECE = 256 * 1024;

/**
 * The tar of `layer`, in pieces of some 256 KiB. The last one comes only if all of it has the layer's digest.
 * @param chain closed at the end, after which `release` is called
 */
export function checkedTar(layer: LayerInfo, source: RecipeSource, chain: VmdkChain, release: () => void): Readable {
  const { chainId, diffId } = layer;
  async function* pieces(): AsyncGenerator<Buffer> {
    const hash = createHash('sha256');
    let last: Buffer | null = null;
    for await (const piece of gathered(tarFromRecipe(source, await Ext4Filesystem.open(chain), layer.recipe?.tar))) {
      hash.update(piece);
      if (last !== null) yield last;
      last = piece;
    }
    const digest = `sha256:${hash.digest('hex')}`;
    if (digest !== diffId) throw new PortLayerError('layer.damaged', { layer: chainId, digest, diffId });
    if (last !== null) yield last;
  }
  const tar = Readable.from(pieces(), { objectMode: false, highWaterMark: 2 * PIECE });
  // A generator that nobody has begun to read has no `finally`.
  tar.once('close', () => {
    void chain.close();
    release();
  });
  return tar;
}

/** Puts small pieces together. */
async function* gathered(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let buffer = Buffer.allocUnsafe(PIECE);
  let used = 0;
  for await (const part of source) {
    for (let done = 0; done < part.length; ) {
      const copied = part.copy(buffer, used, done);
      used += copied;
      done += copied;
      if (used < PIECE) continue;
      yield buffer;
      buffer = Buffer.allocUnsafe(PIECE);
      used = 0;
    }
  }
  if (used > 0) yield buffer.subarray(0, used);
}
