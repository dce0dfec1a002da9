/** Keeps a tar in a file, because a layer's digest must be known before the layer is written. */
import { createHash } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { type Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Grow, withoutRoom } from '../../port-layer/index.js';
import { withRoomyHeap } from '../../src/common/roomy-heap.js';

/** Passes bytes on, hashes and counts them. @param grow asked before more is passed on */
export class Measured extends Transform {
  readonly #hash = createHash('sha256');
  /** Bytes so far. */
  size = 0;

  constructor(grow: Grow | undefined) {
    super({
      transform: (chunk: Buffer, _encoding, done) => {
        this.#hash.update(chunk);
        this.size += chunk.length;
        if (grow === undefined) done(null, chunk);
        else
          grow(chunk.length).then(
            () => done(null, chunk),
            (error: Error) => done(error),
          );
      },
    });
  }

  /** To be called once, at the end. */
  digest(): string {
    return `sha256:${this.#hash.digest('hex')}`;
  }
}

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
  const measured = new Measured(grow);
  const file = createWriteStream(path, { mode: 0o600, highWaterMark: 1 << 20 });
  await withRoomyHeap(() => pipeline(tar, measured, file, { signal })).catch((error: unknown) => {
    throw withoutRoom(error);
  });
  return { diffId: measured.digest(), size: measured.size };
}
