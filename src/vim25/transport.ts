/** One SOAP or file exchange over HTTPS: keep-alive, session cookie, operation id, timeouts, cancellation. */
import {
  Agent,
  type ClientRequest,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  request as plainRequest,
} from 'node:http';
import { request } from 'node:https';
import { finished, type Readable } from 'node:stream';
import { CaissonError, cancelled, errnoOf, invalid, unavailable } from '../common/errors.js';
import { currentOperation } from '../common/log.js';
import { PinnedAgent } from './pinned-agent.js';

const MAX_ANSWER = 256 * 1024 * 1024;
const IDLE_TIMEOUT_MS = 120_000;
/** Paths of the datastore's files. */
const FILES = '/folder/';

/** Options of one exchange. */
export interface ExchangeOptions {
  method: string;
  path: string;
  headers?: OutgoingHttpHeaders;
  body?: string | Buffer | Readable;
  signal?: AbortSignal;
  /** The exchange fails if it is the server's turn and it sends nothing for this long. */
  idleTimeoutMs?: number;
}

/** An HTTPS connection pool to one server with its session cookie. */
export class Transport {
  private readonly agent: PinnedAgent;
  private readonly url: URL;
  private readonly files: { socketPath: string; agent: Agent } | null;
  private cookie: string | undefined;

  /**
   * @param filesSocket a socket of this machine at which the server also answers for files
   * @throws invalid unless the URL is https
   */
  constructor(url: string, thumbprint: string | undefined, filesSocket?: string) {
    if (!URL.canParse(url) || new URL(url).protocol !== 'https:') throw invalid(`'${url}' is not an https URL`);
    this.url = new URL(url);
    this.agent = new PinnedAgent(thumbprint);
    this.files =
      filesSocket === undefined
        ? null
        : { socketPath: filesSocket, agent: new Agent({ keepAlive: true, maxSockets: 256, scheduling: 'lifo' }) };
  }

  /** Path of the SOAP service, e.g. `/sdk`. */
  get sdkPath(): string {
    return this.url.pathname === '/' ? '/sdk' : this.url.pathname;
  }

  /**
   * Sends a request; resolves with the answer's head. If the server closed an idle connection, the request is repeated once on a new one.
   * @throws unavailable, cancelled
   */
  async exchange(options: ExchangeOptions): Promise<IncomingMessage> {
    if (this.files !== null && this.cookie !== undefined && options.path.startsWith(FILES)) {
      try {
        return await this.atMostTwice(options, this.files);
      } catch (error) {
        if (!(error instanceof NoConnection)) throw error;
      }
    }
    return this.atMostTwice(options, null);
  }

  /** Sends a request only to the server's socket on this machine. Null if there is none, or nobody listens there. @throws as {@link exchange} */
  async exchangeHere(options: ExchangeOptions): Promise<IncomingMessage | null> {
    if (this.files === null || this.cookie === undefined) return null;
    try {
      return await this.atMostTwice(options, this.files);
    } catch (error) {
      if (error instanceof NoConnection) return null;
      throw error;
    }
  }

  private async atMostTwice(options: ExchangeOptions, socket: Transport['files']): Promise<IncomingMessage> {
    try {
      return await this.once(options, socket);
    } catch (error) {
      if (!(error instanceof StaleConnection)) throw error;
      return this.once(options, socket);
    }
  }

  private once(options: ExchangeOptions, socket: Transport['files']): Promise<IncomingMessage> {
    const { signal, body } = options;
    const operation = currentOperation();
    return new Promise((resolve, reject) => {
      if (signal?.aborted === true) {
        if (isStream(body)) body.destroy();
        reject(cancelled('the request was cancelled'));
        return;
      }
      let answer: IncomingMessage | undefined;
      const common = {
        method: options.method,
        path: options.path,
        timeout: options.idleTimeoutMs ?? IDLE_TIMEOUT_MS,
        headers: {
          ...options.headers,
          ...(this.cookie === undefined ? {} : { cookie: this.cookie }),
          ...(operation === undefined ? {} : { 'vim25-operationid': operation }),
        },
      };
      const outgoing =
        socket === null
          ? request({
              ...common,
              host: this.url.hostname.replace(/^\[|\]$/g, ''),
              port: this.url.port === '' ? 443 : Number(this.url.port),
              agent: this.agent,
            })
          : plainRequest({ ...common, ...socket });
      // Nothing of a body is given away before there is a connection, so that without one it can be sent elsewhere.
      let connected = false;
      outgoing.once('socket', (stream) => {
        const begin = (): void => {
          connected = true;
          if (isStream(body)) body.pipe(outgoing);
        };
        if (stream.connecting) stream.once('connect', begin);
        else begin();
      });
      // A request without a socket reports its end only when it gets one, so do it now.
      const abort = (): void => {
        const error = cancelled('the request was cancelled');
        if (isStream(body)) body.destroy();
        outgoing.destroy(error);
        answer?.destroy(error);
        reject(error);
      };
      signal?.addEventListener('abort', abort, { once: true });
      outgoing.on('close', () => signal?.removeEventListener('abort', abort));
      outgoing.on('error', (error) => {
        if (error instanceof CaissonError) reject(error);
        else if (socket !== null && !connected) reject(new NoConnection(this.url, error));
        else if (isStale(outgoing, error, answer) && !isStream(body)) reject(new StaleConnection(this.url, error));
        else reject(unavailable(`cannot reach ${this.url.host}: ${error.message}`, error));
      });
      outgoing.on('timeout', () => {
        if (!isOurTurn(outgoing, answer)) outgoing.destroy(unavailable(`${this.url.host} does not answer`));
      });
      outgoing.on('response', (head) => {
        answer = head;
        for (const cookie of head.headers['set-cookie'] ?? []) {
          if (cookie.startsWith('vmware_soap_session=')) this.cookie = cookie.split(';')[0];
        }
        resolve(head);
      });
      if (!isStream(body)) {
        outgoing.end(body);
        return;
      }
      finished(body, { writable: false }, (error) => {
        if (error && answer === undefined) {
          outgoing.destroy(unavailable(`${options.method} ${options.path} broke off: ${error.message}`, error));
        }
      });
      outgoing.on('close', () => {
        if (connected || socket === null) body.destroy();
      });
      // An error status before the end of the body is a refusal, so the rest need not be sent.
      outgoing.on('response', (head) => {
        if (outgoing.writableFinished || (head.statusCode ?? 0) < 300) return;
        body.destroy();
        head.on('close', () => outgoing.destroy());
      });
    });
  }

  /** Forgets the session: the next login starts a new one. */
  dropSession(): void {
    this.cookie = undefined;
  }

  close(): void {
    this.agent.destroy();
    this.files?.agent.destroy();
  }
}

/** Nothing was sent, because there was no connection. */
class NoConnection extends CaissonError {
  constructor(url: URL, cause: Error) {
    super('unavailable', `cannot reach ${url.host}: ${cause.message}`, { cause });
  }
}

/** The server closed a kept-alive connection just as it was reused, without looking at the request. */
class StaleConnection extends CaissonError {
  constructor(url: URL, cause: Error) {
    super('unavailable', `cannot reach ${url.host}: ${cause.message}`, { cause });
  }
}

function isStale(outgoing: ClientRequest, error: Error, answer: IncomingMessage | undefined): boolean {
  return outgoing.reusedSocket && answer === undefined && ['ECONNRESET', 'EPIPE'].includes(errnoOf(error) ?? '');
}

/** True when nothing moves because this side does not read the answer or has nothing to send. */
function isOurTurn(outgoing: ClientRequest, answer: IncomingMessage | undefined): boolean {
  if (answer !== undefined) return answer.readableLength > 0;
  return !outgoing.writableEnded && outgoing.writableLength === 0 && outgoing.socket !== null;
}

function isStream(body: ExchangeOptions['body']): body is Readable {
  return body !== undefined && typeof body !== 'string' && !Buffer.isBuffer(body);
}

/** The whole text of an answer. @throws unavailable if it breaks off or is larger than 256 MiB */
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
