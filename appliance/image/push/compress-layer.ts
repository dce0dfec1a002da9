/** A layer's tar in a local file, compressed: only then its digest is known. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { withoutRoom } from '../../../port-layer/index.js';
import { shortId } from '../../../src/common/ids.js';
import { Measured } from '../../../src/common/measured.js';
import { GZIP_LAYER, ZSTD_LAYER } from '../media-types.js';
import { throughProgram } from '../unpack-program.js';
import type { ImageWork } from '../work.js';
import type { LocalBlob } from './blob-upload.js';
import { gzipBlocks } from './gzip-blocks.js';

export type PushCompression = 'gzip' | 'zstd';

/** Single-threaded, so that the same tar always gives the same bytes. */
const ZSTD = ['-c', '-q', '-3'];

/** @param name for the file's name @returns the file, which the caller removes @throws insufficientResources, cancelled; Error if zstd is missing */
export async function compressTar(
  { spoolDir, room }: Pick<ImageWork, 'spoolDir' | 'room'>,
  tar: Readable,
  name: string,
  compression: PushCompression,
  signal: AbortSignal,
): Promise<LocalBlob & { mediaType: string }> {
  const path = join(spoolDir, `push-${shortId(name)}-${randomBytes(6).toString('hex')}.${compression}`);
  const measured = new Measured(room?.growing(false));
  const file = createWriteStream(path, { mode: 0o600, highWaterMark: 1 << 20 });
  try {
    const compressed = compression === 'gzip' ? gzipBlocks(tar) : throughProgram(tar, 'zstd', ZSTD);
    await pipeline(compressed, measured, file, { signal });
  } catch (error) {
    tar.destroy();
    await rm(path, { force: true });
    throw withoutRoom(error);
  }
  const mediaType = compression === 'gzip' ? GZIP_LAYER : ZSTD_LAYER;
  return { path, digest: measured.digest(), size: measured.size, mediaType };
}
