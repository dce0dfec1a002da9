/** Brings one layer into a repository: found there, mounted from another repository, or sent. */
import { rm } from 'node:fs/promises';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { backOff } from '../back-off.js';
import type { LayerTars } from '../leaving-image.js';
import type { Descriptor } from '../manifest.js';
import { layerProgress, layerStatus, ProgressMeter } from '../progress.js';
import type { ProgressMessage } from '../types.js';
import type { ImageWork } from '../work.js';
import type { BlobSource, BlobSources } from './blob-sources.js';
import type { LocalBlob } from './blob-upload.js';
import { compressTar, type PushCompression } from './compress-layer.js';
import type { KeptBlobs } from './kept-blobs.js';
import type { OriginalBlobs } from './original-blobs.js';
import type { RegistryWriter } from './registry-writer.js';

const log = logger('image');

/** What the push of a layer needs. */
export interface LayerPush {
  work: Pick<ImageWork, 'spoolDir' | 'room'>;
  tars: Pick<LayerTars, 'tar'>;
  sources: BlobSources;
  writer: RegistryWriter;
  /** The registry's domain and the repository's path. */
  target: { registry: string; repository: string };
  /** Digests of the blobs that the image was pulled with. */
  originals: ReadonlySet<string>;
  /** See {@link OriginalBlobs}. */
  fetchOriginal: OriginalBlobs['fetch'];
  /** See {@link keptBlobs}. */
  kept: KeptBlobs;
  /** For layers that have to be compressed. */
  compression: PushCompression;
  retryDelayMs: number;
  progress(message: ProgressMessage): void;
  signal: AbortSignal;
}

/** A layer of an image. */
export interface PushedLayer {
  chainId: string;
  diffId: string;
}

/** @returns the blob that the registry now has @throws RegistryFailure, insufficientResources, cancelled */
export async function pushLayer(push: LayerPush, layer: PushedLayer): Promise<Descriptor> {
  const sources = push.sources.of(layer.diffId);
  const originals = sources.filter(({ digest }) => push.originals.has(digest));
  const others = sources.filter(({ digest }) => !push.originals.has(digest));
  return (
    (await found(push, layer, originals)) ??
    (await sendKept(push, layer, originals)) ??
    (await sendOriginal(push, layer, originals)) ??
    (await found(push, layer, others)) ??
    (await sendCompressed(push, layer))
  );
}

/** One of these blobs, if the registry has it already. */
async function found(
  push: LayerPush,
  { diffId }: PushedLayer,
  sources: readonly BlobSource[],
): Promise<Descriptor | null> {
  const { writer, target, progress, signal } = push;
  const here = sources.filter(({ registry }) => registry === target.registry);
  for (const { digest, size, mediaType, repository } of ownFirst(here, target.repository)) {
    try {
      if (await writer.has(digest, signal)) {
        progress(layerStatus(diffId, 'Layer already exists'));
        return { digest, size, mediaType };
      }
      if (repository !== target.repository && (await writer.mount(digest, repository, signal))) {
        progress(layerStatus(diffId, `Mounted from ${repository}`));
        return { digest, size, mediaType };
      }
    } catch (error) {
      if (signal.aborted) throw error;
      // For example, nothing may be read from the other repository. Sending it will show whether anything may be written to this one.
      log.debug({ diffId, from: repository, reason: messageOf(error) }, 'layer not taken from where it was');
    }
  }
  return null;
}

/** The blob that the image was pulled with, if it was kept. */
async function sendKept(
  push: LayerPush,
  layer: PushedLayer,
  originals: readonly BlobSource[],
): Promise<Descriptor | null> {
  const digest = push.kept.digestOf(layer.chainId);
  const source = originals.find((one) => one.digest === digest);
  if (source === undefined) return null;
  const { size, mediaType } = source;
  const sent = await sendUnlessThere(push, layer, source.digest, () => push.kept.read(layer.chainId, push.signal));
  return sent ? { digest: source.digest, size, mediaType } : null;
}

/** The blob that the image was pulled with, if it is still where it came from: with it the image keeps its digest. */
async function sendOriginal(
  push: LayerPush,
  layer: PushedLayer,
  originals: readonly BlobSource[],
): Promise<Descriptor | null> {
  const { progress, signal, target } = push;
  const preparing = ({ progressDetail }: ProgressMessage): void => {
    const { current, total } = progressDetail ?? {};
    if (current !== undefined && total !== undefined)
      progress(layerProgress(layer.diffId, 'Preparing', current, total));
  };
  for (const source of originals.filter(({ registry }) => registry !== target.registry)) {
    const { digest, size, mediaType } = source;
    const blob = await sendUnlessThere(push, layer, digest, () => push.fetchOriginal(source, preparing, signal));
    if (blob) return { digest, size, mediaType };
  }
  return null;
}

/** @param local makes the blob; null if it cannot be had @returns whether the registry now has it */
async function sendUnlessThere(
  push: LayerPush,
  layer: PushedLayer,
  digest: string,
  local: () => Promise<LocalBlob | null>,
): Promise<boolean> {
  const { writer, progress, signal } = push;
  if (await writer.has(digest, signal)) {
    progress(layerStatus(layer.diffId, 'Layer already exists'));
    return true;
  }
  const blob = await local();
  if (blob === null) return false;
  try {
    await send(push, layer, blob);
  } finally {
    await rm(blob.path, { force: true });
  }
  return true;
}

async function sendCompressed(push: LayerPush, layer: PushedLayer): Promise<Descriptor> {
  const { work, signal } = push;
  const tar = await push.tars.tar(layer.chainId, signal);
  const blob = await compressTar(work, tar, layer.chainId, push.compression, signal);
  try {
    await sendUnlessThere(push, layer, blob.digest, async () => blob);
  } finally {
    await rm(blob.path, { force: true });
  }
  const { digest, size, mediaType } = blob;
  return { digest, size, mediaType };
}

const ownFirst = (sources: readonly BlobSource[], repository: string): BlobSource[] => [
  ...sources.filter((source) => source.repository === repository),
  ...sources.filter((source) => source.repository !== repository),
];

async function send(push: LayerPush, { diffId }: PushedLayer, blob: LocalBlob): Promise<void> {
  const { writer, progress, signal, retryDelayMs } = push;
  const meter = new ProgressMeter(blob.size, (sent) => progress(layerProgress(diffId, 'Pushing', sent, blob.size)));
  const waits = { digest: diffId, retryDelayMs, emit: progress, signal };
  await writer.upload(
    blob,
    (sent) => meter.update(sent),
    (attempt, error) => backOff(waits, attempt, error),
    signal,
  );
  progress(layerStatus(diffId, 'Pushed'));
}
