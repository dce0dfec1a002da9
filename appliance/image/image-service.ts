/** The image service: one per endpoint. It owns images, their references, and the layers that nothing needs any more. */
import { mkdir, rm } from 'node:fs/promises';
import { Readable } from 'node:stream';
import type { KeyValueStore, LayerStore, StorageReserve } from '../../port-layer/index.js';
import { CaissonError, invalid, isKind, messageOf } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import type { ProxySettings } from '../../src/common/proxies.js';
import { Semaphore } from '../../src/common/semaphore.js';
import type { AddressClass } from './address-class.js';
import { importImage } from './archive/image-import.js';
import { loadImages } from './archive/image-load.js';
import { archiveOf, imagesNamed } from './archive/image-save.js';
import { inspectDistribution } from './distribution.js';
import { DEFAULT_TIMEOUTS, HttpClient, type HttpTimeouts, header } from './http.js';
import { commitImage } from './image-commit.js';
import { type PullContext, pullImage, pullTags } from './image-puller.js';
import { type RemovalEffects, removeImage } from './image-removal.js';
import { searchImages } from './image-search.js';
import { ImageStore } from './image-store.js';
import { LayerFetcher } from './layer-fetcher.js';
import { LeavingImages } from './leaving-image.js';
import type { Platform } from './platform.js';
import { BlobSources } from './push/blob-sources.js';
import type { PushCompression } from './push/compress-layer.js';
import { pushImages } from './push/image-pusher.js';
import { PulledManifests } from './push/push-manifest.js';
import {
  familiarName,
  familiarString,
  parseAnyReference,
  parseReference,
  type Reference,
  withDefaultTag,
} from './reference.js';
import { connect } from './registry-client.js';
import { isDockerHub, type RegistryConfig, RegistryEndpoints } from './registry-endpoints.js';
import type {
  CommitOptions,
  DistributionInfo,
  Image,
  ImageDeletion,
  ImageEvent,
  ImageService,
  ImportOptions,
  LoadOptions,
  PullOptions,
  PushOptions,
  RegistryAuth,
  SearchResult,
} from './types.js';
import type { ImageWork } from './work.js';

const log = logger('image');
const DEFAULT_RETRY_DELAY_MS = 1000;
const LOGIN_TIMEOUT_MS = 60_000;

export interface ImageServiceOptions {
  layers: LayerStore;
  kv: KeyValueStore;
  registry: RegistryConfig;
  /** Directory for unfinished downloads. The service owns it and empties it. */
  spoolDir: string;
  /** Called before anything is written. */
  room?: StorageReserve;
  timeouts?: Partial<HttpTimeouts>;
  /** By which registries are reached. */
  proxies?: ProxySettings;
  /** For tests. */
  classifyAddress?: (address: string) => AddressClass;
  /** Milliseconds before the first retry of a request; grows with each. Default 1000. */
  retryDelayMs?: number;
}

/** An {@link ImageService} that holds connections and has to be closed. */
export type OpenImageService = ImageService & { close(): Promise<void> };

/**
 * Opens the image service: reads its records, and clears what an interrupted pull left behind.
 * @throws invalid for a bad registry configuration; whatever the stores throw
 */
export async function openImageService(options: ImageServiceOptions): Promise<OpenImageService> {
  const endpoints = new RegistryEndpoints(options.registry);
  await rm(options.spoolDir, { recursive: true, force: true });
  await mkdir(options.spoolDir, { recursive: true, mode: 0o700 });
  const { kv, layers } = options;
  const [store, sources] = await Promise.all([ImageStore.open(kv, layers), BlobSources.open(kv)]);
  const service = new Service(options, endpoints, store, sources);
  await service.collectGarbage();
  await store.removeLeftovers();
  return service;
}

class Service implements OpenImageService {
  readonly #http: HttpClient;
  readonly #layers: LayerStore;
  readonly #fetcher: LayerFetcher;
  readonly #manifests: PulledManifests;
  readonly #compression: PushCompression;
  readonly #retryDelayMs: number;
  readonly #spoolDir: string;
  readonly #room: StorageReserve | undefined;
  /** Held while records change or layers are deleted. */
  readonly #changes = new Semaphore(1);
  /** Chain ids that running pulls rely on. */
  readonly #held = new Map<string, number>();
  readonly #listeners = new Set<(event: ImageEvent) => void>();
  readonly #closing = new AbortController();

  constructor(
    options: ImageServiceOptions,
    private readonly endpoints: RegistryEndpoints,
    private readonly store: ImageStore,
    private readonly sources: BlobSources,
  ) {
    this.#manifests = new PulledManifests(options.kv);
    this.#http = new HttpClient(
      options.registry.certificateAuthorities,
      { ...DEFAULT_TIMEOUTS, ...options.timeouts },
      (host) => endpoints.isConfigured(host),
      options.classifyAddress,
      options.proxies,
    );
    this.#compression = options.registry.compression ?? 'gzip';
    this.#layers = options.layers;
    this.#spoolDir = options.spoolDir;
    this.#room = options.room;
    this.#retryDelayMs = options.retryDelayMs ?? DEFAULT_RETRY_DELAY_MS;
    this.#fetcher = new LayerFetcher(
      options.layers,
      options.spoolDir,
      this.#retryDelayMs,
      options.room,
      options.registry.keepBlobs,
    );
  }

  list(): Image[] {
    return this.store.list();
  }

  resolve(reference: string): Image {
    return this.store.resolve(reference);
  }

  async pull(text: string, options: PullOptions): Promise<Image> {
    const reference = withDefaultTag(parseReference(text));
    if (familiarName(reference) === 'scratch') throw invalid("'scratch' is a reserved name");
    const signal = this.#until(options.signal);
    const { image } = await this.#pulled(() => pullImage(this.#pulling(), reference, { ...options, signal }));
    this.#emit('pull', familiarString(reference), familiarName(reference), image);
    return image;
  }

  async pullAll(repository: string, options: PullOptions): Promise<void> {
    const reference = parseReference(repository);
    if (familiarName(reference) === 'scratch') throw invalid("'scratch' is a reserved name");
    const signal = this.#until(options.signal);
    const pulled = (tagged: Reference, image: Image): void =>
      this.#emit('pull', familiarString(tagged), familiarName(tagged), image);
    await this.#pulled(() => pullTags(this.#pulling(), reference, { ...options, signal }, pulled));
  }

  /** Layers of a pull that failed stay for the next attempt, except where there is no room for them. */
  #pulled<T>(pull: () => Promise<T>): Promise<T> {
    return pull().catch(async (error: unknown) => {
      if (isKind(error, 'insufficientResources')) await this.#clear();
      throw error;
    });
  }

  #pulling(): PullContext {
    return {
      http: this.#http,
      endpoints: this.endpoints,
      store: this.store,
      fetcher: this.#fetcher,
      sources: this.sources,
      manifests: this.#manifests,
      retryDelayMs: this.#retryDelayMs,
      holding: (chainIds, body) => this.#holding(chainIds, body),
      exclusive: (body) => this.#changes.run(body),
    };
  }

  search(term: string, options: { limit: number; auth?: RegistryAuth; signal?: AbortSignal }): Promise<SearchResult[]> {
    const { limit, auth = {} } = options;
    return searchImages(this.#http, this.endpoints, { term, limit, auth, signal: this.#until(options.signal) });
  }

  async distribution(text: string, options: { auth?: RegistryAuth; signal?: AbortSignal }): Promise<DistributionInfo> {
    const any = parseAnyReference(text);
    if (any.kind === 'id') throw invalid('no manifest found for full image ID');
    const reference = withDefaultTag(any.reference);
    const signal = this.#until(options.signal);
    return inspectDistribution(this.#http, this.endpoints, reference, options.auth ?? {}, signal);
  }

  async push(text: string, options: PushOptions): Promise<void> {
    const reference = parseReference(text);
    const context = {
      http: this.#http,
      endpoints: this.endpoints,
      work: this.#work(),
      sources: this.sources,
      manifests: this.#manifests,
      compression: this.#compression,
      retryDelayMs: this.#retryDelayMs,
    };
    await pushImages(context, reference, { ...options, signal: this.#until(options.signal) });
    const id = this.store.idOf(withDefaultTag(reference));
    const image = id === undefined ? undefined : this.store.get(id);
    this.#emit('push', familiarString(reference), familiarName(reference), image);
  }

  async tag(source: string, target: string): Promise<void> {
    const parsed = parseReference(target);
    if (parsed.digest) throw invalid('refusing to create a tag with a digest reference');
    const reference = withDefaultTag(parsed);
    if (/^(sha256|sha384|sha512)$/.test(familiarName(reference))) {
      throw invalid('refusing to create an ambiguous tag using digest algorithm as name');
    }
    await this.#changes.run(async () => {
      const image = this.store.resolve(source);
      await this.store.tag(reference, image.id);
      this.#emit('tag', image.id, familiarString(reference), image);
    });
  }

  async commit(options: CommitOptions): Promise<Image> {
    const signal = this.#until(options.signal);
    const image = await commitImage(this.#work(), { ...options, signal }).catch(async (error: unknown) => {
      await this.#clear();
      throw error;
    });
    this.#emit('create', image.id, image.id, image);
    if (options.reference !== null) this.#emit('tag', image.id, familiarString(options.reference), image);
    return image;
  }

  #work(): ImageWork {
    return {
      store: this.store,
      layers: this.#layers,
      spoolDir: this.#spoolDir,
      room: this.#room,
      holding: (chainIds, body) => this.#holding(chainIds, body),
      exclusive: (body) => this.#changes.run(body),
    };
  }

  async load(tar: Readable, options: LoadOptions): Promise<void> {
    const signal = this.#until(options.signal);
    try {
      await loadImages(this.#work(), tar, { ...options, signal }, (image) =>
        this.#emit('load', image.id, image.id, image),
      );
    } catch (error) {
      await this.#clear();
      throw error;
    }
  }

  /** After a failure: removes the layers of an image that was not made. */
  async #clear(): Promise<void> {
    await this.collectGarbage().catch((error: unknown) =>
      log.warn({ reason: messageOf(error) }, 'layers of an image that failed stay until the next start'),
    );
  }

  save(names: string[], options: { platform?: Platform; signal?: AbortSignal }): Readable {
    const saved = imagesNamed(this.store, names, options.platform);
    const chainIds = saved.flatMap(({ image }) => image.chainIds);
    const signal = this.#until(options.signal);
    const leaving = new LeavingImages(this.#work(), signal);
    const hold = () => this.#hold(chainIds);
    async function* held(): AsyncGenerator<Buffer> {
      const release = await hold();
      try {
        const images = [];
        for (const one of saved) images.push({ ...one, image: await leaving.of(one.image, newDigest(one.image)) });
        yield* archiveOf(images, leaving, signal);
      } finally {
        await leaving.close();
        release();
      }
    }
    for (const { image } of saved) this.#emit('save', image.id, image.id, image);
    return Readable.from(held(), { objectMode: false, highWaterMark: 1 << 20 });
  }

  async import(tar: Readable, options: ImportOptions): Promise<Image> {
    const signal = this.#until(options.signal);
    const image = await importImage(this.#work(), tar, { ...options, signal }).catch(async (error: unknown) => {
      await this.#clear();
      throw error;
    });
    if (options.reference !== null) this.#emit('tag', image.id, familiarString(options.reference), image);
    this.#emit('import', image.id, image.id, image);
    return image;
  }

  async download(url: URL, signal: AbortSignal): Promise<{ body: Readable; size: number }> {
    const until = this.#until(signal);
    const response = await this.#http.send({ method: 'GET', url, headers: {}, insecure: false, signal: until });
    if (response.status >= 400) {
      response.body.destroy();
      throw new CaissonError('unavailable', `Got HTTP status code >= 400: ${response.status} ${response.statusText}`);
    }
    return { body: response.body, size: Number(header(response, 'content-length') ?? 0) };
  }

  /** Aborts when the caller's signal does, or when the service is closed. */
  #until(signal: AbortSignal | undefined): AbortSignal {
    return signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
  }

  remove(
    reference: string,
    options: { force: boolean; noPrune: boolean; usedBy(imageId: string): { id: string; running: boolean }[] },
  ): Promise<ImageDeletion[]> {
    return this.#changes.run(async () => {
      const effects: RemovalEffects = {
        untagged: (image) => this.#emit('untag', image.id, image.id, image),
        deleted: (image) => {
          const { id } = image;
          // Docker has forgotten its labels by then.
          this.#emit('delete', id, id, undefined);
          void this.#manifests.forget(id).catch(() => undefined);
        },
        releaseLayers: (chainIds) => this.#releaseLayers(chainIds),
      };
      const records = await removeImage(this.store, reference, options, effects);
      if (records.some((record) => 'Deleted' in record)) await this.#collect();
      return records;
    });
  }

  async login(auth: RegistryAuth): Promise<string> {
    const registry = registryOfLogin(auth.serveraddress ?? '');
    const endpoints = this.endpoints.of(registry);
    const signal = AbortSignal.any([AbortSignal.timeout(LOGIN_TIMEOUT_MS), this.#closing.signal]);
    const client = await connect(this.#http, endpoints, null, auth, signal);
    await client.login(signal);
    return 'Login Succeeded';
  }

  onEvent(listener: (event: ImageEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Aborts running pulls. */
  async close(): Promise<void> {
    this.#closing.abort();
    await this.#http.close();
  }

  /** Deletes layers that no image or container needs, left over from interrupted pulls and removals. */
  collectGarbage(): Promise<void> {
    return this.#changes.run(() => this.#collect());
  }

  async #collect(): Promise<void> {
    await this.store.settle();
    const used = this.store.usedChainIds();
    const depth = (chain: string): number => {
      const parent = this.#layers.get(chain)?.parent;
      return parent ? 1 + depth(parent) : 0;
    };
    const unused = this.#layers
      .list()
      .map(({ chainId }) => chainId)
      .filter((chain) => !used.has(chain));
    // Children first: a layer can only be deleted after the layers on top of it.
    const ordered = unused.map((chain) => ({ chain, depth: depth(chain) })).sort((a, b) => b.depth - a.depth);
    for (const { chain } of ordered) {
      if (await this.#deleteLayer(chain)) log.info({ layer: shortId(chain) }, 'unused layer deleted');
    }
  }

  async #releaseLayers(chainIds: string[]): Promise<string[]> {
    await this.store.settle();
    const used = this.store.usedChainIds();
    const released: string[] = [];
    for (const chain of chainIds.toReversed()) {
      // If another image needs a layer, it also needs everything below it.
      if (used.has(chain) || !(await this.#deleteLayer(chain))) break;
      released.push(chain);
    }
    return released;
  }

  /** False if a pull or a container needs it; then a later collection deletes it. */
  async #deleteLayer(chain: string): Promise<boolean> {
    if (this.#held.has(chain)) return false;
    try {
      await this.#layers.delete(chain);
      return true;
    } catch (error) {
      if (!isKind(error, 'conflict')) log.warn({ layer: chain, reason: messageOf(error) }, 'layer not deleted');
      return false;
    }
  }

  async #holding<T>(chainIds: string[], body: () => Promise<T>): Promise<T> {
    const release = await this.#hold(chainIds);
    try {
      return await body();
    } finally {
      release();
    }
  }

  /** Keeps layers from being collected until the returned function is called. */
  async #hold(chainIds: string[]): Promise<() => void> {
    // Under the lock, a removal in progress has either not looked yet, or has finished deleting.
    await this.#changes.run(async () => {
      for (const chain of chainIds) this.#held.set(chain, (this.#held.get(chain) ?? 0) + 1);
    });
    return () => {
      for (const chain of chainIds) {
        const count = this.#held.get(chain)! - 1;
        if (count === 0) this.#held.delete(chain);
        else this.#held.set(chain, count);
      }
    };
  }

  #emit(action: ImageEvent['action'], id: string, name: string, image: Image | undefined): void {
    const event = { action, id, name, labels: image?.config.config.Labels ?? {} };
    for (const listener of this.#listeners) listener(event);
  }
}

/** An archive has no place to say it. */
const newDigest =
  ({ id }: Image) =>
  (layer: string, now: string): void =>
    log.warn({ image: id, layer, now }, 'a layer that an earlier version stored is saved with a new digest');

/** The registry that a login refers to: the CLI gives `https://index.docker.io/v1/`, a host, or a URL. */
function registryOfLogin(address: string): string {
  const host = address.replace(/^https?:\/\//, '').replace(/\/.*$/, '');
  if (host === '' || isDockerHub(host)) return 'docker.io';
  if (!/^[A-Za-z0-9._:[\]-]+$/.test(host)) throw invalid(`invalid registry address "${address}"`);
  return host;
}
