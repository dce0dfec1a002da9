/** One blob on its way into a repository (OCI distribution-spec "Pushing a blob monolithically", "in chunks"). */
import { createReadStream, type ReadStream } from 'node:fs';
import { CaissonError } from '../../../src/common/errors.js';
import { type HttpResponse, header } from '../http.js';
import { RegistryFailure } from '../registry-errors.js';
import type { RegistrySession } from '../registry-session.js';

/** A blob that is sent in one request, without a request of its own to end it. */
const SMALL = 1 << 20;
/** Where a registry, or a proxy before it, refuses large requests, they become smaller: from this, by halves. */
const CHUNK = 8 << 20;
const LEAST_CHUNK = 64 << 10;
const ABANDON_MS = 5_000;

/** A blob in a local file. */
export interface LocalBlob {
  path: string;
  digest: string;
  /** Bytes. */
  size: number;
}

/** The most that a request may have, once a registry has refused more; shared by the blobs of a push. */
export interface ChunkLimit {
  bytes: number | null;
}

export interface UploadOptions {
  session: RegistrySession;
  /** `/v2/<repository>` */
  base: string;
  blob: LocalBlob;
  chunk: ChunkLimit;
  /** Called with the number of bytes that were sent so far. */
  sent(bytes: number): void;
  /** Whether the repository has the blob. */
  has(): Promise<boolean>;
  signal: AbortSignal;
}

/** See the file's head. Each attempt goes on where the last one ended. */
export class BlobUpload {
  /** Where it goes on; null before it has begun, and when the registry has forgotten it. */
  #location: URL | null = null;
  #offset = 0;
  /** The registry put it together from several requests. */
  #pieced = false;
  #attempts = 0;
  /** The registry's own least size of a piece. */
  #least = LEAST_CHUNK;

  constructor(private readonly options: UploadOptions) {}

  /** @throws RegistryFailure, retriable if another attempt may help */
  async attempt(): Promise<void> {
    const again = this.#attempts++ > 0;
    if (again && this.#location !== null) await this.#findOffset(this.#location);
    if (this.#location === null) {
      // If only the answer to the last request was lost, it is there.
      if (again && (await this.options.has())) return this.options.sent(this.options.blob.size);
      await this.#begin();
    }
    for (;;) {
      try {
        return await this.#sendRest();
      } catch (error) {
        if (!(error instanceof RegistryFailure)) throw error;
        if (error.details.status !== 413 || !this.#shrink()) throw this.#judged(error);
        await this.#findOffset(this.#location!);
        if (this.#location === null) await this.#begin();
      }
    }
  }

  /** Lets the registry forget what it has of the blob. Nothing depends on that, so it is not waited for. */
  abandon(): void {
    if (this.#location === null) return;
    void this.options.session
      .request('DELETE', this.#location, {
        signal: AbortSignal.timeout(ABANDON_MS),
        success: [200, 202, 204, 404, 405],
      })
      .then(
        ({ body }) => body.destroy(),
        () => undefined,
      );
  }

  /** Makes requests smaller. False if they cannot be. */
  #shrink(): boolean {
    const { chunk, blob } = this.options;
    const now = Math.min(chunk.bytes ?? Number.POSITIVE_INFINITY, blob.size);
    if (now <= this.#least) return false;
    chunk.bytes = Math.max(Math.min(CHUNK, Math.ceil(now / 2)), this.#least);
    return true;
  }

  /** A failure after which it may help to ask where the upload is, or to begin again. */
  #judged(error: RegistryFailure): RegistryFailure {
    const { status, code } = error.details;
    const pieced = this.#pieced || this.#attempts > 1;
    const forgotten = status === 404;
    // What was put together from pieces may have been put together wrongly.
    const wrong = code === 'DIGEST_INVALID' && pieced;
    if (forgotten || wrong) this.#location = null;
    if (wrong) this.#attempts = 0;
    const retriable = error.details.retriable || forgotten || wrong || status === 416;
    return new RegistryFailure(error.kind, error.message, { ...error.details, retriable, cause: error });
  }

  async #begin(): Promise<void> {
    const { session, base, signal } = this.options;
    const response = await session.request('POST', `${base}/blobs/uploads/`, {
      signal,
      headers: { 'content-length': '0' },
      success: [202],
    });
    response.body.destroy();
    this.#location = locationOf(response);
    this.#offset = 0;
    this.#pieced = false;
    const least = Number(header(response, 'oci-chunk-min-length') ?? 0);
    this.#least = Math.max(LEAST_CHUNK, Number.isSafeInteger(least) ? least : 0);
  }

  /** Asks how many bytes the registry has. */
  async #findOffset(location: URL): Promise<void> {
    const { session, signal } = this.options;
    const response = await session.request('GET', location, { signal, success: [204, 404, 405] });
    response.body.destroy();
    if (response.status !== 204) {
      this.#location = null;
      return;
    }
    if (header(response, 'location') !== undefined) this.#location = locationOf(response);
    this.#offset = offsetOf(response) ?? 0;
  }

  /** Sends what the registry has not got, and ends the upload. */
  async #sendRest(): Promise<void> {
    const { blob, chunk, session, signal } = this.options;
    if (this.#offset === 0 && blob.size <= Math.min(SMALL, chunk.bytes ?? SMALL)) {
      const headers = { 'content-type': 'application/octet-stream', 'content-length': String(blob.size) };
      return this.#finish({ headers, ...(blob.size > 0 ? { body: () => this.#read(0, blob.size) } : {}) });
    }
    if (this.#offset > 0) this.#pieced = true;
    while (this.#offset < blob.size) {
      const [start, end] = [this.#offset, Math.min(blob.size, this.#offset + (chunk.bytes ?? blob.size))];
      const response = await session.request('PATCH', this.#location!, {
        signal,
        headers: {
          'content-type': 'application/octet-stream',
          'content-length': String(end - start),
          'content-range': `${start}-${end - 1}`,
        },
        body: () => this.#read(start, end),
        success: [202],
      });
      response.body.destroy();
      this.#location = locationOf(response);
      const has = offsetOf(response) ?? end;
      if (has <= start || has > end)
        throw new RegistryFailure('unavailable', `the registry has ${has} bytes of the blob instead of ${end}`, {
          retriable: true,
        });
      this.#offset = has;
      if (has < blob.size) this.#pieced = true;
    }
    await this.#finish({ headers: { 'content-length': '0' } });
  }

  #read(start: number, end: number): ReadStream {
    let read = start;
    const file = createReadStream(this.options.blob.path, { start, end: end - 1, highWaterMark: 256 * 1024 });
    file.on('data', (chunk) => {
      read += chunk.length;
      this.options.sent(read);
    });
    file.pause();
    return file;
  }

  async #finish(options: { headers: Record<string, string>; body?: () => ReadStream }): Promise<void> {
    const { session, blob, signal } = this.options;
    const url = new URL(this.#location!);
    url.searchParams.set('digest', blob.digest);
    const response = await session.request('PUT', url, { signal, ...options, success: [201, 204] });
    response.body.destroy();
    this.#location = null;
  }
}

/** The number of bytes that a registry says it has; undefined if it does not say. `0-0` means none, too. */
function offsetOf(response: HttpResponse): number | undefined {
  const range = /^(?:bytes=)?0-(\d+)$/.exec(header(response, 'range') ?? '');
  if (range === null) return undefined;
  const last = Number(range[1]);
  return last === 0 ? 0 : last + 1;
}

/** Where an upload goes on. @throws RegistryFailure if the registry does not say */
export function locationOf(response: HttpResponse): URL {
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
