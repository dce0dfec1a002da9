/** One SOAP or file exchange over HTTPS: keep-alive, session cookie, operation id, timeouts, cancellation. */
import type { IncomingMessage, OutgoingHttpHeaders } from 'node:http';
import { request } from 'node:https';
import type { Readable } from 'node:stream';
import { CaissonError, cancelled, unavailable } from '../common/errors.js';
import { currentOperation } from '../common/log.js';
import { PinnedAgent } from './pinned-agent.js';

const MAX_ANSWER = 64 * 1024 * 1024;

/** Options of one exchange. */
export interface ExchangeOptions {
  method: string;
  path: string;
  headers?: OutgoingHttpHeaders;
  body?: string | Readable;
  signal?: AbortSignal;
  /** No byte for so long ends it. */
  idleTimeoutMs?: number;
}

/** An HTTPS connection pool to one server with its session cookie. */
export class Transport {
  private readonly agent: PinnedAgent;
  private readonly url: URL;
  private cookie: string | undefined;

  constructor(url: string, thumbprint: string | undefined) {
    this.url = new URL(url);
    this.agent = new PinnedAgent(thumbprint);
  }

  /** Path of the SOAP service, e.g. `/sdk`. */
  get sdkPath(): string {
    return this.url.pathname === '/' ? '/sdk' : this.url.pathname;
  }

  /** Sends a request; resolves with the answer's head. @throws unavailable, cancelled */
  exchange(options: ExchangeOptions): Promise<IncomingMessage> {
    const operation = currentOperation();
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => {
        if (error instanceof CaissonError) reject(error);
        else if (options.signal?.aborted === true) reject(cancelled('the request was cancelled', error));
        else reject(unavailable(`cannot reach ${this.url.host}: ${error.message}`, error));
      };
      const outgoing = request(
        {
          host: this.url.hostname.replace(/^\[|\]$/g, ''),
          port: this.url.port === '' ? 443 : Number(this.url.port),
          method: options.method,
          path: options.path,
          agent: this.agent,
          signal: options.signal,
          timeout: options.idleTimeoutMs ?? 120_000,
          headers: {
            ...options.headers,
            ...(this.cookie === undefined ? {} : { cookie: this.cookie }),
            ...(operation === undefined ? {} : { 'vim25-operationid': operation }),
          },
        },
        (answer) => {
          for (const cookie of answer.headers['set-cookie'] ?? []) {
            if (cookie.startsWith('vmware_soap_session=')) this.cookie = cookie.split(';')[0];
          }
          resolve(answer);
        },
      );
      outgoing.on('error', failed);
      outgoing.on('timeout', () => outgoing.destroy(new Error('no answer in time')));
      if (options.body === undefined || typeof options.body === 'string') {
        outgoing.end(options.body);
      } else {
        const body = options.body;
        body.on('error', (error) => outgoing.destroy(error));
        body.pipe(outgoing);
      }
    });
  }

  /** The session as a cookie, for other connections of the same user. */
  get sessionCookie(): string | undefined {
    return this.cookie;
  }

  close(): void {
    this.agent.destroy();
  }
}

/** The whole text of an answer. @throws unavailable when it breaks off or is larger than 64 MiB */
export async function readText(answer: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  try {
    for await (const part of answer) {
      size += (part as Buffer).length;
      if (size > MAX_ANSWER) throw unavailable('the answer is too large');
      parts.push(part as Buffer);
    }
  } catch (error) {
    if (error instanceof CaissonError) throw error;
    throw unavailable('the connection broke off', error);
  }
  return Buffer.concat(parts).toString('utf8');
}
