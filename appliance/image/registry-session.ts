/** Requests to one registry, authenticated as it asks for. */
import type { Readable } from 'node:stream';
import { type HttpClient, type HttpRequest, type HttpResponse, header, readBody } from './http.js';
import { Authorizer } from './registry-auth.js';
import type { RegistryEndpoint } from './registry-endpoints.js';
import { RegistryFailure, statusFailure } from './registry-errors.js';
import type { RegistryAuth } from './types.js';

const ERROR_BODY_MAX = 64 * 1024;
/** After these the same request is sent again, body and all (RFC 9110 sections 15.4.8 and 15.4.9). */
const BODY_REDIRECTS = new Set([307, 308]);
const REDIRECTS_MAX = 5;

/** What goes with a request. */
export interface SessionRequest {
  signal: AbortSignal;
  headers?: Record<string, string>;
  /** Called again if the request has to be repeated with authentication. */
  body?: () => Buffer | Readable;
  /** The statuses that are answers; any other one is a failure. Default: 200. */
  success?: number[];
}

/** Holds no connection of its own. */
export class RegistrySession {
  readonly #authorizer: Authorizer;

  /** @param scopes see {@link Authorizer} */
  constructor(
    private readonly http: HttpClient,
    private readonly endpoint: RegistryEndpoint,
    auth: RegistryAuth,
    scopes: string[] | null,
  ) {
    this.#authorizer = new Authorizer(http, endpoint, auth, scopes);
  }

  /**
   * Finds out whether a registry answers, and what authentication it asks for.
   * @throws RegistryFailure, with `unreachable` if it does not answer
   */
  async ping(signal: AbortSignal): Promise<void> {
    const response = await this.#send('GET', new URL(`${this.endpoint.url}/v2/`), { signal }, undefined, true);
    response.body.destroy();
    if (response.status === 401) this.#authorizer.learn(response);
  }

  /**
   * Sends a request; a 401 is retried once, as its challenge demands.
   * @param where a path of the registry, or a URL that it gave
   * @returns an answer whose body must be read or destroyed
   * @throws RegistryFailure
   */
  async request(method: HttpRequest['method'], where: string | URL, options: SessionRequest): Promise<HttpResponse> {
    const { signal, success = [200] } = options;
    let response = await this.#authorized(method, this.#urlOf(where), options);
    // Those of a GET or HEAD were followed already.
    for (let redirects = 0; BODY_REDIRECTS.has(response.status) && redirects < REDIRECTS_MAX; redirects++) {
      const location = header(response, 'location');
      if (location === undefined || !URL.canParse(location, response.url.href)) break;
      const next = new URL(location, response.url);
      if (next.protocol !== 'https:' && next.protocol !== 'http:') break;
      response.body.destroy();
      response = await this.#authorized(method, next, options);
    }
    if (success.includes(response.status)) return response;
    const body = await readBody(response, ERROR_BODY_MAX, signal).catch((error) => {
      // Only the message is lost, unless the caller has cancelled.
      if (signal.aborted) throw error;
      return Buffer.alloc(0);
    });
    // Only of something that is read one can say without the registry's words that it is not there.
    if (response.status === 404 && body.length === 0 && method !== 'GET' && method !== 'HEAD')
      throw new RegistryFailure('unavailable', 'received unexpected HTTP status: 404 Not Found', {
        retriable: false,
        status: 404,
      });
    throw statusFailure(response.status, response.statusText, body.toString('utf8'), header(response, 'retry-after'));
  }

  #urlOf(where: string | URL): URL {
    return typeof where === 'string' ? new URL(this.endpoint.url + where) : where;
  }

  /** A 401 is retried once, as its challenge demands. */
  async #authorized(method: HttpRequest['method'], url: URL, options: SessionRequest): Promise<HttpResponse> {
    const words = `${method.charAt(0)}${method.slice(1).toLowerCase()} "${url.href}"`;
    // Another server that the registry leads to gets no credentials.
    const own = url.origin === new URL(this.endpoint.url).origin;
    const send = async () =>
      this.#send(method, url, options, own ? await this.#authorizer.header(words, options.signal) : undefined, own);
    const response = await send();
    if (response.status !== 401 || !own || !this.#authorizer.learn(response)) return response;
    response.body.destroy();
    return send();
  }

  #send(
    method: HttpRequest['method'],
    url: URL,
    { headers = {}, body, signal }: SessionRequest,
    authorization: string | undefined,
    own: boolean,
  ): Promise<HttpResponse> {
    return this.http.send({
      method,
      url,
      headers: { 'accept-encoding': 'identity', ...headers, ...(authorization ? { authorization } : {}) },
      ...(body === undefined ? {} : { body: body() }),
      insecure: own && this.endpoint.insecure,
      ...(own ? {} : { from: new URL(this.endpoint.url) }),
      signal,
    });
  }
}
