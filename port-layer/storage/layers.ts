/** Image layers: VMDK deltas on the datastore, each written in user space from its tar and published in one step. */
import { randomBytes } from 'node:crypto';
import { mkdir, rm } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { isKind, messageOf } from '../../src/common/errors.js';
import { chainId as chainIdOf, sha256 } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { Measured } from '../../src/common/measured.js';
import { roomyHeap } from '../../src/common/roomy-heap.js';
import {
  applyLayer,
  type BlockReader,
  FileBlocks,
  type LayerResult,
  type OpenFile,
  RECIPE_VERSION,
  type RecipeFiles,
  type RecipeSize,
  type RecipeSource,
  VmdkChain,
} from '../../src/disk/index.js';
import type { VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import { type DiskPublisher, DiskUploads } from './disk-publisher.js';
import type { ImageStoreFiles } from './image-store-files.js';
import { LayerDisks } from './layer-disks.js';
import { checkedTar } from './layer-tar.js';
import { removeAside } from './remove-aside.js';
import { type StorageReserve, withoutRoom } from './storage-reserve.js';
import type { LayerInfo, LayerStore, LayerWriteOptions, PreparedLayer } from './types.js';

const log = logger('storage');
/** The layer under containers whose image has none: an empty filesystem. */
const EMPTY_LAYER = `sha256:${sha256('an empty layer')}`;
const hex = (chainId: string): string => chainId.replace(/^sha256:/, '');
/** Beside a layer's disk: how its tar is made again, and content for it that is not on the disk. */
const RECIPE = 'tar-recipe';
const REPLACED = 'tar-replaced';
/** And what it was pulled as, if that is kept. */
const BLOB = 'blob';
const recipeFiles = (spool: string): RecipeFiles => ({ recipe: `${spool}.recipe`, replaced: `${spool}.replaced` });

/** A layer that is being written. */
interface Writing {
  stored: Promise<LayerInfo>;
  /** Once it is complete, the layer whose disk this one uses. The next layer is written on it while this one is still being uploaded. */
  disk: string | null;
  /** Where its own disk is until it is stored; null if it has none. */
  spool: string | null;
}

/** @param disk the layer whose disk it uses: its own, or one below it */
function infoOf(
  layer: { chainId: string; parent: string | null; diffId: string },
  disk: string,
  { size, recipe }: LayerResult,
  blob?: LayerWriteOptions['blob'],
): LayerInfo {
  return {
    ...layer,
    size,
    ...(disk === layer.chainId ? {} : { disk }),
    ...(recipe === null ? {} : { recipe: { version: RECIPE_VERSION, ...recipe } }),
    ...(blob === undefined ? {} : { blob: { digest: blob.digest, size: blob.size } }),
  };
}

/** What a layer counts for in quotas. */
export function layerBytes({ size, blob }: LayerInfo): number {
  return size + (blob?.size ?? 0);
}

/** The storage component's image side. */
export class Layers implements LayerStore {
  private readonly layers = new Map<string, LayerInfo>();
  /** Bytes of layers that are being moved into place. */
  private publishing = 0;
  private readonly writing = new Map<string, Writing>();
  private readonly uses = new Map<string, number>();
  private readonly disks: LayerDisks;
  /** Set by the port layer: chain ids of layers that containers use. */
  usedByContainers: () => Set<string> = () => new Set();
  /** Set by the port layer: called before a layer's files are removed. */
  onRemove: () => void = () => undefined;
  /** Set by the port layer: see `imageDifferences`. */
  differences: (below: string[], disks: string[], signal?: AbortSignal) => Promise<Readable> = () =>
    Promise.reject(new PortLayerError('disk.closing', {}));

  private readonly publisher: DiskPublisher;
  /** For recipes, most of which are small. */
  private readonly recipes: DiskPublisher;

  constructor(
    private readonly files: ImageStoreFiles,
    private readonly config: VchConfig,
    private readonly spoolDir: string,
    private readonly room: StorageReserve | null = null,
  ) {
    this.disks = new LayerDisks(files.datastore, files.images);
    this.publisher = new DiskUploads(files.datastore, room);
    this.recipes = new DiskUploads(files.datastore, null, 1 << 20);
  }

  /** Finds the stored layers and removes what interrupted writes left. */
  async load(): Promise<void> {
    await this.files.makeDirectory(this.files.images);
    await this.files.makeDirectory(`${this.files.root}/kv`);
    await rm(this.spoolDir, { recursive: true, force: true });
    await mkdir(this.spoolDir, { recursive: true, mode: 0o700 });
    const names = await this.files.list(this.files.images);
    await Promise.all(
      names.map(async (name) => {
        if (!/^[0-9a-f]{64}$/.test(name)) {
          await this.files.remove(`${this.files.images}/${name}`);
          return;
        }
        const layer = await this.read(name);
        if (layer !== null) this.layers.set(layer.chainId, layer);
      }),
    );
  }

  /** Null for what is no layer: earlier versions removed the files of a layer one by one, and could be killed in between. */
  private async read(name: string): Promise<LayerInfo | null> {
    try {
      const text = await this.files.datastore.read(`${this.files.images}/${name}/layer.json`);
      return JSON.parse(text.toString('utf8')) as LayerInfo;
    } catch (error) {
      if (!isKind(error, 'notFound') && !(error instanceof SyntaxError)) throw error;
      log.error({ layer: name, err: messageOf(error) }, 'a layer cannot be read and is left out');
      return null;
    }
  }

  has(chainId: string): boolean {
    return this.layers.has(chainId);
  }

  get(chainId: string): LayerInfo | undefined {
    return this.layers.get(chainId);
  }

  list(): LayerInfo[] {
    return [...this.layers.values()].filter((layer) => layer.chainId !== EMPTY_LAYER);
  }

  /** Path of a layer's disk, relative to the datastore. For null, that of the empty layer, which is made on first use. */
  async diskOf(chainId: string | null): Promise<string> {
    if (chainId === null && !this.layers.has(EMPTY_LAYER)) {
      const endOfArchive = Readable.from([Buffer.alloc(1024)]);
      await this.write({ chainId: EMPTY_LAYER, parent: null, diffId: EMPTY_LAYER }, endOfArchive, {
        verify: async () => undefined,
      });
    }
    const layer = this.layers.get(chainId ?? EMPTY_LAYER);
    if (layer === undefined) throw new PortLayerError('layer.notFound', { layer: chainId });
    return this.path(layer.disk ?? layer.chainId);
  }

  /** For `VmdkChain.open` on the datastore: opens each layer's disk once for all its readers. */
  openDisk(path: string): ReturnType<OpenFile> {
    return this.disks.open(path);
  }

  /** The bytes of a layer's disk, opened once for all its readers, or of any other file. */
  openBlocks(path: string): Promise<BlockReader> {
    return this.disks.openBlocks(path);
  }

  /** The disks of a layer and of all layers below it, like {@link diskOf}, the upper ones first. */
  async chainOf(chainId: string | null): Promise<string[]> {
    const disks = new Set([await this.diskOf(chainId)]);
    for (let layer = this.layers.get(chainId ?? EMPTY_LAYER); layer?.parent != null; ) {
      layer = this.layers.get(layer.parent);
      if (layer !== undefined) disks.add(this.path(layer.disk ?? layer.chainId));
    }
    return [...disks];
  }

  /** Keeps a layer while a container is created on it. @returns a function that lets go of it */
  use(chainId: string | null): () => void {
    const key = chainId ?? EMPTY_LAYER;
    this.uses.set(key, (this.uses.get(key) ?? 0) + 1);
    return () => this.uses.set(key, (this.uses.get(key) ?? 1) - 1);
  }

  private path(chainId: string): string {
    return `${this.files.images}/${hex(chainId)}/${hex(chainId)}.vmdk`;
  }

  write(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    options: LayerWriteOptions,
  ): Promise<LayerInfo> {
    const known = this.layers.get(layer.chainId);
    if (known !== undefined) {
      tar.destroy();
      options.applied?.();
      return Promise.resolve(known);
    }
    const running = this.writing.get(layer.chainId);
    if (running !== undefined) {
      tar.destroy();
      return running.stored;
    }
    const name = hex(layer.chainId);
    const spool = join(this.spoolDir, `${name}-${randomBytes(8).toString('hex')}.vmdk`);
    const applied = (disk: string): void => {
      writing.disk = disk;
      if (disk === layer.chainId) writing.spool = spool;
      options.applied?.();
    };
    const done = roomyHeap();
    const stored = this.writeNew(layer, tar, spool, { ...options, applied }).finally(async () => {
      done();
      this.writing.delete(layer.chainId);
      for (const path of [spool, ...Object.values(recipeFiles(spool))]) await rm(path, { force: true });
    });
    const writing: Writing = { stored, disk: null, spool: null };
    this.writing.set(layer.chainId, writing);
    return stored;
  }

  async prepare(parent: string | null, tar: Readable, signal?: AbortSignal): Promise<PreparedLayer> {
    // Its own id is not known yet, so what would be derived from that is random.
    const seed = randomBytes(32).toString('hex');
    const spool = join(this.spoolDir, `new-${seed.slice(0, 16)}.vmdk`);
    const done = roomyHeap();
    const discard = async (): Promise<void> => {
      done();
      for (const path of [spool, ...Object.values(recipeFiles(spool))]) await rm(path, { force: true });
    };
    try {
      const hashed = new Measured();
      // Errors on either side reach the reader.
      pipeline(tar, hashed, () => undefined);
      const result = await this.apply({ chainId: seed, parent }, hashed, spool, {
        verify: async () => undefined,
        ...(signal ? { signal } : {}),
      });
      const diffId = hashed.digest();
      const chainId = chainIdOf(parent, diffId);
      const publish = (): Promise<LayerInfo> =>
        this.publishPrepared({ chainId, parent, diffId }, result, spool, signal);
      return { chainId, diffId, tarSize: hashed.size, publish, discard };
    } catch (error) {
      await discard();
      throw error;
    } finally {
      tar.destroy();
    }
  }

  private publishPrepared(
    layer: { chainId: string; parent: string | null; diffId: string },
    result: LayerResult,
    spool: string,
    signal: AbortSignal | undefined,
  ): Promise<LayerInfo> {
    const { chainId, parent } = layer;
    const known = this.layers.get(chainId);
    if (known !== undefined) return Promise.resolve(known);
    const running = this.writing.get(chainId);
    if (running !== undefined) return running.stored;
    const disk = result.unchanged && parent !== null ? this.diskLayer(parent) : chainId;
    const stored = this.store(infoOf(layer, disk, result), spool, undefined, signal).finally(() =>
      this.writing.delete(chainId),
    );
    this.writing.set(chainId, { stored, disk, spool: disk === chainId ? spool : null });
    return stored;
  }

  private async writeNew(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    spool: string,
    options: Omit<LayerWriteOptions, 'applied'> & { applied(disk: string): void },
  ): Promise<LayerInfo> {
    const { chainId, parent } = layer;
    const below = parent === null || this.layers.has(parent) ? undefined : this.writing.get(parent);
    try {
      const result = await this.apply(layer, tar, spool, options);
      const disk = result.unchanged && parent !== null ? this.diskLayer(parent) : chainId;
      options.applied(disk);
      return await this.store(
        infoOf(layer, disk, result, options.blob),
        spool,
        below,
        options.signal,
        options.blob?.path,
      );
    } catch (error) {
      // A failure below is the cause of this one.
      await below?.stored;
      throw error;
    } finally {
      tar.destroy();
      if (below !== undefined) log.debug({ layer: chainId, parent }, 'was written beside its parent');
    }
  }

  /** Writes the layer's disk to `spool`, if it changes anything. */
  private async apply(
    { chainId, parent }: { chainId: string; parent: string | null },
    tar: Readable,
    spool: string,
    { verify, signal }: Pick<LayerWriteOptions, 'verify' | 'signal'>,
  ): Promise<LayerResult> {
    const below = parent === null ? null : this.diskLayer(parent);
    const chain = below === null ? null : await this.openChain(below);
    try {
      const result = await applyLayer({
        parent: chain,
        tar,
        outPath: spool,
        parentHint: below === null ? null : posix.join('..', hex(below), `${hex(below)}.vmdk`),
        capacity: this.config.container.baseImageSizeGiB * 2 ** 30,
        seed: chainId,
        grow: this.room?.growing(true),
        content: this.room?.growing(true),
        recipe: recipeFiles(spool),
        signal,
      });
      await verify();
      return result;
    } catch (error) {
      throw withoutRoom(error);
    } finally {
      await chain?.close();
    }
  }

  /** The layer that holds the disk of `chainId`. */
  private diskLayer(chainId: string): string {
    const stored = this.layers.get(chainId);
    const disk = stored === undefined ? this.writing.get(chainId)?.disk : (stored.disk ?? chainId);
    if (disk === undefined || disk === null) throw new PortLayerError('layer.noParent', { layer: chainId });
    return disk;
  }

  /** A layer's own disk with all disks below it, each read from where it is now. */
  private openChain(chainId: string): Promise<VmdkChain> {
    const spools = new Map<string, string>();
    for (const [id, { spool }] of this.writing) if (spool !== null) spools.set(this.path(id), spool);
    return VmdkChain.open(this.path(chainId), async (path) => {
      const spool = spools.get(path);
      if (spool === undefined) return this.openDisk(path);
      try {
        return await FileBlocks.open(spool);
      } catch (error) {
        // The layer was stored in the meantime.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
        return this.openDisk(path);
      }
    });
  }

  /** Brings a layer to the datastore, with its disk if it has its own, and publishes it after the layer `below`. */
  private async store(
    info: LayerInfo,
    spool: string,
    below: Writing | undefined,
    signal?: AbortSignal,
    blob?: string,
  ): Promise<LayerInfo> {
    const name = hex(info.chainId);
    const upload = `${this.files.images}/${name}.upload-${randomBytes(4).toString('hex')}`;
    try {
      await this.files.makeDirectory(upload);
      const { recipe, replaced } = recipeFiles(spool);
      const parts = await Promise.allSettled([
        info.disk === undefined ? this.publisher.publish(spool, `${upload}/${name}.vmdk`, signal) : 0,
        info.recipe === undefined ? 0 : this.recipes.publish(recipe, `${upload}/${RECIPE}`, signal),
        (info.recipe?.replaced ?? 0) === 0 ? 0 : this.recipes.publish(replaced, `${upload}/${REPLACED}`, signal),
        blob === undefined ? 0 : this.publisher.publish(blob, `${upload}/${BLOB}`, signal),
      ]);
      // All have ended, so that nothing still writes into a directory that is being removed.
      const sizes = parts.map((part) => {
        if (part.status === 'rejected') throw part.reason;
        return part.value;
      });
      await this.files.datastore.put(`${upload}/layer.json`, JSON.stringify(info));
      await below?.stored;
      await this.publish(info, upload);
      log.info({ layer: info.chainId, bytes: sizes.reduce((sum, size) => sum + size, 0) }, 'layer stored');
    } catch (error) {
      await this.files
        .remove(upload)
        .catch((failure: unknown) => log.warn({ err: messageOf(failure) }, 'an unfinished layer could not be removed'));
      throw error;
    }
    return info;
  }

  /** Checks the quota a last time: layers written at the same time were checked without counting each other. */
  private async publish(info: LayerInfo, upload: string): Promise<void> {
    const bytes = layerBytes(info);
    this.room?.checkQuota(this.publishing + bytes);
    this.publishing += bytes;
    try {
      await this.room?.checkStorageQuota(this.publishing);
      await this.moveInto(upload, `${this.files.images}/${hex(info.chainId)}`);
      this.layers.set(info.chainId, info);
    } finally {
      this.publishing -= bytes;
    }
  }

  /** What is in the way is no layer that this store knows: one that could not be read, or that was published by a call whose answer was lost. */
  private async moveInto(upload: string, directory: string): Promise<void> {
    try {
      await this.files.move(upload, directory);
    } catch (error) {
      if (!isKind(error, 'conflict')) throw error;
      await removeAside(this.files, directory);
      await this.files.move(upload, directory);
    }
  }

  tarSize(chainId: string): number | null {
    const { recipe } = this.known(chainId);
    return recipe?.version === RECIPE_VERSION ? recipe.tar : null;
  }

  async newTar(chainId: string, signal?: AbortSignal): Promise<Readable> {
    const { parent } = this.known(chainId);
    const release = this.use(chainId);
    try {
      const tar = await this.differences(await this.chainOf(parent), await this.chainOf(chainId), signal);
      tar.once('close', release);
      return tar;
    } catch (error) {
      release();
      throw error;
    }
  }

  private known(chainId: string): LayerInfo {
    const layer = this.layers.get(chainId);
    if (layer === undefined) throw new PortLayerError('layer.notFound', { layer: chainId });
    return layer;
  }

  private withRecipe(chainId: string): LayerInfo & { recipe: RecipeSize } {
    const layer = this.known(chainId);
    const { recipe } = layer;
    if (recipe?.version !== RECIPE_VERSION) throw new PortLayerError('layer.noRecipe', { layer: chainId });
    return { ...layer, recipe };
  }

  async tar(chainId: string, signal?: AbortSignal): Promise<Readable> {
    const layer = this.withRecipe(chainId);
    const { recipe } = layer;
    const directory = `${this.files.images}/${hex(chainId)}`;
    const { datastore } = this.files;
    const source: RecipeSource = {
      recipe: () => datastore.get(`${directory}/${RECIPE}`, { signal }),
      replaced:
        recipe.replaced === 0
          ? null
          : (start, end) => datastore.get(`${directory}/${REPLACED}`, { start, end, signal }),
    };
    const chain = await VmdkChain.open(await this.diskOf(chainId), (path) => this.openDisk(path));
    const [release, done] = [this.use(chainId), roomyHeap()];
    return checkedTar(layer, source, chain, () => {
      release();
      done();
    });
  }

  async blob(chainId: string, signal?: AbortSignal): Promise<Readable> {
    if (this.known(chainId).blob === undefined) throw new PortLayerError('layer.noBlob', { layer: chainId });
    const release = this.use(chainId);
    try {
      const blob = await this.files.datastore.get(`${this.files.images}/${hex(chainId)}/${BLOB}`, { signal });
      blob.once('close', release);
      return blob;
    } catch (error) {
      release();
      throw error;
    }
  }

  async delete(chainId: string): Promise<void> {
    const child = this.list().find((layer) => layer.parent === chainId);
    if (child !== undefined) throw new PortLayerError('layer.isParent', { layer: chainId, child: child.chainId });
    if ((this.uses.get(chainId) ?? 0) > 0 || this.usedByContainers().has(chainId))
      throw new PortLayerError('layer.inUse', { layer: chainId });
    const layer = this.layers.get(chainId);
    if (layer === undefined) return;
    this.layers.delete(chainId);
    this.disks.forget(this.path(chainId));
    this.onRemove();
    try {
      await removeAside(this.files, `${this.files.images}/${hex(chainId)}`);
    } catch (error) {
      this.layers.set(chainId, layer);
      throw error;
    }
  }
}
