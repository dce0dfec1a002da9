/** Puts blobs and manifests into one repository (OCI distribution-spec "Push"). */
import { createReadStream } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { CaissonError } from '../../../src/common/errors.js';
import { type HttpClient, type HttpResponse, header } from '../http.js';
import type { RegistryEndpoint } from '../registry-endpoints.js';
import { isRetriable, RegistryFailure } from '../registry-errors.js';
import { RegistrySession } from '../registry-session.js';
import type { RegistryAuth } from '../types.js';

/** A blob that is sent in one request, without a session for it. */
const SMALL = 1 << 20;
const ATTEMPTS = 5;

/** A blob in a local file. */
export interface LocalBlob {
  path: string;
  digest: string;
  /** Bytes. */
  size: number;
}

export interface WriterOptions {
  http: HttpClient;
  endpoint: RegistryEndpoint;
  /** Path on the registry, e.g. `library/busybox`. */
  repository: string;
  auth: RegistryAuth;
  /** Repositories that blobs may be mounted from. */
  mountFrom: string[];
  retryDelayMs: number;
}

/** See the file's head. Holds no connection of its own. */
export class RegistryWriter {
  readonly #session: RegistrySession;
  readonly #base: string;

  constructor(private readonly options: WriterOptions) {
    const { http, endpoint, repository, auth, mountFrom } = options;
    const scopes = [`repository:${repository}:pull,push`, ...mountFrom.map((from) => `repository:${from}:pull`)];
    this.#session = new RegistrySession(http, endpoint, auth, scopes);
    this.#base = `/v2/${repository}`;
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#session.ping(signal);
  }

  /** Whether the repository has a blob. @throws RegistryFailure */
  async has(digest: string, signal: AbortSignal): Promise<boolean> {
    const response = await this.#session.request('HEAD', `${this.#base}/blobs/${digest}`, {
      signal,
      success: [200, 404],
    });
    response.body.destroy();
    return response.status === 200;
  }

  /** Makes a blob of another repository one of this. False if the registry does not do that. @throws RegistryFailure */
  async mount(digest: string, from: string, signal: AbortSignal): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from });
    const response = await this.#session.request('POST', `${this.#base}/blobs/uploads/?${query}`, {
      signal,
      headers: { 'content-length': '0' },
      success: [201, 202, 404, 405],
    });
    response.body.destroy();
    // 202: the registry has begun an upload instead, which it forgets in time.
    if (response.status === 202) await this.#abandon(locationOf(response), signal);
    return response.status === 201;
  }

  async #abandon(upload: URL, signal: AbortSignal): Promise<void> {
    const given = await this.#session
      .request('DELETE', upload, { signal, success: [200, 202, 204, 404, 405] })
      .catch(() => undefined);
    given?.body.destroy();
  }

  /**
   * Sends a blob. If that breaks off, it goes on where the registry has it.
   * @param sent called with the number of bytes that were sent so far
   * @param waiting called before another attempt, with the seconds until then
   * @throws RegistryFailure, cancelled
   */
  async upload(
    blob: LocalBlob,
    sent: (bytes: number) => void,
    waiting: (seconds: number) => void,
    signal: AbortSignal,
  ): Promise<void> {
    let upload: URL | null = null;
    for (let attempt = 1; ; attempt++) {
      try {
        upload ??= await this.#begin(signal);
        const offset = attempt === 1 ? 0 : await this.#progressOf(upload, signal);
        if (offset === null) {
          upload = null;
          continue;
        }
        const end = (location: URL): void => {
          upload = location;
        };
        return await this.#send(blob, upload, offset, sent, end, signal);
      } catch (error) {
        if (signal.aborted || attempt === ATTEMPTS || !isRetriable(error)) throw error;
        const seconds = (error as RegistryFailure).details.retryAfterMs ?? attempt * this.options.retryDelayMs;
        waiting(Math.ceil(seconds / 1000));
        await sleep(seconds, undefined, { signal });
      }
    }
  }

  async #begin(signal: AbortSignal): Promise<URL> {
    const response = await this.#session.request('POST', `${this.#base}/blobs/uploads/`, {
      signal,
      headers: { 'content-length': '0' },
      success: [202],
    });
    response.body.destroy();
    return locationOf(response);
  }

  /** How many bytes of an upload the registry has; null if it does not know it any more. */
  async #progressOf(upload: URL, signal: AbortSignal): Promise<number | null> {
    const response = await this.#session.request('GET', upload, { signal, success: [204, 404] });
    response.body.destroy();
    if (response.status === 404) return null;
    const range = /^(?:bytes=)?0-(\d+)$/.exec(header(response, 'range') ?? '');
    // `0-0` is what registries answer for nothing, too.
    const last = Number(range?.[1] ?? 0);
    return last === 0 ? 0 : last + 1;
  }

  /** Sends the bytes from `offset`, and ends the upload. */
  async #send(
    { path, digest, size }: LocalBlob,
    upload: URL,
    offset: number,
    sent: (bytes: number) => void,
    moved: (location: URL) => void,
    signal: AbortSignal,
  ): Promise<void> {
    const bytes = size - offset;
    const body = () => {
      let read = offset;
      const file = createReadStream(path, { start: offset, highWaterMark: 256 * 1024 });
      file.on('data', (chunk) => {
        read += chunk.length;
        sent(read);
      });
      file.pause();
      return file;
    };
    const headers = { 'content-type': 'application/octet-stream', 'content-length': String(bytes) };
    const content = bytes > 0 ? { body } : {};
    if (offset === 0 && size <= SMALL) {
      await this.#finish(upload, digest, { headers, ...content }, signal);
      return;
    }
    let location = upload;
    if (bytes > 0) {
      const range = { 'content-range': `${offset}-${size - 1}` };
      const response = await this.#session.request('PATCH', upload, {
        signal,
        headers: { ...headers, ...range },
        body,
        success: [202],
      });
      response.body.destroy();
      location = locationOf(response);
      moved(location);
    }
    await this.#finish(location, digest, { headers: { 'content-length': '0' } }, signal);
  }

  async #finish(
    upload: URL,
    digest: string,
    options: { headers: Record<string, string>; body?: () => ReturnType<typeof createReadStream> },
    signal: AbortSignal,
  ): Promise<void> {
    const url = new URL(upload);
    url.searchParams.set('digest', digest);
    const response = await this.#session.request('PUT', url, { signal, ...options, success: [201] });
    response.body.destroy();
  }

  /** Stores a manifest under a tag or its digest. @throws RegistryFailure */
  async putManifest(reference: string, mediaType: string, body: Buffer, signal: AbortSignal): Promise<void> {
    const response = await this.#session.request('PUT', `${this.#base}/manifests/${reference}`, {
      signal,
      headers: { 'content-type': mediaType },
      body: () => body,
      success: [200, 201, 202],
    });
    response.body.destroy();
  }
}

/** Where an upload goes on. @throws RegistryFailure if the registry does not say */
function locationOf(response: HttpResponse): URL {
  const location = header(response, 'location');
  if (location === undefined || !URL.canParse(location, response.url.href))
    throw new RegistryFailure('unavailable', 'the registry did not say where to send the blob to', {
      retriable: false,
    });
  const url = new URL(location, response.url);
  if (url.protocol !== 'http:' && url.protocol !== 'https:')
    throw new CaissonError('unavailable', 'the registry named an unusable place to send the blob to');
  return url;
}
