/** Brings one layer into a repository: found there, mounted from another repository, or sent. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { withoutRoom } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { shortId } from '../../../src/common/ids.js';
import { logger } from '../../../src/common/log.js';
import type { Descriptor } from '../manifest.js';
import { layerProgress, layerStatus, ProgressMeter } from '../progress.js';
import { Measured } from '../spool-tar.js';
import type { ProgressMessage } from '../types.js';
import type { ImageWork } from '../work.js';
import type { BlobSource, BlobSources } from './blob-sources.js';
import type { LocalBlob, RegistryWriter } from './registry-writer.js';

const log = logger('image');
/** Docker's type of a compressed layer. */
const LAYER_TYPE = 'application/vnd.docker.image.rootfs.diff.tar.gzip';
/** Types of layers that others compressed, as Docker's manifests name them. */
const PLAIN_TYPES: Record<string, string> = { 'application/vnd.oci.image.layer.v1.tar+gzip': LAYER_TYPE };

/** What the push of a layer needs. */
export interface LayerPush {
  work: Pick<ImageWork, 'layers' | 'spoolDir' | 'room'>;
  sources: BlobSources;
  writer: RegistryWriter;
  /** The registry's domain and the repository's path. */
  target: { registry: string; repository: string };
  progress(message: ProgressMessage): void;
  signal: AbortSignal;
}

/** A layer of an image. */
export interface PushedLayer {
  chainId: string;
  diffId: string;
}

/** @returns how a manifest names the blob, and where it now is @throws RegistryFailure, insufficientResources, cancelled */
export async function pushLayer(push: LayerPush, layer: PushedLayer): Promise<Descriptor> {
  const known = await found(push, layer);
  if (known !== null) return known;
  const blob = await compressed(push, layer);
  try {
    const { writer, progress, signal } = push;
    if (await writer.has(blob.digest, signal)) progress(layerStatus(layer.diffId, 'Layer already exists'));
    else await send(push, layer, blob);
    return descriptorOf(blob, LAYER_TYPE);
  } finally {
    await rm(blob.path, { force: true });
  }
}

const descriptorOf = ({ digest, size }: { digest: string; size: number }, mediaType: string): Descriptor => ({
  digest,
  size,
  mediaType: PLAIN_TYPES[mediaType] ?? mediaType,
});

/** The layer in a form that the registry has already. */
async function found(push: LayerPush, { diffId }: PushedLayer): Promise<Descriptor | null> {
  const { writer, target, progress, signal } = push;
  const here = push.sources.of(diffId).filter(({ registry }) => registry === target.registry);
  for (const source of ownFirst(here, target.repository)) {
    const descriptor = descriptorOf(source, source.mediaType);
    try {
      if (await writer.has(source.digest, signal)) {
        progress(layerStatus(diffId, 'Layer already exists'));
        return descriptor;
      }
      if (source.repository !== target.repository && (await writer.mount(source.digest, source.repository, signal))) {
        progress(layerStatus(diffId, `Mounted from ${source.repository}`));
        return descriptor;
      }
    } catch (error) {
      if (signal.aborted) throw error;
      // For example, nothing may be read from the other repository. Sending it will show whether anything may be written to this one.
      log.debug({ diffId, from: source.repository, reason: messageOf(error) }, 'layer not taken from where it was');
    }
  }
  return null;
}

const ownFirst = (sources: readonly BlobSource[], repository: string): BlobSource[] => [
  ...sources.filter((source) => source.repository === repository),
  ...sources.filter((source) => source.repository !== repository),
];

/** The layer's tar in a local file, compressed: only then its digest is known. */
async function compressed({ work, signal }: LayerPush, { chainId }: PushedLayer): Promise<LocalBlob> {
  const path = join(work.spoolDir, `push-${shortId(chainId)}-${randomBytes(6).toString('hex')}.gz`);
  const measured = new Measured(work.room?.growing(false));
  try {
    const tar = await work.layers.tar(chainId, signal);
    const file = createWriteStream(path, { mode: 0o600, highWaterMark: 1 << 20 });
    await pipeline(tar, createGzip({ chunkSize: 256 * 1024 }), measured, file, { signal });
  } catch (error) {
    await rm(path, { force: true });
    throw withoutRoom(error);
  }
  return { path, digest: measured.digest(), size: measured.size };
}

async function send({ writer, progress, signal }: LayerPush, { diffId }: PushedLayer, blob: LocalBlob): Promise<void> {
  const meter = new ProgressMeter(blob.size, (sent) => progress(layerProgress(diffId, 'Pushing', sent, blob.size)));
  await writer.upload(
    blob,
    (sent) => meter.update(sent),
    (seconds) => progress(layerStatus(diffId, `Retrying in ${seconds} second${seconds === 1 ? '' : 's'}`)),
    signal,
  );
  progress(layerStatus(diffId, 'Pushed'));
}
