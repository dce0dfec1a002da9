/** Requests to one registry, authenticated as it asks for. */
import type { Readable } from 'node:stream';
import { type HttpClient, type HttpRequest, type HttpResponse, header, readBody } from './http.js';
import { Authorizer } from './registry-auth.js';
import type { RegistryEndpoint } from './registry-endpoints.js';
import { statusFailure } from './registry-errors.js';
import type { RegistryAuth } from './types.js';

const ERROR_BODY_MAX = 64 * 1024;

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
    const url = typeof where === 'string' ? new URL(this.endpoint.url + where) : where;
    const words = `${method.charAt(0)}${method.slice(1).toLowerCase()} "${url.href}"`;
    // Another server that the registry leads to gets no credentials.
    const own = url.origin === new URL(this.endpoint.url).origin;
    const send = async () =>
      this.#send(method, url, options, own ? await this.#authorizer.header(words, signal) : undefined, own);
    let response = await send();
    if (response.status === 401 && own && this.#authorizer.learn(response)) {
      response.body.destroy();
      response = await send();
    }
    if (success.includes(response.status)) return response;
    const body = await readBody(response, ERROR_BODY_MAX, signal).catch((error) => {
      // Only the message is lost, unless the caller has cancelled.
      if (signal.aborted) throw error;
      return Buffer.alloc(0);
    });
    throw statusFailure(response.status, response.statusText, body.toString('utf8'), header(response, 'retry-after'));
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
