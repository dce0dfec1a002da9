/**
 * Brings layers from a registry into the layer store: downloads in parallel, writes in order, and handles each blob and each layer only
 * once, however many pulls want it.
 */
import { randomBytes } from 'node:crypto';
import { setMaxListeners } from 'node:events';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { LayerStore, StorageReserve } from '../../port-layer/index.js';
import { cancelled, messageOf } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { roomyHeap } from '../../src/common/roomy-heap.js';
import { Semaphore } from '../../src/common/semaphore.js';
import { downloadBlob } from './blob-download.js';
import { type LayerReader, readLayer } from './layer-reader.js';
import type { Descriptor } from './manifest.js';
import { layerProgress, layerStatus, ProgressMeter } from './progress.js';
import type { RegistryClient } from './registry-client.js';
import { SharedTasks } from './shared-tasks.js';
import type { ProgressMessage } from './types.js';

const log = logger('image');
/** Like dockerd's `max-concurrent-downloads`, for the whole engine. */
const DOWNLOADS_AT_ONCE = 3;

/** A wanted layer: its blob and its place in the chain. */
export interface WantedLayer {
  readonly descriptor: Descriptor;
  readonly chainId: string;
  readonly parent: string | null;
  readonly diffId: string;
}

export interface FetchOptions {
  client: RegistryClient;
  signal: AbortSignal;
  progress(message: ProgressMessage): void;
}

/** The layer's disk is complete, so the next layer can be written on it. */
const APPLIED = Symbol('applied');

interface Spooled {
  readonly path: string;
}

/** See the file's head. Spool files live in `spoolDir` while a pull needs them. */
export class LayerFetcher {
  readonly #blobs = new SharedTasks<Spooled, ProgressMessage>((blob) => rm(blob.path, { force: true }));
  readonly #writes = new SharedTasks<void, ProgressMessage | typeof APPLIED>();
  readonly #slots = new Semaphore(DOWNLOADS_AT_ONCE);

  constructor(
    private readonly layers: LayerStore,
    private readonly spoolDir: string,
    private readonly retryDelayMs: number,
    private readonly room: StorageReserve | null = null,
    private readonly keepBlobs = false,
  ) {}

  /**
   * Makes sure that all of `wanted` (lowest first) are in the store.
   * @throws like downloadBlob and LayerStore.write; layers already written stay
   */
  async fetch(wanted: WantedLayer[], options: FetchOptions): Promise<void> {
    // When one layer fails, the other downloads of this pull end too.
    const abort = new AbortController();
    const signal = AbortSignal.any([options.signal, abort.signal]);
    // Every layer adds a listener.
    setMaxListeners(0, signal);
    const missing: WantedLayer[] = [];
    for (const layer of wanted) {
      const exists = this.layers.has(layer.chainId);
      options.progress(layerStatus(layer.descriptor.digest, exists ? 'Already exists' : 'Pulling fs layer'));
      if (!exists) missing.push(layer);
    }
    // Unpacked layers take more space, which is checked while unpacking.
    const bytes = missing.reduce((sum, { descriptor }) => sum + descriptor.size, 0);
    if (missing.length > 0) await this.room?.check(bytes);
    if (missing.length > 0) this.room?.checkQuota(bytes);
    if (missing.length > 0) await this.room?.checkStorageQuota(bytes);
    const context = { ...options, signal };
    const done = roomyHeap();
    // A failed pull returns only after the writes that it aborted have closed their files.
    const writes: Promise<void>[] = [];
    const downloads = missing.map((layer) => this.#download(layer.descriptor, context, options.progress));
    try {
      const failed = new Promise<never>((_, reject) => {
        for (const download of downloads) download.catch(reject);
        abort.signal.addEventListener('abort', () => reject(abort.signal.reason), { once: true });
      });
      failed.catch(() => undefined);
      for (const [index, layer] of missing.entries()) {
        // While one layer is uploaded to the datastore the next one is written, but not a third.
        await Promise.race([Promise.all([downloads[index], writes[index - 2]]), failed]);
        await new Promise<void>((applied, reject) => {
          const write = this.#write(layer, context, options.progress, applied);
          writes.push(write);
          write.then(applied, (error: unknown) => {
            reject(error);
            // The first error is the one to report.
            abort.abort(error);
          });
          failed.catch(reject);
        });
      }
      await Promise.race([Promise.all(writes), failed]);
    } catch (error) {
      abort.abort(cancelled('context canceled'));
      throw options.signal.aborted ? cancelled('context canceled', error) : error;
    } finally {
      const held = await Promise.allSettled(downloads);
      await Promise.all(held.map((lease) => (lease.status === 'fulfilled' ? lease.value.release() : undefined)));
      await Promise.allSettled(writes);
      done();
    }
  }

  #download(descriptor: Descriptor, options: FetchOptions, listener: (message: ProgressMessage) => void) {
    return this.#blobs.join(
      descriptor.digest,
      async ({ signal, emit }) => {
        if (!this.#slots.available) emit(layerStatus(descriptor.digest, 'Waiting'));
        const name = `${shortId(descriptor.digest)}-${randomBytes(6).toString('hex')}.blob`;
        const path = join(this.spoolDir, name);
        const { client } = options;
        const { retryDelayMs } = this;
        const grow = this.room?.growing(false);
        await this.#slots.run(
          () => downloadBlob({ client, descriptor, path, signal, emit, retryDelayMs, grow }),
          signal,
        );
        return { path };
      },
      // A new function each time, because an image may have the same layer twice.
      (message) => listener(message),
      options.signal,
    );
  }

  async #write(
    layer: WantedLayer,
    options: FetchOptions,
    listener: (message: ProgressMessage) => void,
    applied: () => void,
  ): Promise<void> {
    const lease = await this.#writes.join(
      layer.chainId,
      async ({ signal, emit }) => {
        // Another pull may have finished it since we looked.
        if (!this.layers.has(layer.chainId)) {
          const blob = await this.#download(layer.descriptor, { ...options, signal }, () => {});
          try {
            await this.#extract(layer, blob.value.path, signal, emit);
          } finally {
            await blob.release();
          }
        }
        emit(layerStatus(layer.descriptor.digest, 'Pull complete'));
      },
      (event) => (event === APPLIED ? applied() : listener(event)),
      options.signal,
    );
    await lease.release();
  }

  async #extract(
    layer: WantedLayer,
    path: string,
    signal: AbortSignal,
    emit: (message: ProgressMessage | typeof APPLIED) => void,
  ): Promise<void> {
    const { descriptor, diffId } = layer;
    const meter = new ProgressMeter(descriptor.size, (current) =>
      emit(layerProgress(descriptor.digest, 'Extracting', current, descriptor.size)),
    );
    let tar: LayerReader | undefined;
    try {
      tar = await readLayer(path, descriptor.size, (current) => meter.update(current));
      const started = performance.now();
      const { chainId, parent } = layer;
      const info = await this.layers.write({ chainId, parent, diffId }, tar.tar, {
        verify: () => tar!.verify(diffId),
        ...(this.keepBlobs ? { blob: { path, digest: descriptor.digest, size: descriptor.size } } : {}),
        applied: () => emit(APPLIED),
        signal,
      });
      const ms = Math.round(performance.now() - started);
      log.info(
        { layer: shortId(chainId), digest: descriptor.digest, compressed: descriptor.size, size: info.size, ms },
        'layer written',
      );
    } catch (error) {
      log.warn({ digest: descriptor.digest, reason: messageOf(error) }, 'layer not written');
      throw signal.aborted ? cancelled('context canceled', error) : error;
    } finally {
      await tar?.close();
    }
  }
}
