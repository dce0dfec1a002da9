/** One pull: from a reference to a recorded image, reporting progress in Docker's words (moby `distribution/pull_v2.go`). */
import { setTimeout as sleep } from 'node:timers/promises';
import { CaissonError, cancelled, invalid, messageOf, unsupported } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { type HttpClient, readBody } from './http.js';
import { checkConfig, parseConfig } from './image-config.js';
import { chainIdsOf, type ImageStore } from './image-store.js';
import type { LayerFetcher, WantedLayer } from './layer-fetcher.js';
import {
  CONFIG_SIZE_MAX,
  checkImage,
  DEPTH_EXCEEDED,
  type Descriptor,
  LAYERS_MAX,
  type Manifest,
  parseManifest,
  selectManifest,
} from './manifest.js';
import { formatPlatform, type Platform, parsePlatform, platformMatch, platformOf } from './platform.js';
import type { BlobSource, BlobSources } from './push/blob-sources.js';
import type { PulledManifests, RawManifest } from './push/push-manifest.js';
import { familiarString, parseReference, type Reference, repositoryName } from './reference.js';
import { connect, digestLike, type FetchedManifest, type RegistryClient } from './registry-client.js';
import type { RegistryEndpoint, RegistryEndpoints } from './registry-endpoints.js';
import { isRetriable, pullFailure, RegistryFailure } from './registry-errors.js';
import type { Image, ImageConfig, PullOptions } from './types.js';

const log = logger('image');
/** Attempts for manifests and configurations; layers have their own. */
const DOCUMENT_ATTEMPTS = 3;
/** How deep manifest lists may be nested. */
const INDEX_DEPTH = 4;

/** What a pull needs. */
export interface PullContext {
  http: HttpClient;
  endpoints: RegistryEndpoints;
  store: ImageStore;
  fetcher: LayerFetcher;
  sources: BlobSources;
  manifests: PulledManifests;
  retryDelayMs: number;
  /** Keeps layers from being collected while `body` runs. */
  holding<T>(chainIds: string[], body: () => Promise<T>): Promise<T>;
  /** Keeps images from being removed while `body` runs. */
  exclusive<T>(body: () => Promise<T>): Promise<T>;
}

/** An image as its documents describe it. */
interface Described {
  /** Digest of what the reference names: an index or a manifest. */
  digest: string;
  id: string;
  config: ImageConfig;
  rawConfig: Buffer;
  layers: Descriptor[];
  /** The image's own manifest. */
  manifest: RawManifest;
}

/**
 * Pulls a reference that has a tag or a digest. Nothing is reported as progress before the registry has given a manifest:
 * until then a failure is the whole answer.
 * @throws notFound, unauthorized, unavailable, timeout, invalid, unsupported, insufficientResources, cancelled
 */
export async function pullImage(
  context: PullContext,
  reference: Reference,
  options: PullOptions & { signal: AbortSignal },
): Promise<{ image: Image; updated: boolean }> {
  const platform = options.platform ? parsePlatform(options.platform) : undefined;
  const pulled = await fromRegistries(context, reference, options, (endpoints, auth) =>
    new Pull(context, reference, platform, { ...options, auth }).run(endpoints),
  );
  reportStatus(options, reference, pulled.updated);
  reportPlatform(options, reference, pulled.image, platform);
  return pulled;
}

/**
 * Pulls all tags of a repository, in the order of the registry.
 * @param pulled called for each
 * @throws like {@link pullImage}
 */
export async function pullTags(
  context: PullContext,
  repository: Reference,
  options: PullOptions & { signal: AbortSignal },
  pulled: (tagged: Reference, image: Image) => void,
): Promise<void> {
  const { http } = context;
  const { signal } = options;
  const tags = await fromRegistries(context, repository, options, async (endpoints, auth) =>
    (await connect(http, endpoints, repository.path, auth ?? {}, signal)).tags(signal),
  );
  const platform = options.platform ? parsePlatform(options.platform) : undefined;
  let updated = false;
  for (const tag of tags) {
    const tagged = parseReference(`${repositoryName(repository)}:${tag}`);
    const one = await fromRegistries(context, tagged, options, (endpoints, auth) =>
      new Pull(context, tagged, platform, { ...options, auth }).run(endpoints),
    );
    updated ||= one.updated;
    pulled(tagged, one.image);
  }
  reportStatus(options, repository, updated);
}

/** Asks mirrors one after the other, then the registry itself. */
async function fromRegistries<T>(
  context: PullContext,
  reference: Reference,
  { auth, signal }: PullOptions & { signal: AbortSignal },
  from: (endpoints: RegistryEndpoint[], auth: PullOptions['auth']) => Promise<T>,
): Promise<T> {
  const { endpoints } = context;
  const mirrors = endpoints.mirrorsOf(reference.domain);
  let mirrorFailure: unknown;
  try {
    for (const mirror of mirrors) {
      try {
        // Credentials are for Docker Hub, not for whoever mirrors it.
        return await from([mirror], undefined);
      } catch (error) {
        if (signal.aborted) throw error;
        log.warn({ mirror: mirror.url, reason: messageOf(error) }, 'mirror failed, going on to the next registry');
        mirrorFailure = error;
      }
    }
    return await from(endpoints.of(reference.domain), auth);
  } catch (error) {
    if (signal.aborted) throw cancelled('context canceled', error);
    // If Docker Hub cannot or must not be reached, the mirror's failure says more.
    const unreachable = error instanceof RegistryFailure && error.details.unreachable === true;
    const alone = unreachable || !endpoints.allows(reference.domain);
    throw pullFailure(alone && mirrorFailure !== undefined ? mirrorFailure : error, reference);
  }
}

function reportStatus({ progress }: PullOptions, reference: Reference, updated: boolean): void {
  const status = updated ? 'Downloaded newer image' : 'Image is up to date';
  progress({ status: `Status: ${status} for ${familiarString(reference)}` });
}

function reportPlatform(
  { progress }: PullOptions,
  reference: Reference,
  { config }: Image,
  platform: Platform | undefined,
): void {
  const actual = platformOf(config);
  if (platform === undefined || platformMatch(platform, actual) > 0) return;
  progress({
    status: `WARNING: image with reference ${familiarString(reference)} was found but its platform (${formatPlatform(actual)}) does not match the specified platform (${formatPlatform(platform)})`,
  });
}

class Pull {
  readonly #store: ImageStore;
  readonly #signal: AbortSignal;

  constructor(
    private readonly context: PullContext,
    private readonly reference: Reference,
    private readonly platform: Platform | undefined,
    private readonly options: PullOptions & { signal: AbortSignal },
  ) {
    this.#store = context.store;
    this.#signal = options.signal;
  }

  async run(endpoints: RegistryEndpoint[]): Promise<{ image: Image; updated: boolean }> {
    const { context, reference } = this;
    const client = await connect(context.http, endpoints, reference.path, this.options.auth ?? {}, this.#signal);
    const known = await this.#knownImage(client);
    if (known) {
      const pulled = await context.holding(known.image.chainIds, async () => {
        // It was removed in the meantime, so pull it as if it had never been here.
        if (!this.#store.get(known.image.id)) return undefined;
        this.#announce();
        return this.#record({ ...known.image, digest: known.digest });
      });
      if (pulled) return pulled;
    }
    const described = await this.#describe(client);
    const chainIds = chainIdsOf(described.config.rootfs.diff_ids);
    return context.holding(chainIds, async () => {
      if (!this.#store.get(described.id)) await this.#fetchLayers(client, described, chainIds);
      const [pulled] = await Promise.all([this.#record(described), this.#remember(described)]);
      return pulled;
    });
  }

  #announce(): void {
    const { reference } = this;
    this.options.progress({
      status: `Pulling from ${reference.path}`,
      id: reference.digest ? familiarString(reference) : reference.tag,
    });
  }

  /** The stored image that the reference means now, according to the registry. Asking does not count against the registry's rate limit. */
  async #knownImage(client: RegistryClient): Promise<{ image: Image; digest: string } | undefined> {
    const { reference } = this;
    if (this.#store.idOf(reference) === undefined) return undefined;
    const digest = await client.headManifest(reference.digest ?? reference.tag!, this.#signal).catch((error) => {
      if (this.#signal.aborted) throw error;
      // The GET that follows will report what is wrong.
      return undefined;
    });
    if (digest === undefined) return undefined;
    const id = this.#store.idOf({ domain: reference.domain, path: reference.path, digest });
    const image = id === undefined ? undefined : this.#store.get(id);
    if (!image) return undefined;
    if (this.platform && platformMatch(this.platform, platformOf(image.config)) === 0) return undefined;
    return { image, digest };
  }

  /** Gets manifest and configuration. */
  async #describe(client: RegistryClient): Promise<Described> {
    const { reference } = this;
    const name = familiarString(reference);
    const top = await this.#retrying(() => client.manifest(reference.digest ?? reference.tag!, this.#signal));
    let raw = top;
    let manifest = parseManifest(raw, name);
    this.#announce();
    for (let depth = 0; manifest.kind === 'index'; depth++) {
      if (depth === INDEX_DEPTH) throw invalid('manifest lists are nested too deeply');
      raw = await this.#chosen(client, selectManifest(manifest, this.platform));
      manifest = parseManifest(raw, name);
    }
    checkImage(manifest);
    const described = await this.#configuration(client, manifest);
    return { digest: top.digest, ...described, layers: manifest.layers, manifest: raw };
  }

  /** The manifest that an index refers to. */
  async #chosen(client: RegistryClient, { digest, size }: Descriptor): Promise<FetchedManifest> {
    const fetched = await this.#retrying(() => client.manifest(digest, this.#signal));
    if (fetched.body.length !== size)
      throw invalid(`manifest ${digest} has ${fetched.body.length} bytes, the manifest list says ${size}`);
    return fetched;
  }

  async #configuration(client: RegistryClient, manifest: Manifest & { kind: 'image' }) {
    const { digest, size } = manifest.config;
    if (size > CONFIG_SIZE_MAX) throw invalid(`the image configuration of ${size} bytes is too large`);
    const rawConfig = await this.#retrying(async () => {
      const { response } = await client.blob(digest, 0, this.#signal);
      return readBody(response, size, this.#signal);
    });
    if (digestLike(digest, rawConfig) !== digest)
      throw invalid(`error pulling image configuration: image config verification failed for digest ${digest}`);
    const config = parseConfig(rawConfig);
    if (config.rootfs.diff_ids.length !== manifest.layers.length) {
      throw invalid("layers from manifest don't match image configuration");
    }
    checkConfig(config);
    const offered = platformOf(config);
    if (offered.os !== 'linux') {
      throw unsupported(
        `image operating system "${config.os}" cannot be used on this platform: operating system is not supported`,
      );
    }
    return { id: digestLike('sha256:', rawConfig), rawConfig, config };
  }

  async #fetchLayers(client: RegistryClient, described: Described, chainIds: string[]): Promise<void> {
    const wanted = described.layers.map(
      (descriptor, index): WantedLayer => ({
        descriptor,
        chainId: chainIds[index]!,
        parent: index === 0 ? null : chainIds[index - 1]!,
        diffId: described.config.rootfs.diff_ids[index]!,
      }),
    );
    // Docker fails in the same way, but only notices at that layer, when the pull has begun.
    if (wanted.length > LAYERS_MAX)
      throw new CaissonError('unavailable', `failed to register layer: ${DEPTH_EXCEEDED}`);
    const { progress } = this.options;
    await this.context.fetcher.fetch(wanted, { client, signal: this.#signal, progress });
  }

  /** Records the image under its reference and its digest: the last step, which makes the pull take effect. */
  async #record(described: Omit<Described, 'layers' | 'manifest'>): Promise<{ image: Image; updated: boolean }> {
    const { reference } = this;
    const { id, digest } = described;
    this.#signal.throwIfAborted();
    const updated = await this.context.exclusive(async () => {
      const before = this.#store.idOf(reference);
      const byDigest = { domain: reference.domain, path: reference.path, digest };
      await this.#store.add({ id, rawConfig: described.rawConfig, config: described.config }, [byDigest, reference]);
      return before !== id;
    });
    this.options.progress({ status: `Digest: ${digest}` });
    return { image: this.#store.get(id)!, updated };
  }

  /** Keeps what a push can save work with. */
  async #remember({ id, config, layers, manifest }: Described): Promise<void> {
    const { sources, manifests } = this.context;
    const { domain: registry, path: repository } = this.reference;
    const found = layers.map(({ digest, size, mediaType }, index): [string, BlobSource] => [
      config.rootfs.diff_ids[index]!,
      { registry, repository, digest, size, mediaType },
    ]);
    const needed = this.#store.usedDiffIds();
    for (const diffId of config.rootfs.diff_ids) needed.add(diffId);
    await Promise.all([sources.add(found, needed), manifests.keep(id, manifest)]).catch((error: unknown) =>
      log.warn({ image: id, reason: messageOf(error) }, 'a push of the image will not know where it came from'),
    );
  }

  async #retrying<T>(body: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await body();
      } catch (error) {
        if (this.#signal.aborted || attempt === DOCUMENT_ATTEMPTS || !isRetriable(error)) throw error;
        log.warn({ attempt, reason: messageOf(error) }, 'request to the registry failed, retrying');
        await sleep(attempt * this.context.retryDelayMs, undefined, { signal: this.#signal });
      }
    }
  }
}
