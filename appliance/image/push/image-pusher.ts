/** Pushes images to a registry, reporting progress in Docker's words (moby `distribution/push_v2.go`). */

import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CaissonError, cancelled } from '../../../src/common/errors.js';
import { sha256, shortId } from '../../../src/common/ids.js';
import { Semaphore } from '../../../src/common/semaphore.js';
import { backOff } from '../back-off.js';
import type { HttpClient } from '../http.js';
import { LeavingImages } from '../leaving-image.js';
import type { Descriptor } from '../manifest.js';
import { layerStatus } from '../progress.js';
import { canonicalString, familiarName, type Reference, repositoryName } from '../reference.js';
import { firstAnswering } from '../registry-client.js';
import type { RegistryEndpoints } from '../registry-endpoints.js';
import { pushFailure } from '../registry-errors.js';
import type { Image, PushOptions } from '../types.js';
import type { ImageWork } from '../work.js';
import type { BlobSource, BlobSources } from './blob-sources.js';
import type { PushCompression } from './compress-layer.js';
import { keptBlobs } from './kept-blobs.js';
import { type LayerPush, pushLayer } from './layer-pusher.js';
import { OriginalBlobs } from './original-blobs.js';
import { layerDigestsOf, manifestFor, type PulledManifests } from './push-manifest.js';
import { RegistryWriter } from './registry-writer.js';

/** Like dockerd's `max-concurrent-uploads`. */
const UPLOADS_AT_ONCE = 5;

/** What a push needs. */
export interface PushContext {
  http: HttpClient;
  endpoints: RegistryEndpoints;
  work: ImageWork;
  sources: BlobSources;
  manifests: PulledManifests;
  /** For layers that have to be compressed. */
  compression: PushCompression;
  retryDelayMs: number;
}

/**
 * Pushes the image that a reference names, or all tags of its repository. The first progress message comes before anything but a registry's name can be refused.
 * @throws notFound, unauthorized, forbidden, unavailable, timeout, unsupported, cancelled
 */
export async function pushImages(
  context: PushContext,
  reference: Reference,
  options: PushOptions & { signal: AbortSignal },
): Promise<void> {
  const { signal, progress } = options;
  const endpoints = context.endpoints.of(reference.domain);
  progress({ status: `The push refers to repository [${repositoryName(reference)}]` });
  const tagged = taggedBy(context, reference);
  if (tagged.length === 0)
    throw new CaissonError('notFound', `An image does not exist locally with the tag: ${familiarName(reference)}`);
  const mountFrom = new Set<string>();
  for (const { image } of tagged)
    for (const diffId of image.config.rootfs.diff_ids)
      for (const source of context.sources.of(diffId))
        if (source.registry === reference.domain && source.repository !== reference.path)
          mountFrom.add(source.repository);
  try {
    const writer = await firstAnswering(
      endpoints,
      (endpoint) =>
        new RegistryWriter({
          http: context.http,
          endpoint,
          repository: reference.path,
          auth: options.auth ?? {},
          mountFrom: [...mountFrom],
          retryDelayMs: context.retryDelayMs,
        }),
      signal,
    );
    if (reference.tag === undefined && reference.digest !== undefined)
      throw new CaissonError('invalid', 'cannot push a digest reference');
    const originals = new OriginalBlobs(context);
    for (const { tag, image } of tagged) await pushOne(context, writer, originals, reference, tag, image, options);
  } catch (error) {
    throw signal.aborted ? cancelled('context canceled', error) : pushFailure(error);
  }
}

/** The tag that a reference names with its image, or all tags of a repository. */
function taggedBy({ work: { store } }: PushContext, reference: Reference): { tag: string; image: Image }[] {
  if (reference.tag !== undefined) {
    const id = store.idOf(reference);
    const image = id === undefined ? undefined : store.get(id);
    // With other tags the repository exists; Docker then says which one does not.
    if (image === undefined && tagsOf(store, reference).length > 0)
      throw new CaissonError('notFound', `tag does not exist: ${canonicalString(reference)}`);
    return image === undefined ? [] : [{ tag: reference.tag, image }];
  }
  return tagsOf(store, reference);
}

function tagsOf(store: ImageWork['store'], { domain, path }: Reference): { tag: string; image: Image }[] {
  return store.list().flatMap((image) =>
    store
      .referencesTo(image.id)
      .filter((one) => one.domain === domain && one.path === path && one.tag !== undefined && one.digest === undefined)
      .map((one) => ({ tag: one.tag!, image })),
  );
}

async function pushOne(
  context: PushContext,
  writer: RegistryWriter,
  blobs: OriginalBlobs,
  reference: Reference,
  tag: string,
  image: Image,
  { progress, signal }: PushOptions & { signal: AbortSignal },
): Promise<void> {
  const { work, sources, compression, retryDelayMs } = context;
  const target = { registry: reference.domain, repository: reference.path };
  const pulled = await context.manifests.of(image.id);
  const originals = new Set(layerDigestsOf(pulled));
  const fetchOriginal: OriginalBlobs['fetch'] = (...of) => blobs.fetch(...of);
  const leaving = new LeavingImages(work, signal);
  const push: LayerPush = {
    ...{ work, sources, writer, target, progress, signal, tars: leaving },
    ...{ originals, fetchOriginal, compression, retryDelayMs, kept: keptBlobs(work) },
  };
  const body = async (): Promise<void> => {
    const leaves = await leaving.of(image, (layer, now) =>
      progress({
        status: `Layer was stored by an earlier version: its digest changes to ${now}`,
        id: shortId(layer),
      }),
    );
    const layers = await pushLayers(push, leaves);
    const config = { digest: leaves.id, size: leaves.rawConfig.length };
    await pushConfig(push, leaves);
    const manifest = manifestFor(pulled, config, layers);
    const digest = `sha256:${sha256(manifest.body)}`;
    await writer.putManifest(tag, manifest.mediaType, manifest.body, signal);
    // What is there under another id is not this image.
    if (leaves.id === image.id) {
      await remember(context, image, layers, target);
      const pushed = { domain: reference.domain, path: reference.path, digest };
      await work.exclusive(() => work.store.refer([pushed], image.id));
    }
    progress({ status: `${tag}: digest: ${digest} size: ${manifest.body.length}` });
    progress({ progressDetail: {}, aux: { Tag: tag, Digest: digest, Size: manifest.body.length } });
  };
  try {
    await work.holding(image.chainIds, body);
  } finally {
    await leaving.close();
  }
}

/** Each different layer once, some at a time; the uppermost is named first, as in Docker. */
async function pushLayers(push: LayerPush, image: Image): Promise<Descriptor[]> {
  const diffIds = image.config.rootfs.diff_ids;
  const different = [...new Map(diffIds.map((diffId, index) => [diffId, image.chainIds[index]!]))].reverse();
  // As Docker does, it names a layer as often as the image has it.
  for (const diffId of diffIds.toReversed()) push.progress(layerStatus(diffId, 'Preparing'));
  const slots = new Semaphore(UPLOADS_AT_ONCE);
  const abort = new AbortController();
  const signal = AbortSignal.any([push.signal, abort.signal]);
  // Every request adds a listener.
  setMaxListeners(0, signal);
  const pushed = new Map<string, Descriptor>();
  const running = different.map(async ([diffId, chainId], index) => {
    if (index >= UPLOADS_AT_ONCE) push.progress(layerStatus(diffId, 'Waiting'));
    const layer = { chainId, diffId };
    pushed.set(diffId, await slots.run(() => pushLayer({ ...push, signal }, layer), signal));
  });
  try {
    await Promise.all(running);
  } catch (error) {
    abort.abort();
    await Promise.allSettled(running);
    throw error;
  }
  return diffIds.map((diffId) => pushed.get(diffId)!);
}

async function pushConfig({ work, writer, retryDelayMs, signal }: LayerPush, { id, rawConfig }: Image): Promise<void> {
  if (await writer.has(id, signal)) return;
  const path = join(work.spoolDir, `push-config-${randomBytes(6).toString('hex')}`);
  try {
    await writeFile(path, rawConfig, { mode: 0o600 });
    await writer.upload(
      { path, digest: id, size: rawConfig.length },
      () => undefined,
      (attempt, error) => backOff({ digest: id, retryDelayMs, emit: () => undefined, signal }, attempt, error),
      signal,
    );
  } finally {
    await rm(path, { force: true });
  }
}

async function remember(
  { sources, work }: PushContext,
  image: Image,
  layers: Descriptor[],
  target: { registry: string; repository: string },
): Promise<void> {
  const found = layers.map((layer, index): [string, BlobSource] => [
    image.config.rootfs.diff_ids[index]!,
    { ...target, digest: layer.digest, size: layer.size, mediaType: layer.mediaType },
  ]);
  await sources.add(found, work.store.usedDiffIds());
}
