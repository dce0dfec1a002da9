/** Files of a datastore over HTTPS (vSphere Web Services SDK, "HTTP access to vSphere server files"). */
import type { IncomingMessage } from 'node:http';
import { type Readable, Transform } from 'node:stream';
import { CaissonError, type ErrorKind, invalid, isKind, unavailable } from '../common/errors.js';
import { HANDED_DISK } from '../common/handed-disk.js';
import { type ExchangeOptions, readText, type Transport } from './transport.js';

const KINDS: Record<number, ErrorKind> = {
  400: 'invalid',
  401: 'unauthorized',
  403: 'forbidden',
  404: 'notFound',
  409: 'conflict',
  416: 'invalid',
  507: 'insufficientResources',
};

/** The default limit of {@link DatastoreClient.read}. */
const MAX_READ = 16 * 1024 * 1024;

/** Options of an upload. */
export interface PutOptions {
  /** Length of a stream in bytes, if known; otherwise the body is sent chunked. */
  size?: number;
  signal?: AbortSignal;
  /** Called with the number of bytes handed to the connection so far. */
  onProgress?: (bytes: number) => void;
}

/** Where an endpoint keeps what it may hand over to the embedded host. */
export interface HandingSpool {
  directory: string;
  /** Of the virtual container host, by which the host knows the directory. */
  id: string;
}

/** The session of the client the datastore belongs to. */
export interface SessionKeeper {
  /** Number of the current session. */
  number(): number;
  /** Logs in again, unless that session has been replaced already. */
  renew(number: number): Promise<void>;
}

/** One datastore's files. Paths are relative to its root. */
export class DatastoreClient {
  constructor(
    private readonly transport: Transport,
    private readonly name: string,
    private readonly datacenter: string,
    private readonly session: SessionKeeper,
    private readonly spool?: HandingSpool,
  ) {}

  /**
   * A file's content, or the bytes of a range (`end` exclusive). The stream fails when the connection breaks off.
   * @throws notFound; invalid for a range beyond the end
   */
  async get(path: string, options: { start?: number; end?: number; signal?: AbortSignal } = {}): Promise<Readable> {
    const { start = 0, end, signal } = options;
    const ranged = start > 0 || end !== undefined;
    const headers = ranged ? { range: `bytes=${start}-${end === undefined ? '' : end - 1}` } : {};
    const answer = await this.exchange('GET', path, { headers, signal });
    if (ranged && answer.statusCode !== 206) {
      answer.destroy();
      throw unavailable(`GET [${this.name}] ${path}: the server does not serve ranges`);
    }
    return answer;
  }

  /** A small file as a whole. @throws notFound; invalid if it is larger than `limit` bytes (default 16 MiB) */
  async read(path: string, limit = MAX_READ): Promise<Buffer> {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of await this.get(path)) {
      size += (part as Buffer).length;
      if (size > limit) throw invalid(`[${this.name}] ${path} is larger than ${limit} bytes`);
      parts.push(part as Buffer);
    }
    return Buffer.concat(parts);
  }

  /**
   * Replaces a file; its directory must exist. A stream is destroyed if the upload fails.
   * @throws insufficientResources if the datastore is full
   */
  async put(path: string, content: Readable | Buffer | string, options: PutOptions = {}): Promise<void> {
    const { signal, onProgress } = options;
    const small = typeof content === 'string' || Buffer.isBuffer(content);
    const size = small ? Buffer.byteLength(content) : options.size;
    const headers = {
      'content-type': 'application/octet-stream',
      ...(size === undefined ? {} : { 'content-length': size }),
    };
    // A stream cannot be sent twice, so first check that the session is alive.
    if (!small) {
      try {
        await this.size(path);
      } catch (error) {
        content.destroy();
        throw error;
      }
    }
    const body = small || onProgress === undefined ? content : counted(content, onProgress);
    const answer = await this.exchange('PUT', path, { body, headers, signal });
    answer.resume();
    if (small) onProgress?.(size ?? 0);
  }

  /**
   * Replaces a file by a copy of a local one that the server makes itself, if it is the embedded host on this machine and takes it.
   * @returns whether it has: if not, the file can be sent
   * @throws insufficientResources, cancelled
   */
  async hand(path: string, local: string, signal?: AbortSignal): Promise<boolean> {
    if (this.spool === undefined || !local.startsWith(`${this.spool.directory}/`)) return false;
    const name = `${this.spool.id}${local.slice(this.spool.directory.length)}`;
    const headers = { [HANDED_DISK]: name };
    const answer = await this.transport.exchangeHere({ method: 'COPY', path: this.urlOf(path), headers, signal });
    if (answer === null) return false;
    const status = answer.statusCode ?? 0;
    if (status === 507) throw new CaissonError('insufficientResources', await this.failure('COPY', path, answer));
    answer.resume();
    return status >= 200 && status < 300;
  }

  /** Size in bytes, or null if there is no such file. */
  async size(path: string): Promise<number | null> {
    try {
      const answer = await this.exchange('HEAD', path, {});
      answer.resume();
      return Number(answer.headers['content-length'] ?? 0);
    } catch (error) {
      if (isKind(error, 'notFound')) return null;
      throw error;
    }
  }

  /** Whether there is such a file. */
  async exists(path: string): Promise<boolean> {
    return (await this.size(path)) !== null;
  }

  /** @throws notFound */
  async delete(path: string): Promise<void> {
    (await this.exchange('DELETE', path, {})).resume();
  }

  private async exchange(method: string, path: string, options: Partial<ExchangeOptions>): Promise<IncomingMessage> {
    const request = { ...options, method, path: this.urlOf(path) };
    const repeatable = options.body === undefined || typeof options.body === 'string' || Buffer.isBuffer(options.body);
    const session = this.session.number();
    let answer = await this.transport.exchange(request);
    if (answer.statusCode === 401 && repeatable) {
      answer.resume();
      await this.session.renew(session);
      answer = await this.transport.exchange(request);
    }
    const status = answer.statusCode ?? 0;
    if (status >= 200 && status < 300) return answer;
    const message = await this.failure(method, path, answer);
    const kind = KINDS[status];
    throw kind === undefined ? unavailable(message) : new CaissonError(kind, message);
  }

  /** What a refusal says. */
  private async failure(method: string, path: string, answer: IncomingMessage): Promise<string> {
    const text = method === 'HEAD' ? '' : (await readText(answer)).slice(0, 300);
    if (method === 'HEAD') answer.resume();
    return `${method} [${this.name}] ${path}: ${answer.statusCode ?? 0} ${text}`.trim();
  }

  private urlOf(path: string): string {
    const query = `dcPath=${encodeURIComponent(this.datacenter)}&dsName=${encodeURIComponent(this.name)}`;
    return `/folder/${encodePath(path)}?${query}`;
  }
}

/** A path for a URL. @throws invalid for a path that leaves the datastore or is not Unicode text */
function encodePath(path: string): string {
  const names = path.split('/');
  const wrong = (cause?: unknown): Error => invalid(`'${path}' is not a path of a datastore`, cause);
  if (names.includes('..') || names.includes('.') || path.includes('\0')) throw wrong();
  try {
    return names.map(encodeURIComponent).join('/');
  } catch (error) {
    throw wrong(error);
  }
}

/** Passes the bytes through and counts them. */
function counted(content: Readable, onProgress: (bytes: number) => void): Readable {
  let bytes = 0;
  const counter = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length;
      onProgress(bytes);
      done(null, chunk);
    },
  });
  content.on('error', (error) => counter.destroy(error));
  counter.on('close', () => content.destroy());
  return content.pipe(counter);
}

/** `[datastore] path` */
export function datastorePath(datastore: string, path: string): string {
  return path === '' ? `[${datastore}]` : `[${datastore}] ${path}`;
}
