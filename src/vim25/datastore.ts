/** Files of a datastore over HTTPS (vSphere Web Services SDK, "HTTP access to vSphere server files"). */
import type { IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { CaissonError, type ErrorKind, unavailable } from '../common/errors.js';
import { type ExchangeOptions, readText, type Transport } from './transport.js';

const KINDS: Record<number, ErrorKind> = {
  401: 'unauthorized',
  403: 'forbidden',
  404: 'notFound',
  409: 'conflict',
  416: 'invalid',
  507: 'insufficientResources',
};

/** One datastore's files. Paths are relative to its root. */
export class DatastoreClient {
  constructor(
    private readonly transport: Transport,
    private readonly name: string,
    private readonly datacenter: string,
    private readonly logIn: () => Promise<void>,
  ) {}

  /**
   * A file's content, or the bytes of a range (`end` exclusive).
   * @throws notFound
   */
  async get(path: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    const { start = 0, end, signal } = options;
    const range = start > 0 || end !== undefined ? { range: `bytes=${start}-${end === undefined ? '' : end - 1}` } : {};
    return this.exchange('GET', path, { headers: range, signal });
  }

  /** A small file, whole. @throws notFound */
  async read(path: string): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of await this.get(path)) parts.push(part as Buffer);
    return Buffer.concat(parts);
  }

  /** Replaces a file; directories must exist. @throws insufficientResources when the datastore is full */
  async put(
    path: string,
    content: Readable | Buffer | string,
    options: { size?: number; signal?: AbortSignal } = {},
  ): Promise<void> {
    const small = typeof content === 'string' || Buffer.isBuffer(content);
    const size = small ? Buffer.byteLength(content) : options.size;
    const { Readable: Stream } = await import('node:stream');
    const body = small ? Stream.from([Buffer.from(content as Buffer)], { objectMode: false }) : (content as Readable);
    const answer = await this.exchange('PUT', path, {
      body,
      headers: {
        'content-type': 'application/octet-stream',
        ...(size === undefined ? {} : { 'content-length': size }),
      },
      signal: options.signal,
    });
    answer.resume();
  }

  /** Size in bytes, or null when there is no such file. */
  async size(path: string): Promise<number | null> {
    try {
      const answer = await this.exchange('HEAD', path, {});
      answer.resume();
      return Number(answer.headers['content-length'] ?? 0);
    } catch (error) {
      if (error instanceof CaissonError && error.kind === 'notFound') return null;
      throw error;
    }
  }

  /** @throws notFound */
  async delete(path: string): Promise<void> {
    (await this.exchange('DELETE', path, {})).resume();
  }

  private async exchange(method: string, path: string, options: Partial<ExchangeOptions>): Promise<IncomingMessage> {
    const encoded = path.split('/').map(encodeURIComponent).join('/');
    const query = `dcPath=${encodeURIComponent(this.datacenter)}&dsName=${encodeURIComponent(this.name)}`;
    const request = { ...options, method, path: `/folder/${encoded}?${query}` };
    let answer = await this.transport.exchange(request);
    if (answer.statusCode === 401 && options.body === undefined) {
      answer.resume();
      await this.logIn();
      answer = await this.transport.exchange(request);
    }
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    const text = method === 'HEAD' ? '' : (await readText(answer)).slice(0, 300);
    const message = `${method} [${this.name}] ${path}: ${status} ${text}`.trim();
    const kind = KINDS[status];
    throw kind === undefined ? unavailable(message) : new CaissonError(kind, message);
  }
}

/** `[datastore] path` of a datastore path. @throws unavailable */
export function parseDatastorePath(text: string): { datastore: string; path: string } | null {
  const match = /^\[([^\]]+)\]\s*(.*)$/.exec(text);
  return match === null ? null : { datastore: match[1]!, path: match[2]! };
}

/** `[datastore] path` */
export function datastorePath(datastore: string, path: string): string {
  return path === '' ? `[${datastore}]` : `[${datastore}] ${path}`;
}
