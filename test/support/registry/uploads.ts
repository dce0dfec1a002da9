/** What a registry that misbehaves on request does with blobs and manifests that are sent to it (OCI distribution-spec "Push"). */
import type { IncomingMessage, ServerResponse } from 'node:http';
import { digestOf } from './image-builder.js';

export interface UploadOptions {
  /** Repositories that blobs can be mounted from; default: all that have them. */
  mounts?: boolean;
  /** Requests with more bytes are refused with 413, as proxies do. */
  maxRequest?: number;
  /** `Location` headers are relative, or name this origin. */
  location?: 'relative' | (() => string);
  /** Told in answers to POST. */
  minChunk?: number;
}

/** What goes wrong in an upload. */
export type UploadFault =
  /** After so many bytes of a request's body the connection is closed; they stay. */
  | { kind: 'cut-upload'; after: number }
  /** Everything is done, but the answer does not arrive. */
  | { kind: 'lose-answer' }
  /** The upload is not known any more. */
  | { kind: 'forget' }
  /** What is sent is kept with one byte changed. */
  | { kind: 'corrupt-upload' };

export const isUploadFault = (fault: { kind: string } | undefined): fault is UploadFault =>
  ['cut-upload', 'lose-answer', 'forget', 'corrupt-upload'].includes(fault?.kind ?? '');

interface Upload {
  repository: string;
  data: Buffer;
}

/** Blobs and manifests that were sent. */
export class Uploads {
  /** By `repository@digest`. */
  readonly blobs = new Map<string, Buffer>();
  /** By `repository:tag`, and by `repository@digest`. */
  readonly manifests = new Map<string, { mediaType: string; body: Buffer }>();
  readonly #open = new Map<string, Upload>();
  #count = 0;

  constructor(private readonly options: UploadOptions) {}

  /** Uploads that neither ended nor were given up. */
  get unfinished(): number {
    return this.#open.size;
  }

  /** @returns false if the request is about something else */
  async answer(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    fault: UploadFault | undefined,
  ): Promise<boolean> {
    const manifest = /^\/v2\/(.+)\/manifests\/([^/]+)$/.exec(url.pathname);
    if (manifest !== null && request.method === 'PUT') {
      const body = (await bodyOf(request)) ?? Buffer.alloc(0);
      this.#putManifest(manifest[1]!, manifest[2]!, request, body);
      response.writeHead(201, { 'docker-content-digest': digestOf(body) }).end();
      return true;
    }
    const match = /^\/v2\/(.+)\/blobs\/uploads\/([^/]*)$/.exec(url.pathname);
    if (match === null) return false;
    if (Number(request.headers['content-length'] ?? 0) > (this.options.maxRequest ?? Number.POSITIVE_INFINITY)) {
      request.resume();
      response.writeHead(413).end('<html>413 Request Entity Too Large</html>');
      return true;
    }
    const [, repository, id] = match;
    if (request.method === 'POST') this.#begin(repository!, url, response);
    else await this.#goOn(request, response, id!, url, fault);
    return true;
  }

  #putManifest(repository: string, reference: string, request: IncomingMessage, body: Buffer): void {
    const manifest = { mediaType: request.headers['content-type'] ?? '', body };
    this.manifests.set(`${repository}${reference.includes(':') ? '@' : ':'}${reference}`, manifest);
    this.manifests.set(`${repository}@${digestOf(body)}`, manifest);
  }

  #begin(repository: string, url: URL, response: ServerResponse): void {
    const [digest, from] = [url.searchParams.get('mount'), url.searchParams.get('from')];
    const blob = digest === null || this.options.mounts === false ? undefined : this.blobs.get(`${from}@${digest}`);
    if (blob !== undefined) {
      this.blobs.set(`${repository}@${digest}`, blob);
      response.writeHead(201, { location: `/v2/${repository}/blobs/${digest}` }).end();
      return;
    }
    const id = `upload-${++this.#count}`;
    this.#open.set(id, { repository, data: Buffer.alloc(0) });
    response.writeHead(202, this.#headers(id)).end();
  }

  #headers(id: string): Record<string, string> {
    const { repository, data } = this.#open.get(id)!;
    const { location, minChunk } = this.options;
    const path = `/v2/${repository}/blobs/uploads/${id}?state=${data.length}`;
    return {
      location: typeof location === 'function' ? location() + path : path,
      range: `0-${Math.max(0, data.length - 1)}`,
      ...(minChunk === undefined ? {} : { 'oci-chunk-min-length': String(minChunk) }),
    };
  }

  async #goOn(
    request: IncomingMessage,
    response: ServerResponse,
    id: string,
    url: URL,
    fault: UploadFault | undefined,
  ): Promise<void> {
    if (fault?.kind === 'forget') this.#open.delete(id);
    const upload = this.#open.get(id);
    if (upload === undefined) {
      request.resume();
      return fail(response, 404, 'BLOB_UPLOAD_UNKNOWN', 'blob upload unknown to registry');
    }
    if (request.method === 'DELETE') {
      this.#open.delete(id);
      response.writeHead(204).end();
      return;
    }
    if (request.method === 'GET') {
      response.writeHead(204, this.#headers(id)).end();
      return;
    }
    const { socket } = request;
    const start = /^(\d+)-/.exec(request.headers['content-range'] ?? '')?.[1];
    if (start !== undefined && Number(start) !== upload.data.length) {
      request.resume();
      return fail(response, 416, 'BLOB_UPLOAD_INVALID', 'invalid range');
    }
    const body = await bodyOf(request, fault?.kind === 'cut-upload' ? fault.after : undefined, (data) => {
      upload.data = Buffer.concat([upload.data, data]);
    });
    if (body === null) {
      socket.destroy();
      return;
    }
    if (fault?.kind === 'corrupt-upload') upload.data[0]! ^= 0xff;
    if (request.method === 'PATCH') {
      if (fault?.kind === 'lose-answer') return void socket.destroy();
      response.writeHead(202, this.#headers(id)).end();
      return;
    }
    const digest = url.searchParams.get('digest')!;
    this.#open.delete(id);
    if (digestOf(upload.data) !== digest)
      return fail(response, 400, 'DIGEST_INVALID', 'provided digest did not match uploaded content');
    this.blobs.set(`${upload.repository}@${digest}`, upload.data);
    if (fault?.kind === 'lose-answer') return void socket.destroy();
    response.writeHead(201, { location: `/v2/${upload.repository}/blobs/${digest}` }).end();
  }
}

function fail(response: ServerResponse, status: number, code: string, message: string): void {
  response
    .writeHead(status, { 'content-type': 'application/json' })
    .end(JSON.stringify({ errors: [{ code, message }] }));
}

/** A request's body; null if only the beginning was to be read, of which `keep` has been told. */
async function bodyOf(
  request: IncomingMessage,
  limit = Number.POSITIVE_INFINITY,
  keep: (data: Buffer) => void = () => undefined,
): Promise<Buffer | null> {
  const chunks: Buffer[] = [];
  let left = limit;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    chunks.push(chunk.subarray(0, left));
    left -= chunk.length;
    if (left < 0) break;
  }
  const data = Buffer.concat(chunks);
  keep(data);
  return left < 0 ? null : data;
}
