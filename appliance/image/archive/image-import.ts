/** Makes an image of a root filesystem's archive (`docker import`). */
import type { Readable } from 'node:stream';
import { sha256 } from '../../../src/common/ids.js';
import { parseConfig } from '../image-config.js';
import { DEFAULT_PLATFORM, type Platform } from '../platform.js';
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
  const layer = await work.layers.prepare(null, tar, signal);
  const { chainId, diffId } = layer;
  try {
    return await work.holding([chainId], async () => {
      await layer.publish();
      const rawConfig = documentOf(options, diffId);
      const id = `sha256:${sha256(rawConfig)}`;
      return work.exclusive(async () => {
        const references = options.reference === null ? [] : [options.reference];
        await work.store.add({ id, rawConfig, config: parseConfig(rawConfig) }, references, { named: true });
        return work.store.get(id)!;
      });
    });
  } finally {
    await layer.discard();
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
