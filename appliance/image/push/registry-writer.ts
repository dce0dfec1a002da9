/** Puts blobs and manifests into one repository (OCI distribution-spec "Push"). */
import { setTimeout as sleep } from 'node:timers/promises';
import type { HttpClient } from '../http.js';
import type { RegistryEndpoint } from '../registry-endpoints.js';
import { isRetriable, RegistryFailure } from '../registry-errors.js';
import { RegistrySession } from '../registry-session.js';
import type { RegistryAuth } from '../types.js';
import { BlobUpload, type ChunkLimit, type LocalBlob, locationOf } from './blob-upload.js';

/** Like dockerd's `max-upload-attempts`. */
const ATTEMPTS = 5;
/** Statuses with which a registry refuses to say whether it has something. */
const REFUSALS = [400, 403, 405];

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
  /** With access to other repositories, which some registries refuse as a whole if one of them is not allowed. */
  readonly #mounting: RegistrySession;
  readonly #base: string;
  readonly #chunk: ChunkLimit = { bytes: null };

  constructor(private readonly options: WriterOptions) {
    const { http, endpoint, repository, auth, mountFrom } = options;
    const own = `repository:${repository}:pull,push`;
    this.#session = new RegistrySession(http, endpoint, auth, [own]);
    const others = mountFrom.map((from) => `repository:${from}:pull`);
    this.#mounting = new RegistrySession(http, endpoint, auth, [own, ...others]);
    this.#base = `/v2/${repository}`;
  }

  ping(signal: AbortSignal): Promise<void> {
    return this.#session.ping(signal);
  }

  /** Whether the repository has a blob. @throws RegistryFailure */
  async has(digest: string, signal: AbortSignal): Promise<boolean> {
    const url = `${this.#base}/blobs/${digest}`;
    const response = await this.#retrying(signal, () =>
      this.#session.request('HEAD', url, { signal, success: [200, 404, ...REFUSALS] }),
    );
    response.body.destroy();
    if (REFUSALS.includes(response.status)) await this.#hearRefusal(signal);
    return response.status === 200;
  }

  /** The answer to a HEAD has no words for why. That to the beginning of an upload has, if that is refused too. */
  async #hearRefusal(signal: AbortSignal): Promise<void> {
    const response = await this.#retrying(signal, () =>
      this.#session.request('POST', `${this.#base}/blobs/uploads/`, {
        signal,
        headers: { 'content-length': '0' },
        success: [202],
      }),
    );
    response.body.destroy();
    await this.#abandon(locationOf(response), signal);
  }

  /** Makes a blob of another repository one of this. False if the registry does not do that. @throws RegistryFailure */
  async mount(digest: string, from: string, signal: AbortSignal): Promise<boolean> {
    const query = new URLSearchParams({ mount: digest, from });
    const response = await this.#mounting.request('POST', `${this.#base}/blobs/uploads/?${query}`, {
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
   * @param waiting waits before another attempt
   * @throws RegistryFailure, cancelled
   */
  async upload(
    blob: LocalBlob,
    sent: (bytes: number) => void,
    waiting: (attempt: number, error: unknown) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    const has = () => this.has(blob.digest, signal);
    const [session, base, chunk] = [this.#session, this.#base, this.#chunk];
    const upload = new BlobUpload({ session, base, blob, chunk, sent, has, signal });
    for (let attempt = 1; ; attempt++) {
      try {
        return await upload.attempt();
      } catch (error) {
        if (signal.aborted || attempt === ATTEMPTS || !isRetriable(error)) {
          upload.abandon();
          throw error;
        }
        await waiting(attempt, error);
      }
    }
  }

  /** Stores a manifest under a tag or its digest. @throws RegistryFailure */
  async putManifest(reference: string, mediaType: string, body: Buffer, signal: AbortSignal): Promise<void> {
    const response = await this.#retrying(signal, () =>
      this.#session.request('PUT', `${this.#base}/manifests/${reference}`, {
        signal,
        headers: { 'content-type': mediaType },
        body: () => body,
        success: [200, 201, 202],
      }),
    );
    response.body.destroy();
  }

  /** Repeats what may be done twice. */
  async #retrying<T>(signal: AbortSignal, body: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await body();
      } catch (error) {
        if (signal.aborted || attempt === ATTEMPTS || !isRetriable(error)) throw error;
        const asked = error instanceof RegistryFailure ? error.details.retryAfterMs : undefined;
        await sleep(asked ?? attempt * this.options.retryDelayMs, undefined, { signal });
      }
    }
  }
}
