/** Image layers: VMDK deltas on the datastore, each written in user space from its tar and published in one step. */
import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, rm, stat } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { Readable } from 'node:stream';
import { conflict, internal, isKind, messageOf, notFound } from '../../src/common/errors.js';
import { sha256 } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { applyLayer, type BlockReader, CachedBlocks, VmdkChain } from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import type { LayerInfo, LayerStore } from '../types.js';
import type { ImageStoreFiles } from './image-store-files.js';

const log = logger('storage');
/** The layer under containers whose image has none: an empty filesystem. */
const EMPTY_LAYER = `sha256:${sha256('an empty layer')}`;
const hex = (chainId: string): string => chainId.replace(/^sha256:/, '');

/** The storage component's image side. */
export class Layers implements LayerStore {
  private readonly layers = new Map<string, LayerInfo>();
  private readonly writing = new Map<string, Promise<LayerInfo>>();
  private readonly uses = new Map<string, number>();
  /** Set by the port layer: chain ids that containers stand on. */
  usedByContainers: () => Set<string> = () => new Set();

  constructor(
    private readonly files: ImageStoreFiles,
    private readonly config: VchConfig,
    private readonly spoolDir: string,
  ) {}

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
        const text = await this.files.datastore.read(`${this.files.images}/${name}/layer.json`);
        const layer = JSON.parse(text.toString('utf8')) as LayerInfo;
        this.layers.set(layer.chainId, layer);
      }),
    );
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

  /** Path of a layer's disk, relative to the datastore; null: the empty layer's, made when it is first needed. */
  async diskOf(chainId: string | null): Promise<string> {
    if (chainId === null && !this.layers.has(EMPTY_LAYER)) {
      const endOfArchive = Readable.from([Buffer.alloc(1024)]);
      await this.write({ chainId: EMPTY_LAYER, parent: null, diffId: EMPTY_LAYER }, endOfArchive, {
        verify: async () => undefined,
      });
    }
    const layer = this.layers.get(chainId ?? EMPTY_LAYER);
    if (layer === undefined) throw notFound(`layer ${chainId} is not stored`);
    return this.path(layer.chainId);
  }

  /** Keeps a layer while a container is made on it. @returns lets go */
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
    options: { verify(): Promise<void>; signal?: AbortSignal },
  ): Promise<LayerInfo> {
    const known = this.layers.get(layer.chainId);
    if (known !== undefined) {
      tar.destroy();
      return Promise.resolve(known);
    }
    const running = this.writing.get(layer.chainId);
    if (running !== undefined) {
      tar.destroy();
      return running;
    }
    const writing = this.writeNew(layer, tar, options).finally(() => this.writing.delete(layer.chainId));
    this.writing.set(layer.chainId, writing);
    return writing;
  }

  private async writeNew(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    options: { verify(): Promise<void>; signal?: AbortSignal },
  ): Promise<LayerInfo> {
    const { chainId, parent } = layer;
    if (parent !== null && !this.layers.has(parent)) throw internal(`the parent layer ${parent} is not stored`);
    const name = hex(chainId);
    const spool = join(this.spoolDir, `${name}-${randomBytes(4).toString('hex')}.vmdk`);
    const upload = `${this.files.images}/${name}.upload-${randomBytes(4).toString('hex')}`;
    let uploading = false;
    const chain =
      parent === null
        ? null
        : await VmdkChain.open(this.path(parent), (path) => DatastoreBlocks.open(this.files.datastore, path));
    try {
      const result = await applyLayer({
        parent: chain,
        tar,
        outPath: spool,
        parentHint: parent === null ? null : posix.join('..', hex(parent), `${hex(parent)}.vmdk`),
        capacity: this.config.container.baseImageSizeGiB * 2 ** 30,
        seed: chainId,
        signal: options.signal,
      });
      await options.verify();
      const info: LayerInfo = { ...layer, size: result.size };
      uploading = true;
      await this.files.makeDirectory(upload);
      const { size } = await stat(spool);
      await this.files.datastore.put(
        `${upload}/${name}.vmdk`,
        createReadStream(spool, { highWaterMark: 1024 * 1024 }),
        { size, signal: options.signal },
      );
      await this.files.datastore.put(`${upload}/layer.json`, JSON.stringify(info));
      await this.files.move(upload, `${this.files.images}/${name}`);
      uploading = false;
      this.layers.set(chainId, info);
      log.info({ layer: chainId, bytes: size, entries: result.entries }, 'layer stored');
      return info;
    } finally {
      tar.destroy();
      await chain?.close();
      await rm(spool, { force: true });
      if (uploading)
        await this.files
          .remove(upload)
          .catch((error: unknown) => log.warn({ err: messageOf(error) }, 'an unfinished layer could not be removed'));
    }
  }

  async delete(chainId: string): Promise<void> {
    const child = this.list().find((layer) => layer.parent === chainId);
    if (child !== undefined) throw conflict(`layer ${chainId} is the parent of ${child.chainId}`);
    if ((this.uses.get(chainId) ?? 0) > 0 || this.usedByContainers().has(chainId))
      throw conflict(`layer ${chainId} is in use by a container`);
    if (!this.layers.delete(chainId)) return;
    try {
      await this.files.remove(`${this.files.images}/${hex(chainId)}`);
    } catch (error) {
      if (!isKind(error, 'notFound')) throw error;
    }
  }
}

/** A datastore file read by ranges, through a cache: metadata is read in small pieces from nearby places. */
class DatastoreBlocks implements BlockReader {
  private constructor(
    private readonly datastore: DatastoreClient,
    private readonly path: string,
    readonly size: number,
  ) {}

  static async open(datastore: DatastoreClient, path: string): Promise<BlockReader> {
    const size = await datastore.size(path);
    if (size === null) throw notFound(`${path} is not on the datastore`);
    return new CachedBlocks(new DatastoreBlocks(datastore, path, size), 256 * 1024, 128);
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of await this.datastore.get(this.path, { start: offset, end: offset + length }))
      parts.push(part as Buffer);
    return Buffer.concat(parts);
  }

  async close(): Promise<void> {}
}
