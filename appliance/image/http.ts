/** HTTP as a registry client needs it: our trust roots, bounded waits, redirects that don't leak credentials. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import type { Readable } from 'node:stream';
import { rootCertificates } from 'node:tls';
import { Agent, buildConnector, type Dispatcher, ProxyAgent, request } from 'undici';
import { type ProxySettings, proxyFor } from '../../src/common/proxies.js';
import { type AddressClass, classOf, PrivateAddress, publicLookup } from './address-class.js';
import { RegistryFailure, transportFailure } from './registry-errors.js';

/** How long to wait, in milliseconds. */
export interface HttpTimeouts {
  /** For a connection, TLS included. */
  connect: number;
  /** For the headers of a response. */
  headers: number;
  /** Between two pieces of a body. */
  idle: number;
}

export const DEFAULT_TIMEOUTS: HttpTimeouts = { connect: 15_000, headers: 30_000, idle: 60_000 };

export interface HttpRequest {
  method: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  url: URL;
  headers: Record<string, string>;
  /** A stream is destroyed if the request fails. */
  body?: string | Buffer | Readable;
  /** Don't verify the certificate of the first host; a redirect elsewhere is verified. */
  insecure: boolean;
  /** The server that named this URL, as a registry names its token server: a public server must not lead to a private address. */
  from?: URL;
  signal: AbortSignal;
}

export interface HttpResponse {
  readonly status: number;
  readonly statusText: string;
  readonly headers: Dispatcher.ResponseData['headers'];
  /** Must be read to its end or destroyed. */
  readonly body: Dispatcher.ResponseData['body'];
  /** Where the response came from, after redirects. */
  readonly url: URL;
}

/** The same as Go's http.Client. */
const REDIRECTS_MAX = 10;
/** Methods whose redirects are followed. */
const FOLLOWING = new Set(['GET', 'HEAD']);
const REDIRECTS = new Set([301, 302, 303, 307, 308]);
/** Debian's bundle of the authorities that the machine's administrator trusts; Node itself knows only Mozilla's. */
const SYSTEM_BUNDLE = '/etc/ssl/certs/ca-certificates.crt';
const CONNECTIONS_PER_HOST = 8;

/** undici sends none for a user without a password. */
function basicToken({ username, password }: URL): string {
  return `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}`;
}

function systemCertificates(): string[] {
  try {
    return [readFileSync(SYSTEM_BUNDLE, 'utf8')];
  } catch {
    // The machine has no bundle; Mozilla's roots remain.
    return [];
  }
}

/** Host and port, even if the port is the protocol's default. */
function hostOf({ hostname, port, protocol }: { hostname: string; port: string; protocol: string }): string {
  return `${hostname.replace(/^\[|\]$/g, '')}:${port || (protocol === 'https:' ? '443' : '80')}`;
}

/** Makes requests; owns its connections until `close()`. */
export class HttpClient {
  readonly #agents = new Map<string, Agent | ProxyAgent>();
  /** For each host, the class of the addresses that it was reached at: a name that was public may resolve to something else later. */
  readonly #classes = new Map<string, AddressClass>();
  readonly #reached: (address: string) => AddressClass;
  readonly #makeAgent: (trusting: boolean, publicOnly: boolean) => Agent;
  readonly #makeProxyAgent: (trusting: boolean, proxy: URL) => ProxyAgent;

  /**
   * @param isConfigured true for hosts (with port) that an administrator named: any server may lead to these
   * @param classify for tests
   */
  constructor(
    certificateAuthorities: string[],
    timeouts: HttpTimeouts,
    private readonly isConfigured: (host: string) => boolean = () => false,
    classify: (address: string) => AddressClass = (address) => classOf(address),
    private readonly proxies: ProxySettings = {},
  ) {
    this.#reached = (address) =>
      isConfigured(isIP(address) === 6 ? `[${address}]` : address) ? 'public' : classify(address);
    const reached = this.#reached;
    const common = {
      headersTimeout: timeouts.headers,
      bodyTimeout: timeouts.idle,
      connections: CONNECTIONS_PER_HOST,
      maxHeaderSize: 64 * 1024,
    };
    const ca = [...rootCertificates, ...systemCertificates(), ...certificateAuthorities];
    this.#makeAgent = (trusting, publicOnly) => {
      const connect = buildConnector({
        timeout: timeouts.connect,
        ...(trusting ? { rejectUnauthorized: false } : { ca }),
        ...(publicOnly ? { lookup: publicLookup(reached) } : {}),
      });
      return new Agent({
        ...common,
        connect: (options, callback) => {
          const literal = options.hostname.replace(/^\[|\]$/g, '');
          // A literal address is not looked up.
          if (publicOnly && isIP(literal) !== 0 && reached(literal) === 'private')
            return callback(new PrivateAddress(literal), null);
          connect(options, (...[error, socket]) => {
            if (error !== null) return callback(error, null);
            const host = hostOf(options);
            if (this.#classes.get(host) !== 'public') this.#classes.set(host, classify(socket.remoteAddress ?? ''));
            callback(null, socket);
          });
        },
      });
    };
    this.#makeProxyAgent = (trusting, proxy) =>
      new ProxyAgent({
        ...common,
        uri: proxy.href,
        // As Go does: a tunnel for TLS alone. Many proxies tunnel to port 443 only.
        proxyTunnel: false,
        ...(proxy.username === '' ? {} : { token: basicToken(proxy) }),
        requestTls: { timeout: timeouts.connect, ...(trusting ? { rejectUnauthorized: false } : { ca }) },
        proxyTls: { timeout: timeouts.connect, ca },
      });
  }

  #agent(trusting: boolean, publicOnly: boolean): Dispatcher {
    const key = `${trusting} ${publicOnly}`;
    const agent = this.#agents.get(key) ?? this.#makeAgent(trusting, publicOnly);
    this.#agents.set(key, agent);
    return agent;
  }

  /**
   * The proxy looks names up, so whether one is public is not known here: it is taken for public, so that it leads to no private address that
   * is reached without the proxy.
   */
  #throughProxy(url: URL, proxy: URL, trusting: boolean, publicOnly: boolean): Dispatcher {
    const literal = url.hostname.replace(/^\[|\]$/g, '');
    const isAddress = isIP(literal) !== 0;
    if (publicOnly && isAddress && this.#reached(literal) === 'private') throw new PrivateAddress(literal);
    this.#classes.set(hostOf(url), isAddress ? this.#reached(literal) : 'public');
    const key = `${trusting} ${proxy.href}`;
    const agent = this.#agents.get(key) ?? this.#makeProxyAgent(trusting, proxy);
    this.#agents.set(key, agent);
    return agent;
  }

  #isPublic(url: URL): boolean {
    return this.#classes.get(hostOf(url)) === 'public';
  }

  /**
   * Sends a request and follows redirects of a GET or HEAD; `authorization` is not sent to another host. A public address never
   * leads to a private one, whatever its name.
   * @throws RegistryFailure when no answer came; cancelled when the signal fired
   */
  async send(options: HttpRequest): Promise<HttpResponse> {
    let { url } = options;
    let headers = { 'user-agent': 'caisson', ...options.headers };
    let outside = options.from !== undefined && this.#isPublic(options.from);
    for (let redirects = 0; ; redirects++) {
      const response = await this.#once(url, headers, options, outside && !this.isConfigured(url.host));
      outside ||= this.#isPublic(url);
      const location = REDIRECTS.has(response.status) ? response.headers.location : undefined;
      if (!FOLLOWING.has(options.method) || typeof location !== 'string') return response;
      response.body.destroy();
      const failure = (reason: string) =>
        new RegistryFailure('unavailable', `${options.method} "${url.href}": ${reason}`, { retriable: false });
      if (redirects === REDIRECTS_MAX) throw failure(`stopped after ${REDIRECTS_MAX} redirects`);
      const next = URL.canParse(location, url.href) ? new URL(location, url.href) : undefined;
      if (!next || (next.protocol !== 'https:' && next.protocol !== 'http:')) {
        throw failure(`redirect to an unusable location`);
      }
      if (next.host !== url.host || next.protocol !== url.protocol) {
        const { authorization: _, ...rest } = headers as Record<string, string>;
        headers = rest as typeof headers;
      }
      url = next;
    }
  }

  async #once(
    url: URL,
    headers: Record<string, string>,
    options: HttpRequest,
    publicOnly: boolean,
  ): Promise<HttpResponse> {
    const trusting = options.insecure && url.host === options.url.host;
    const proxy = proxyFor(this.proxies, url);
    try {
      const response = await request(url, {
        method: options.method,
        headers,
        body: options.body ?? null,
        signal: options.signal,
        dispatcher:
          proxy === null ? this.#agent(trusting, publicOnly) : this.#throughProxy(url, proxy, trusting, publicOnly),
      });
      // The reader gets the abort error; there may be no reader (yet).
      response.body.on('error', () => {});
      return {
        status: response.statusCode,
        statusText: response.statusText,
        headers: response.headers,
        body: response.body,
        url,
      };
    } catch (error) {
      if (error instanceof PrivateAddress)
        throw new RegistryFailure('unavailable', `${options.method} "${url.href}": ${error.message}`, {
          retriable: false,
          cause: error,
        });
      throw transportFailure(options.method, url, error, options.signal);
    }
  }

  async close(): Promise<void> {
    await Promise.all([...this.#agents.values()].map((agent) => agent.destroy()));
  }
}

/**
 * Reads a body of at most `limit` bytes.
 * @throws RegistryFailure when it is longer or breaks off
 */
export async function readBody(response: HttpResponse, limit: number, signal: AbortSignal): Promise<Buffer> {
  const tooLong = () =>
    new RegistryFailure('invalid', `the answer of ${response.url.host} is larger than ${limit} bytes`, {
      retriable: false,
    });
  if (Number(response.headers['content-length'] ?? 0) > limit) {
    response.body.destroy();
    throw tooLong();
  }
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > limit) throw tooLong();
      chunks.push(chunk);
    }
  } catch (error) {
    response.body.destroy();
    throw transportFailure('GET', response.url, error, signal);
  }
  return Buffer.concat(chunks);
}

/** A single-valued header, or undefined. */
export function header(response: HttpResponse, name: string): string | undefined {
  const value = response.headers[name];
  return Array.isArray(value) ? value[0] : value;
}
