/** Layers' blobs that were kept as they were pulled (`--keep-blobs`): with them an image keeps its digest wherever it is pushed. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { internal, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { Measured } from '../../../src/common/measured.js';
import type { ImageWork } from '../work.js';
import type { LocalBlob } from './blob-upload.js';

const log = logger('image');

export interface KeptBlobs {
  /** Undefined: none was kept with this layer. */
  digestOf(chainId: string): string | undefined;
  /** The blob in a local file, verified; the caller removes it. Null if it cannot be read. @throws cancelled */
  read(chainId: string, signal: AbortSignal): Promise<LocalBlob | null>;
}

export function keptBlobs({ layers, spoolDir, room }: Pick<ImageWork, 'layers' | 'spoolDir' | 'room'>): KeptBlobs {
  return {
    digestOf: (chainId) => layers.get(chainId)?.blob?.digest,
    async read(chainId, signal) {
      const { digest = '', size = 0 } = layers.get(chainId)?.blob ?? {};
      const path = join(spoolDir, `push-${randomBytes(8).toString('hex')}.blob`);
      try {
        await room?.check(size);
        const measured = new Measured();
        await pipeline(await layers.blob(chainId, signal), measured, createWriteStream(path, { mode: 0o600 }), {
          signal,
        });
        const found = measured.digest();
        if (found !== digest) throw internal(`its digest is ${found}`);
        return { path, digest, size };
      } catch (error) {
        await rm(path, { force: true });
        if (signal.aborted) throw error;
        log.warn({ layer: chainId, digest, reason: messageOf(error) }, 'a blob that was kept cannot be used');
        return null;
      }
    },
  };
}
