/** Makes an image from a container: one more layer on top of its image, and a configuration. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { CaissonError, invalid } from '../../src/common/errors.js';
import { chainId, sha256 } from '../../src/common/ids.js';
import { parseConfig } from './image-config.js';
import { DEPTH_EXCEEDED, LAYERS_MAX } from './manifest.js';
import { DEFAULT_PLATFORM } from './platform.js';
import { isDigest, joinReference, parseReference, type Reference, withDefaultTag } from './reference.js';
import { spoolTar } from './spool-tar.js';
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
  const path = join(context.spoolDir, `commit-${randomBytes(8).toString('hex')}.tar`);
  try {
    return await context.holding(base.chainIds, async () => {
      const { diffId, size } = await spoolTar(options.layer, path, context.room?.growing(true), signal);
      const empty = size <= EMPTY_TAR;
      const parent = base.chainIds.at(-1) ?? null;
      const chain = chainId(parent, diffId);
      // Docker, too, registers the layer before it checks whether it is empty.
      if (base.chainIds.length >= LAYERS_MAX) throw new CaissonError('unavailable', DEPTH_EXCEEDED);
      if (empty) return record(context, options, null);
      return context.holding([chain], async () => {
        await context.layers.write(
          { chainId: chain, parent, diffId },
          createReadStream(path, { highWaterMark: 1 << 20 }),
          { verify: async () => undefined, ...(signal ? { signal } : {}) },
        );
        return record(context, options, diffId);
      });
    });
  } finally {
    options.layer.destroy();
    await rm(path, { force: true });
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
