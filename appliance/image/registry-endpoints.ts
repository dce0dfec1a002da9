/** Which URLs a registry's name stands for: https, plain http where that is allowed, and Docker Hub's mirrors. */
import { forbidden, invalid } from '../../src/common/errors.js';
import { RegistryNames } from './registry-names.js';

/** The same as `VchConfig['registry']`. */
export interface RegistryConfig {
  /** URLs of mirrors of Docker Hub. */
  mirrors: string[];
  /** `host`, `host:port` or CIDR: TLS certificates are not checked, and plain http is tried. */
  insecure: string[];
  /** `host`, `host:port`, `*.domain` or CIDR: the only registries that may be used; none or undefined: all. */
  allowed?: string[] | undefined;
  /** PEM certificates trusted in addition to the system's. */
  certificateAuthorities: string[];
  /** How a push compresses layers that are nowhere compressed; the default is gzip. */
  compression?: 'gzip' | 'zstd' | undefined;
  /** Layers' blobs are kept as they are pulled. */
  keepBlobs?: boolean | undefined;
}

/** One place to try. */
export interface RegistryEndpoint {
  /** Base URL, without `/v2/` and without a trailing slash. */
  readonly url: string;
  /** Don't verify its certificate. */
  readonly insecure: boolean;
}

const HUB_URL = 'https://registry-1.docker.io';
/** Names of Docker Hub in references and logins. */
const HUB_NAMES = new Set(['docker.io', 'index.docker.io', 'registry-1.docker.io']);

/** True for a registry name that means Docker Hub. */
export function isDockerHub(domain: string): boolean {
  return HUB_NAMES.has(domain);
}

/** What a mirror or registry at one of this machine's own addresses may do without being named. */
const LOOPBACK = new RegistryNames(['127.0.0.0/8', '::1/128', 'localhost'], '', false);

/** Decides by the configuration, which does not change. */
export class RegistryEndpoints {
  readonly #insecure: RegistryNames;
  readonly #mirrors: string[];
  /** Null: all. */
  readonly #allowed: RegistryNames | null;

  /** @throws invalid for a mirror or registry that makes no sense */
  constructor(config: Pick<RegistryConfig, 'mirrors' | 'insecure' | 'allowed'>) {
    const { allowed = [] } = config;
    this.#insecure = new RegistryNames(config.insecure, 'insecure registry', false);
    this.#mirrors = config.mirrors.map(checkMirror);
    this.#allowed = allowed.length === 0 ? null : new RegistryNames(allowed, 'allowed registry', true);
  }

  /** True for loopback addresses, and for what the configuration names. */
  isInsecure(domain: string): boolean {
    return LOOPBACK.has(domain) || this.#insecure.has(domain);
  }

  /** True for a host (with its port, if any) that an administrator has named as a mirror or as insecure. */
  isConfigured(host: string): boolean {
    return this.#mirrors.some((url) => new URL(url).host === host) || this.#insecure.has(host);
  }

  /** Whether images may come from a registry and go there. What may be insecure is allowed too, as in vSphere Integrated Containers. */
  allows(domain: string): boolean {
    if (this.#allowed === null || this.#insecure.has(domain)) return true;
    const names = isDockerHub(domain) ? HUB_NAMES : [domain];
    return [...names].some((name) => this.#allowed?.has(name));
  }

  /** The mirrors that go before a registry, in order. They need no permission, since an administrator named them. */
  mirrorsOf(domain: string): RegistryEndpoint[] {
    if (!isDockerHub(domain)) return [];
    return this.#mirrors.map((url) => ({ url, insecure: this.isInsecure(new URL(url).host) }));
  }

  /** The places to try for a registry itself, in order. @throws forbidden for one that is not allowed */
  of(domain: string): RegistryEndpoint[] {
    if (!this.allows(domain))
      throw forbidden(
        // The words of vSphere Integrated Containers, and which option it is.
        `Access denied to unauthorized registry (${domain}) while VCH is in whitelist mode: --allow-registry does not name it`,
      );
    if (isDockerHub(domain)) return [{ url: HUB_URL, insecure: false }];
    const insecure = this.isInsecure(domain);
    const https = { url: `https://${domain}`, insecure };
    return insecure ? [https, { ...https, url: `http://${domain}` }] : [https];
  }
}

function checkMirror(text: string): string {
  let url: URL;
  try {
    url = new URL(text);
  } catch (error) {
    throw invalid(`invalid mirror: "${text}" is not a valid URI`, error);
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw invalid(`invalid mirror: unsupported scheme "${url.protocol.slice(0, -1)}" in "${text}"`);
  }
  if (url.username || url.password) throw invalid(`invalid mirror: username/password not allowed in URI "${text}"`);
  if (url.search || url.hash) throw invalid(`invalid mirror: query or fragment at end of the URI "${text}"`);
  return url.href.replace(/\/+$/, '');
}
