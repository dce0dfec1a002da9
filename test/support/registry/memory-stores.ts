/** An in-memory layer store and key-value store with the port layer's contracts, for tests of their users. */
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { extract } from 'tar-stream';
import type {
  KeyValueStore,
  LayerInfo,
  LayerStore,
  LayerWriteOptions,
  PreparedLayer,
} from '../../../port-layer/index.js';
import { conflict, invalid, notFound, unsupported } from '../../../src/common/errors.js';
import { chainId, sha256 } from '../../../src/common/ids.js';

/** Keeps its layers in memory; can be made to fail. */
export class MemoryLayerStore implements LayerStore {
  readonly layers = new Map<string, LayerInfo>();
  /** Names of each layer's entries. */
  readonly entries = new Map<string, string[]>();
  readonly tars = new Map<string, Buffer>();
  readonly blobs = new Map<string, Buffer>();
  /** Layers that something other than a layer depends on. */
  readonly inUse = new Set<string>();
  /** What is stored is as an earlier version left it: layers' own tars are not known. */
  ofEarlierVersion = false;
  writing = 0;
  writes = 0;
  /** Runs before a layer is published; may throw. */
  beforePublish: (layer: { chainId: string }) => Promise<void> = async () => {};

  has(chainId: string): boolean {
    return this.layers.has(chainId);
  }

  get(chainId: string): LayerInfo | undefined {
    return this.layers.get(chainId);
  }

  list(): LayerInfo[] {
    return [...this.layers.values()];
  }

  async write(
    layer: { chainId: string; parent: string | null; diffId: string },
    tar: Readable,
    options: LayerWriteOptions,
  ): Promise<LayerInfo> {
    if (layer.parent !== null && !this.layers.has(layer.parent)) throw notFound(`no layer ${layer.parent}`);
    this.writing++;
    this.writes++;
    try {
      const names: string[] = [];
      let size = 0;
      const reader = extract();
      options.signal?.addEventListener('abort', () => reader.destroy(options.signal?.reason), { once: true });
      tar.on('error', (error) => reader.destroy(error));
      const bytes: Buffer[] = [];
      tar.on('data', (chunk: Buffer) => bytes.push(Buffer.from(chunk)));
      tar.pipe(reader);
      try {
        for await (const entry of reader) {
          names.push(entry.header.name);
          size += entry.header.size ?? 0;
          entry.resume();
        }
      } catch (error) {
        if (error instanceof Error && /tar/i.test(error.message)) throw invalid(error.message, error);
        throw error;
      }
      await this.beforePublish(layer);
      await options.verify();
      options.signal?.throwIfAborted();
      const { blob } = options;
      if (blob !== undefined) this.blobs.set(layer.chainId, await readFile(blob.path));
      const kept = blob === undefined ? {} : { blob: { digest: blob.digest, size: blob.size } };
      const info = { ...layer, size, ...kept };
      this.layers.set(layer.chainId, info);
      this.entries.set(layer.chainId, names);
      this.tars.set(layer.chainId, Buffer.concat(bytes));
      return info;
    } finally {
      this.writing--;
    }
  }

  async blob(chainId: string): Promise<Readable> {
    const blob = this.blobs.get(chainId);
    if (blob === undefined) throw notFound('no blob is kept');
    return Readable.from([blob]);
  }

  async prepare(parent: string | null, tar: Readable, signal?: AbortSignal): Promise<PreparedLayer> {
    const parts: Buffer[] = [];
    for await (const part of tar) parts.push(part as Buffer);
    const bytes = Buffer.concat(parts);
    signal?.throwIfAborted();
    const diffId = `sha256:${sha256(bytes)}`;
    const layer = { chainId: chainId(parent, diffId), parent, diffId };
    const known = new MemoryLayerStore();
    for (const [id, info] of this.layers) known.layers.set(id, info);
    // A bad tar is found before anything is published.
    await known.write(layer, Readable.from([bytes]), { verify: async () => undefined });
    return {
      ...layer,
      tarSize: bytes.length,
      publish: () =>
        this.write(layer, Readable.from([bytes]), { verify: async () => undefined, ...(signal ? { signal } : {}) }),
      discard: async () => undefined,
    };
  }

  tarSize(chainId: string): number | null {
    const tar = this.tars.get(chainId);
    if (tar === undefined) throw notFound(`no layer ${chainId}`);
    return this.ofEarlierVersion ? null : tar.length;
  }

  /** The tar with a longer end. */
  async newTar(chainId: string): Promise<Readable> {
    return Readable.from([this.tars.get(chainId)!, Buffer.alloc(1024)]);
  }

  async tar(chainId: string): Promise<Readable> {
    const tar = this.tars.get(chainId);
    if (tar === undefined) throw notFound(`no layer ${chainId}`);
    if (this.ofEarlierVersion) throw unsupported(`layer ${chainId} was stored by an earlier version`);
    return Readable.from([tar]);
  }

  async delete(chainId: string): Promise<void> {
    const needed = this.inUse.has(chainId) || this.list().some(({ parent }) => parent === chainId);
    if (needed) throw conflict(`layer ${chainId} is in use`);
    this.layers.delete(chainId);
  }
}

/** A map with an asynchronous interface. */
export class MemoryKeyValueStore implements KeyValueStore {
  readonly values = new Map<string, Buffer>();

  async get(key: string): Promise<Buffer | undefined> {
    return this.values.get(key);
  }

  async put(key: string, value: Buffer): Promise<void> {
    this.values.set(key, Buffer.from(value));
  }

  async delete(key: string): Promise<void> {
    this.values.delete(key);
  }

  async keys(): Promise<string[]> {
    return [...this.values.keys()];
  }
}
