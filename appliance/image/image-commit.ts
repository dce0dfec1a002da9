/** Makes an image from a container: one more layer on top of its image, and a configuration. */
import { CaissonError, invalid } from '../../src/common/errors.js';
import { sha256 } from '../../src/common/ids.js';
import { parseConfig } from './image-config.js';
import { DEPTH_EXCEEDED, LAYERS_MAX } from './manifest.js';
import { DEFAULT_PLATFORM } from './platform.js';
import { isDigest, joinReference, parseReference, type Reference, withDefaultTag } from './reference.js';
import type { CommitOptions, Image } from './types.js';
import type { ImageWork } from './work.js';

/** An archive without entries. */
const EMPTY_TAR = 1024;

/** The reference that a commit asks for; null without a repository. @throws invalid in Docker's words */
export function commitReference(repository: string, tag: string): Reference | null {
  if (repository === '') return null;
  if (parseReference(repository).digest !== undefined) throw invalid('cannot import digest reference');
  if (isDigest(tag)) throw invalid('invalid tag format');
  return withDefaultTag(joinReference(repository, tag));
}

/** Stores the layer, then the image. @throws invalid, insufficientResources, cancelled */
export async function commitImage(context: ImageWork, options: CommitOptions): Promise<Image> {
  const { base, signal } = options;
  try {
    return await context.holding(base.chainIds, async () => {
      // While the container's files are still being read, what has come is written.
      const layer = await context.layers.prepare(base.chainIds.at(-1) ?? null, options.layer, signal);
      try {
        // Docker, too, registers the layer before it checks whether it is empty.
        if (base.chainIds.length >= LAYERS_MAX) throw new CaissonError('unavailable', DEPTH_EXCEEDED);
        if (layer.tarSize <= EMPTY_TAR) return await record(context, options, null);
        return await context.holding([layer.chainId], async () => {
          await layer.publish();
          return record(context, options, layer.diffId);
        });
      } finally {
        await layer.discard();
      }
    });
  } finally {
    options.layer.destroy();
  }
}

/** Records the image. `diffId` is that of its own layer, or null if it has none. */
async function record(context: ImageWork, options: CommitOptions, diffId: string | null): Promise<Image> {
  const { base } = options;
  const created = new Date().toISOString();
  const { architecture, os, variant, 'os.version': version, 'os.features': features } = base.config;
  const history = {
    created,
    ...(options.author === '' ? {} : { author: options.author }),
    created_by: options.createdBy,
    ...(options.comment === '' ? {} : { comment: options.comment }),
    ...(diffId === null ? { empty_layer: true } : {}),
  };
  const rawConfig = Buffer.from(
    JSON.stringify({
      architecture: architecture || DEFAULT_PLATFORM.architecture,
      ...(options.author === '' ? {} : { author: options.author }),
      ...options.fields,
      config: options.config,
      created,
      history: [...(base.config.history ?? []), history],
      os: os || DEFAULT_PLATFORM.os,
      rootfs: {
        type: 'layers',
        diff_ids: [...base.config.rootfs.diff_ids, ...(diffId === null ? [] : [diffId])],
      },
      ...(variant === undefined ? {} : { variant }),
      ...(version === undefined ? {} : { 'os.version': version }),
      ...(features === undefined ? {} : { 'os.features': features }),
    }),
  );
  const id = `sha256:${sha256(rawConfig)}`;
  const config = parseConfig(rawConfig);
  return context.exclusive(async () => {
    const references = options.reference === null ? [] : [options.reference];
    await context.store.add({ id, rawConfig, config }, references, { named: true, parent: base.id });
    return context.store.get(id)!;
  });
}
