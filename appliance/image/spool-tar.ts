/** Keeps a tar in a file, because its digest must be known before it is used. */
import { createWriteStream } from 'node:fs';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type Grow, withoutRoom } from '../../port-layer/index.js';
import { Measured } from '../../src/common/measured.js';
import { withRoomyHeap } from '../../src/common/roomy-heap.js';

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
