/** Loads images from an archive (`docker load`; moby `image/tarexport/load.go`). */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { CaissonError, invalid } from '../../../src/common/errors.js';
import { sha256 } from '../../../src/common/ids.js';
import { withRoomyHeap } from '../../../src/common/roomy-heap.js';
import { checkConfig, parseConfig } from '../image-config.js';
import { chainIdsOf, type ImageStore } from '../image-store.js';
import { readLayer } from '../layer-reader.js';
import { CONFIG_SIZE_MAX, DEPTH_EXCEEDED, LAYERS_MAX } from '../manifest.js';
import { type Platform, platformMatch, platformOf } from '../platform.js';
import { layerProgress, ProgressMeter } from '../progress.js';
import { familiarString, parseReference, type Reference } from '../reference.js';
import type { Image, ImageConfig, LoadOptions } from '../types.js';
import type { ImageWork } from '../work.js';
import { imagesIn } from './archive-images.js';
import type { ArchivedImage } from './archived-image.js';
import { ArchiveMembers, type Member } from './members.js';

/** What of an archive is to be stored. */
interface Loading {
  work: ImageWork;
  members: ArchiveMembers;
  options: LoadOptions;
  signal: AbortSignal;
}

/**
 * Stores the images of an archive, each under its tags, in the order of the archive. Those before a faulty one stay, as in Docker.
 * @param tar the archive, uncompressed
 * @param loaded called for each stored image
 * @throws invalid, notFound, unsupported, insufficientResources, cancelled
 */
export async function loadImages(
  work: ImageWork,
  tar: Readable,
  options: LoadOptions & { signal: AbortSignal },
  loaded: (image: Image) => void,
): Promise<void> {
  const { signal, platform } = options;
  const directory = join(work.spoolDir, `load-${randomBytes(8).toString('hex')}`);
  const { room } = work;
  const limits = {
    grow: room?.growing(false) ?? (async () => undefined),
    // A file larger than all images may be is no layer that can be stored.
    largest: room?.quota?.most ?? Number.POSITIVE_INFINITY,
  };
  const members = await withRoomyHeap(() => ArchiveMembers.read(tar, directory, limits, signal));
  try {
    const unnamed: string[] = [];
    let named = 0;
    const stored = new Map<string, string | undefined>();
    for (const archived of await imagesIn(members, platform, signal)) {
      const image = await loadImage({ work, members, options, signal }, archived);
      if (image === null) continue;
      if (archived.tags.length === 0) unnamed.push(image.id);
      named += archived.tags.length;
      stored.set(image.id, archived.parent);
      loaded(image);
    }
    for (const [id, parent] of stored)
      if (parent !== undefined && stored.has(parent)) await work.exclusive(() => setParent(work.store, id, parent));
    // Docker names images by their ids only if none has a name.
    if (named === 0) for (const id of unnamed) options.said(`Loaded image ID: ${id}\n`);
  } finally {
    await members.close();
  }
}

/** Null for an image of another platform than the one asked for. */
async function loadImage(loading: Loading, archived: ArchivedImage): Promise<Image | null> {
  const { work, members, options, signal } = loading;
  const rawConfig =
    'made' in archived.config ? archived.config.made : await members.text(archived.config.file, CONFIG_SIZE_MAX);
  const config = parseConfig(rawConfig);
  checkConfig(config);
  if ((config.os || 'linux') !== 'linux') throw invalid(`cannot load ${config.os} image on linux`);
  if (options.platform !== undefined && !isOf(config, options.platform)) return null;
  const { diff_ids: diffIds } = config.rootfs;
  if (archived.layers.length !== diffIds.length)
    throw invalid(
      `invalid manifest, layers length mismatch: expected ${archived.layers.length}, got ${diffIds.length}`,
    );
  if (diffIds.length > LAYERS_MAX) throw new CaissonError('unavailable', DEPTH_EXCEEDED);
  const id = `sha256:${sha256(rawConfig)}`;
  const chainIds = chainIdsOf(diffIds);
  return work.holding(chainIds, async () => {
    await loadLayers(loading, archived.layers, diffIds, chainIds);
    signal.throwIfAborted();
    return record(loading, { id, rawConfig, config }, archived.tags);
  });
}

/** Records which image another one was committed from, if both are in the archive. @throws invalid in Docker's words */
async function setParent(store: ImageStore, id: string, parentId: string): Promise<void> {
  const [image, parent] = [store.get(id), store.get(parentId)];
  if (image === undefined || parent === undefined) return;
  const [history, before] = [image.config.history ?? [], parent.config.history ?? []];
  const onTop = parent.chainIds.every((chain, index) => image.chainIds[index] === chain);
  const one =
    history.length - before.length === 1 || (history.length === 0 && image.chainIds.length > parent.chainIds.length);
  if (!onTop || !one || before.length > history.length)
    throw invalid(`image ${parentId} is not a valid parent for ${id}`);
  await store.setParent(id, parentId);
}

/** The very platform; a variant that is not asked for does not matter. */
function isOf(config: ImageConfig, wanted: Platform): boolean {
  const offered = platformOf(config);
  return platformMatch(wanted, wanted.variant === '' ? { ...offered, variant: '' } : offered) === 1000;
}

/** Stores the layers that are not there yet. While one is brought to the datastore, the next one is written. */
async function loadLayers(loading: Loading, names: string[], diffIds: string[], chainIds: string[]): Promise<void> {
  const { layers } = loading.work;
  const writes: Promise<unknown>[] = [];
  try {
    for (const [index, chainId] of chainIds.entries()) {
      if (layers.has(chainId)) continue;
      const name = names[index]!;
      const member = loading.members.find(name);
      if (member === null) throw invalid(`open ${name}: no such file or directory`);
      const layer = { chainId, parent: chainIds[index - 1] ?? null, diffId: diffIds[index]! };
      await writes.at(-2);
      await new Promise<void>((applied, failed) => {
        const write = loadLayer(loading, member, layer, index, applied);
        writes.push(write);
        write.then(() => applied(), failed);
      });
    }
  } finally {
    await Promise.allSettled(writes);
  }
  await Promise.all(writes);
}

async function loadLayer(
  { work, options, signal }: Loading,
  member: Member,
  layer: { chainId: string; parent: string | null; diffId: string },
  index: number,
  applied: () => void,
): Promise<void> {
  const meter = new ProgressMeter(member.size, (current) =>
    options.progress?.(layerProgress(layer.diffId, 'Loading layer', current, member.size)),
  );
  const reader = await readLayer(member.path, member.size, (current) => meter.update(current));
  try {
    const verify = (): Promise<void> =>
      reader.verify(
        layer.diffId,
        (digest) => `invalid diffID for layer ${index}: expected "${layer.diffId}", got "${digest}"`,
      );
    await work.layers.write(layer, reader.tar, { verify, applied, signal });
  } finally {
    await reader.close();
  }
}

/** Records the image with its tags, in one step. */
async function record(
  { work, options }: Loading,
  image: { id: string; rawConfig: Buffer; config: ImageConfig },
  tags: string[],
): Promise<Image> {
  const { store } = work;
  const references = tags.map(namedReference);
  return work.exclusive(async () => {
    for (const reference of references) {
      const before = store.idOf(reference);
      if (before !== undefined && before !== image.id)
        options.said(
          `The image ${familiarString(reference)} already exists, renaming the old one with ID ${before} to empty string\n`,
        );
    }
    // Docker does not take this as a user's tag: `LastTagTime` stays.
    await store.add(image, references);
    for (const reference of references) options.said(`Loaded image: ${familiarString(reference)}\n`);
    return store.get(image.id)!;
  });
}

function namedReference(tag: string): Reference {
  const reference = parseReference(tag);
  if (reference.tag === undefined || reference.digest !== undefined)
    throw invalid(`invalid tag ${JSON.stringify(tag)}`);
  return reference;
}
