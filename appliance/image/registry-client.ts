/** One repository on one registry, over HTTP API v2 (OCI distribution-spec "Pull"). */
import { createHash } from 'node:crypto';
import { CaissonError, invalid, unauthorized } from '../../src/common/errors.js';
import { type HttpClient, type HttpResponse, header, readBody } from './http.js';
import { MANIFEST_MEDIA_TYPES } from './media-types.js';
import { isDigest } from './reference.js';
import type { RegistryEndpoint } from './registry-endpoints.js';
import { RegistryFailure } from './registry-errors.js';
import { RegistrySession } from './registry-session.js';
import type { RegistryAuth } from './types.js';

/** distribution-spec "Pulling manifests": registries limit manifests to 4 MiB. */
export const MANIFEST_SIZE_MAX = 4 * 1024 * 1024;
/** Names asked for at a time, and how often. */
const PAGE = 1000;
const MAX_PAGES = 100;

/** A manifest, byte for byte, with its type and digest. */
export interface FetchedManifest {
  readonly digest: string;
  /** Of the `Content-Type` header; '' when the registry sent none. */
  readonly mediaType: string;
  readonly body: Buffer;
}

/** The digest of `data`, by the same algorithm as `like`. */
export function digestLike(like: string, data: Uint8Array): string {
  const algorithm = like.slice(0, like.indexOf(':'));
  return `${algorithm}:${createHash(algorithm).update(data).digest('hex')}`;
}

/** A session with a repository. Holds no connection of its own. */
export class RegistryClient {
  readonly #session: RegistrySession;

  /** @param repository path on the registry, e.g. `library/busybox`; null for a login */
  constructor(
    http: HttpClient,
    private readonly endpoint: RegistryEndpoint,
    private readonly repository: string | null,
    auth: RegistryAuth,
  ) {
    const scopes = repository === null ? null : [`repository:${repository}:pull`];
    this.#session = new RegistrySession(http, endpoint, auth, scopes);
  }

  /** See {@link RegistrySession.ping}. */
  ping(signal: AbortSignal): Promise<void> {
    return this.#session.ping(signal);
  }

  /** Checks credentials. @throws unauthorized */
  async login(signal: AbortSignal): Promise<void> {
    try {
      const response = await this.#session.request('GET', '/v2/', { signal });
      response.body.destroy();
    } catch (error) {
      if (!(error instanceof RegistryFailure) || error.details.status !== 401) throw error;
      throw unauthorized(`login attempt to ${this.endpoint.url}/v2/ failed with status: 401 Unauthorized`, error);
    }
  }

  /** The digest that a tag has on the registry now, if it tells; does not count against its rate limit. @throws RegistryFailure */
  async headManifest(tagOrDigest: string, signal: AbortSignal): Promise<string | undefined> {
    const response = await this.#session.request('HEAD', this.#path('manifests', tagOrDigest), {
      headers: manifestHeaders(),
      signal,
    });
    response.body.destroy();
    const digest = header(response, 'docker-content-digest');
    return digest !== undefined && isDigest(digest) ? digest : undefined;
  }

  /** @throws RegistryFailure; invalid when the content is not what its digest says */
  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest> {
    const response = await this.#session.request('GET', this.#path('manifests', tagOrDigest), {
      headers: manifestHeaders(),
      signal,
    });
    const body = await readBody(response, MANIFEST_SIZE_MAX, signal);
    const mediaType = (header(response, 'content-type') ?? '').split(';')[0]!.trim();
    const said = header(response, 'docker-content-digest');
    if (said !== undefined && isDigest(said) && digestLike(said, body) !== said) {
      throw invalid(`manifest verification failed for digest ${said}`);
    }
    if (isDigest(tagOrDigest)) {
      if (digestLike(tagOrDigest, body) !== tagOrDigest) {
        throw invalid(`manifest verification failed for digest ${tagOrDigest}`);
      }
      return { digest: tagOrDigest, mediaType, body };
    }
    return { digest: digestLike('sha256:', body), mediaType, body };
  }

  /**
   * Begins to fetch a blob; the content is not verified here.
   * @param offset first byte wanted; the returned `offset` is where the content really begins
   * @throws RegistryFailure
   */
  async blob(digest: string, offset: number, signal: AbortSignal): Promise<{ offset: number; response: HttpResponse }> {
    const headers: Record<string, string> = offset > 0 ? { range: `bytes=${offset}-` } : {};
    const response = await this.#session.request('GET', this.#path('blobs', digest), {
      headers,
      signal,
      success: [200, 206],
    });
    if (response.status !== 206) return { offset: 0, response };
    const range = /^bytes (\d+)-/.exec(header(response, 'content-range') ?? '');
    if (Number(range?.[1]) !== offset) {
      response.body.destroy();
      throw new RegistryFailure('unavailable', 'the registry answered with another range than asked for', {
        retriable: false,
      });
    }
    return { offset, response };
  }

  /** The repository's tags, in the registry's order. @throws RegistryFailure */
  tags(signal: AbortSignal): Promise<string[]> {
    return this.#names(`/v2/${this.repository}/tags/list`, 'tags', signal);
  }

  /** The registry's repositories, in its order. @throws RegistryFailure, also if the registry does not list them */
  catalog(signal: AbortSignal): Promise<string[]> {
    return this.#names('/v2/_catalog', 'repositories', signal);
  }

  /** A list that comes in pages (distribution-spec "Listing Tags"). */
  async #names(path: string, member: string, signal: AbortSignal): Promise<string[]> {
    const names: string[] = [];
    let where: string | URL = `${path}?n=${PAGE}`;
    for (let page = 0; page < MAX_PAGES; page++) {
      const response = await this.#session.request('GET', where, { signal });
      const body = await readBody(response, MANIFEST_SIZE_MAX, signal);
      names.push(...listIn(body, member));
      const next = /<([^>]+)>\s*;\s*rel="?next"?/i.exec(header(response, 'link') ?? '')?.[1];
      if (next === undefined || !URL.canParse(next, response.url.href)) break;
      const url = new URL(next, response.url);
      // Another server than the one that was asked has no say in what this one has.
      if (url.origin !== response.url.origin) break;
      where = url;
    }
    return names;
  }

  #path(kind: 'manifests' | 'blobs', reference: string): string {
    return `/v2/${this.repository}/${kind}/${reference}`;
  }
}

/** The strings of a member that is a list; a repository without tags has null there. @throws RegistryFailure */
function listIn(body: Buffer, member: string): string[] {
  try {
    const list = (JSON.parse(body.toString('utf8')) as Record<string, unknown> | null)?.[member] ?? [];
    if (Array.isArray(list)) return list.filter((name): name is string => typeof name === 'string');
  } catch {
    // Said below.
  }
  throw new RegistryFailure('unavailable', `the registry did not answer with a list of ${member}`, {
    retriable: false,
  });
}

const manifestHeaders = (): Record<string, string> => ({ accept: MANIFEST_MEDIA_TYPES.join(', ') });

/** A client of the first endpoint at which a registry answers. @throws the last one's failure */
export function connect(
  http: HttpClient,
  endpoints: RegistryEndpoint[],
  repository: string | null,
  auth: RegistryAuth,
  signal: AbortSignal,
): Promise<RegistryClient> {
  return firstAnswering(endpoints, (endpoint) => new RegistryClient(http, endpoint, repository, auth), signal);
}

/** What `make` gives for the first endpoint at which a registry answers. @throws the last one's failure */
export async function firstAnswering<T extends { ping(signal: AbortSignal): Promise<void> }>(
  endpoints: RegistryEndpoint[],
  make: (endpoint: RegistryEndpoint) => T,
  signal: AbortSignal,
): Promise<T> {
  let failure: unknown = new CaissonError('internal', 'no registry endpoint');
  for (const endpoint of endpoints) {
    const client = make(endpoint);
    try {
      await client.ping(signal);
      return client;
    } catch (error) {
      if (!(error instanceof RegistryFailure && error.details.unreachable)) throw error;
      failure = error;
    }
  }
  throw failure;
}
