/** One repository on one registry, over HTTP API v2 (OCI distribution-spec "Pull"). */
import { createHash } from 'node:crypto';
import { CaissonError, invalid, unauthorized } from '../../src/common/errors.js';
import { type HttpClient, type HttpResponse, header, readBody } from './http.js';
import { MANIFEST_MEDIA_TYPES } from './media-types.js';
import { isDigest } from './reference.js';
import { Authorizer } from './registry-auth.js';
import type { RegistryEndpoint } from './registry-endpoints.js';
import { RegistryFailure, statusFailure } from './registry-errors.js';
import type { RegistryAuth } from './types.js';

/** distribution-spec "Pulling manifests": registries limit manifests to 4 MiB. */
export const MANIFEST_SIZE_MAX = 4 * 1024 * 1024;
const ERROR_BODY_MAX = 64 * 1024;

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
  readonly #authorizer: Authorizer;

  /** @param repository path on the registry, e.g. `library/busybox`; null for a login */
  constructor(
    private readonly http: HttpClient,
    private readonly endpoint: RegistryEndpoint,
    private readonly repository: string | null,
    auth: RegistryAuth,
  ) {
    const scope = repository === null ? null : `repository:${repository}:pull`;
    this.#authorizer = new Authorizer(http, endpoint, auth, scope);
  }

  /**
   * Finds out whether a registry answers, and what authentication it asks for.
   * @throws RegistryFailure, with `unreachable` if it does not answer
   */
  async ping(signal: AbortSignal): Promise<void> {
    const response = await this.#send('GET', '/v2/', {}, signal, undefined);
    response.body.destroy();
    if (response.status === 401) this.#authorizer.learn(response);
  }

  /** Checks credentials. @throws unauthorized */
  async login(signal: AbortSignal): Promise<void> {
    try {
      const response = await this.#request('GET', '/v2/', {}, signal);
      response.body.destroy();
    } catch (error) {
      if (!(error instanceof RegistryFailure) || error.details.status !== 401) throw error;
      throw unauthorized(`login attempt to ${this.endpoint.url}/v2/ failed with status: 401 Unauthorized`, error);
    }
  }

  /** The digest that a tag has on the registry now, if it tells; does not count against its rate limit. @throws RegistryFailure */
  async headManifest(tagOrDigest: string, signal: AbortSignal): Promise<string | undefined> {
    const response = await this.#request('HEAD', this.#path('manifests', tagOrDigest), manifestHeaders(), signal);
    response.body.destroy();
    const digest = header(response, 'docker-content-digest');
    return digest !== undefined && isDigest(digest) ? digest : undefined;
  }

  /** @throws RegistryFailure; invalid when the content is not what its digest says */
  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest> {
    const response = await this.#request('GET', this.#path('manifests', tagOrDigest), manifestHeaders(), signal);
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
    const response = await this.#request('GET', this.#path('blobs', digest), headers, signal);
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

  #path(kind: 'manifests' | 'blobs', reference: string): string {
    return `/v2/${this.repository}/${kind}/${reference}`;
  }

  /** Sends a request with authentication; a 401 is retried once, as its challenge demands. */
  async #request(
    method: 'GET' | 'HEAD',
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
  ): Promise<HttpResponse> {
    const request = `${method === 'GET' ? 'Get' : 'Head'} "${this.endpoint.url}${path}"`;
    const send = async () => this.#send(method, path, headers, signal, await this.#authorizer.header(request, signal));
    let response = await send();
    if (response.status === 401 && this.#authorizer.learn(response)) {
      response.body.destroy();
      response = await send();
    }
    if (response.status === 200 || response.status === 206) return response;
    const body = await readBody(response, ERROR_BODY_MAX, signal).catch((error) => {
      // Only the message is lost, unless the caller has cancelled.
      if (signal.aborted) throw error;
      return Buffer.alloc(0);
    });
    throw statusFailure(response.status, response.statusText, body.toString('utf8'), header(response, 'retry-after'));
  }

  #send(
    method: 'GET' | 'HEAD',
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal,
    authorization: string | undefined,
  ): Promise<HttpResponse> {
    return this.http.send({
      method,
      url: new URL(this.endpoint.url + path),
      headers: { 'accept-encoding': 'identity', ...headers, ...(authorization ? { authorization } : {}) },
      insecure: this.endpoint.insecure,
      signal,
    });
  }
}

const manifestHeaders = (): Record<string, string> => ({ accept: MANIFEST_MEDIA_TYPES.join(', ') });

/**
 * The first endpoint at which a registry answers.
 * @throws the last one's failure
 */
export async function connect(
  http: HttpClient,
  endpoints: RegistryEndpoint[],
  repository: string | null,
  auth: RegistryAuth,
  signal: AbortSignal,
): Promise<RegistryClient> {
  let failure: unknown = new CaissonError('internal', 'no registry endpoint');
  for (const endpoint of endpoints) {
    const client = new RegistryClient(http, endpoint, repository, auth);
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
