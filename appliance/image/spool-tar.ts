/** Keeps a tar in a file, because a layer's digest must be known before the layer is written. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Grow, withoutRoom } from '../../port-layer/index.js';

/**
 * Writes `tar` to the file at `path`, which the caller removes.
 * @returns its digest and its length in bytes
 * @throws insufficientResources, cancelled; whatever the stream fails with
 */
export async function spoolTar(
  tar: Readable,
  path: string,
  grow: Grow | undefined,
  signal: AbortSignal | undefined,
): Promise<{ diffId: string; size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  const hashed = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      hash.update(chunk);
      size += chunk.length;
      if (grow === undefined) done(null, chunk);
      else
        grow(chunk.length).then(
          () => done(null, chunk),
          (error: Error) => done(error),
        );
    },
  });
  const file = createWriteStream(path, { mode: 0o600, highWaterMark: 1 << 20 });
  await pipeline(tar, hashed, file, { signal }).catch((error: unknown) => {
    throw withoutRoom(error);
  });
  return { diffId: `sha256:${hash.digest('hex')}`, size };
}
