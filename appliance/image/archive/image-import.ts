/** Makes an image of a root filesystem's archive (`docker import`). */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { sha256 } from '../../../src/common/ids.js';
import { parseConfig } from '../image-config.js';
import { DEFAULT_PLATFORM, type Platform } from '../platform.js';
import { spoolTar } from '../spool-tar.js';
import type { Image, ImportOptions } from '../types.js';
import type { ImageWork } from '../work.js';

/**
 * Stores the tar as the only layer, then the image.
 * @param tar uncompressed
 * @throws invalid (not a tar), insufficientResources, cancelled
 */
export async function importImage(
  work: ImageWork,
  tar: Readable,
  options: ImportOptions & { signal: AbortSignal },
): Promise<Image> {
  const { signal } = options;
  const path = join(work.spoolDir, `import-${randomBytes(8).toString('hex')}.tar`);
  try {
    const { diffId } = await spoolTar(tar, path, work.room?.growing(true), signal);
    return await work.holding([diffId], async () => {
      // The chain id of a lowest layer is its own digest.
      await work.layers.write(
        { chainId: diffId, parent: null, diffId },
        createReadStream(path, { highWaterMark: 1 << 20 }),
        { verify: async () => undefined, signal },
      );
      const rawConfig = documentOf(options, diffId);
      const id = `sha256:${sha256(rawConfig)}`;
      return work.exclusive(async () => {
        const references = options.reference === null ? [] : [options.reference];
        await work.store.add({ id, rawConfig, config: parseConfig(rawConfig) }, references, { named: true });
        return work.store.get(id)!;
      });
    });
  } finally {
    tar.destroy();
    await rm(path, { force: true });
  }
}

function documentOf({ config, comment, fields, platform }: ImportOptions, diffId: string): Buffer {
  const created = new Date().toISOString();
  const { os, architecture, variant }: Platform = platform ?? DEFAULT_PLATFORM;
  return Buffer.from(
    JSON.stringify({
      architecture,
      ...(comment === '' ? {} : { comment }),
      ...fields,
      config,
      created,
      history: [{ created, ...(comment === '' ? {} : { comment }) }],
      os,
      rootfs: { type: 'layers', diff_ids: [diffId] },
      ...(variant === '' ? {} : { variant }),
    }),
  );
}
