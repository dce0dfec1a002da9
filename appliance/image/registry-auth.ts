/**
 * Authentication to a registry: challenges (RFC 9110 section 11.6.1), basic credentials, and bearer tokens as the
 * distribution project specifies them ("Token Authentication Specification", "OAuth2 Token Authentication").
 */
import { invalid, unauthorized } from '../../src/common/errors.js';
import { type HttpClient, type HttpResponse, readBody } from './http.js';
import { RegistryFailure, statusFailure } from './registry-errors.js';
import type { RegistryAuth } from './types.js';

/** One challenge in a `WWW-Authenticate` header. */
export interface Challenge {
  /** Lower case. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

/** Token servers' answers are small. */
const TOKEN_BODY_MAX = 1024 * 1024;
/** Token specification: "if omitted, this defaults to 60 seconds". */
const DEFAULT_LIFETIME_S = 60;
/** A token this close to its expiry is not used for a new request. */
const RENEW_BEFORE_MS = 5_000;
const CLIENT_ID = 'caisson';

/** Parses the challenges of a `WWW-Authenticate` header; unreadable ones are left out. */
export function parseChallenges(headers: string | string[] | undefined): Challenge[] {
  const challenges: Challenge[] = [];
  for (const header of [headers ?? []].flat()) {
    // Either `key=value` / `key="value"`, or a word that begins a new challenge.
    const tokens = /([A-Za-z0-9!#$%&'*+.^_`|~-]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+)))?/g;
    let current: { scheme: string; parameters: Record<string, string> } | undefined;
    for (const [, name, quoted, plain] of header.slice(0, 8192).matchAll(tokens)) {
      const value = quoted?.replace(/\\(.)/g, '$1') ?? plain;
      if (value === undefined) {
        current = { scheme: name!.toLowerCase(), parameters: {} };
        challenges.push(current);
      } else if (current) {
        current.parameters[name!.toLowerCase()] = value;
      }
    }
  }
  return challenges;
}

/** User name and password from an `X-Registry-Auth`, in either of its two forms. As in Docker, one without the other counts as none. */
export function basicCredentials(auth: RegistryAuth): { user: string; password: string } | undefined {
  if (auth.username) return auth.password ? { user: auth.username, password: auth.password } : undefined;
  const [, user, password] = /^([^:]+):(.+)$/s.exec(Buffer.from(auth.auth ?? '', 'base64').toString('utf8')) ?? [];
  return user === undefined || password === undefined ? undefined : { user, password };
}

const basicHeader = (credentials: { user: string; password: string }): string =>
  `Basic ${Buffer.from(`${credentials.user}:${credentials.password}`).toString('base64')}`;

/** Authenticates to one registry for one purpose; keeps and renews the token. */
export class Authorizer {
  #challenge: Challenge | undefined;
  #token: { value: string; expires: number } | undefined;
  #renewal: Promise<string> | undefined;

  /** @param scopes each like `repository:library/busybox:pull`; null to check only the credentials */
  constructor(
    private readonly http: HttpClient,
    private readonly registry: { url: string; insecure: boolean },
    private readonly auth: RegistryAuth,
    private readonly scopes: string[] | null,
  ) {}

  /**
   * Learns from a 401 how the registry wants to be authenticated to.
   * @returns false if that is nothing new, which means that the credentials do not suffice
   */
  learn(response: HttpResponse): boolean {
    const challenges = parseChallenges(response.headers['www-authenticate']);
    const challenge =
      challenges.find(({ scheme }) => scheme === 'bearer') ?? challenges.find(({ scheme }) => scheme === 'basic');
    if (!challenge) return false;
    const known = this.#challenge;
    this.#challenge = challenge;
    if (challenge.scheme === 'basic') return known === undefined && basicCredentials(this.auth) !== undefined;
    // The token was refused. It may have expired meanwhile, so try a new one.
    this.#token = undefined;
    return true;
  }

  /**
   * The `Authorization` header to send now, if any.
   * @param request the request it is for, which error messages begin with
   * @throws unauthorized, RegistryFailure from the token server
   */
  async header(request: string, signal: AbortSignal): Promise<string | undefined> {
    if (this.auth.registrytoken) return `Bearer ${this.auth.registrytoken}`;
    if (!this.#challenge) return undefined;
    if (this.#challenge.scheme === 'basic') {
      const credentials = basicCredentials(this.auth);
      if (!credentials) throw unauthorized(`${request}: no basic auth credentials`);
      return basicHeader(credentials);
    }
    if (this.#token && this.#token.expires - RENEW_BEFORE_MS > Date.now()) return `Bearer ${this.#token.value}`;
    const challenge = this.#challenge;
    // Layers are fetched in parallel: one of the requests renews the token for all.
    this.#renewal ??= this.#fetchToken(challenge, signal).finally(() => {
      this.#renewal = undefined;
    });
    return `Bearer ${await this.#renewal}`;
  }

  async #fetchToken(challenge: Challenge, signal: AbortSignal): Promise<string> {
    const { realm, service, scope } = challenge.parameters;
    if (!realm || !URL.canParse(realm)) throw invalid('the registry names no token server (no realm in its challenge)');
    const url = new URL(realm);
    if (url.protocol !== 'https:' && url.protocol !== 'http:') throw invalid('unusable token server in the challenge');
    const credentials = basicCredentials(this.auth);
    const secret = credentials !== undefined || this.auth.identitytoken !== undefined;
    if (secret && url.protocol === 'http:' && this.registry.url.startsWith('https:')) {
      throw invalid(`refusing to send credentials in clear text to the token server ${url.host}`);
    }
    const wanted = this.scopes ?? (scope === undefined ? [] : [scope]);
    const insecure = this.registry.insecure && url.hostname === new URL(this.registry.url).hostname;
    const from = new URL(this.registry.url);
    let response: HttpResponse;
    if (this.auth.identitytoken) {
      const form = new URLSearchParams({
        grant_type: 'refresh_token',
        service: service ?? '',
        client_id: CLIENT_ID,
        refresh_token: this.auth.identitytoken,
        ...(wanted.length > 0 ? { scope: wanted.join(' ') } : {}),
      });
      const headers = { 'content-type': 'application/x-www-form-urlencoded' };
      response = await this.http.send({ method: 'POST', url, headers, body: form.toString(), insecure, from, signal });
    } else {
      if (service) url.searchParams.set('service', service);
      for (const one of wanted) url.searchParams.append('scope', one);
      if (credentials) url.searchParams.set('account', credentials.user);
      const headers: Record<string, string> = credentials ? { authorization: basicHeader(credentials) } : {};
      response = await this.http.send({ method: 'GET', url, headers, insecure, from, signal });
    }
    const body = (await readBody(response, TOKEN_BODY_MAX, signal)).toString('utf8');
    if (response.status !== 200) throw statusFailure(response.status, response.statusText, body);
    return this.#accept(body);
  }

  #accept(body: string): string {
    let parsed: { token?: unknown; access_token?: unknown; expires_in?: unknown } | null;
    try {
      parsed = JSON.parse(body);
    } catch (error) {
      throw new RegistryFailure('unavailable', 'the token server did not answer with JSON', {
        retriable: false,
        cause: error,
      });
    }
    const value = parsed?.token || parsed?.access_token;
    // It becomes a header value, where other characters would split the request.
    if (typeof value !== 'string' || !/^[\x21-\x7e]+$/.test(value)) {
      throw new RegistryFailure('unauthorized', 'authorization server did not include a token in the response', {
        retriable: false,
      });
    }
    const lifetime = typeof parsed?.expires_in === 'number' ? parsed.expires_in : DEFAULT_LIFETIME_S;
    this.#token = { value, expires: Date.now() + Math.max(lifetime, DEFAULT_LIFETIME_S) * 1000 };
    return value;
  }
}
