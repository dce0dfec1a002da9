/** Which URLs a registry's name stands for: https, plain http where that is allowed, and Docker Hub's mirrors. */
import { BlockList, isIP } from 'node:net';
import { invalid } from '../../src/common/errors.js';

/** The same as `VchConfig['registry']`. */
export interface RegistryConfig {
  /** URLs of mirrors of Docker Hub. */
  mirrors: string[];
  /** `host`, `host:port` or CIDR: TLS certificates are not checked, and plain http is tried. */
  insecure: string[];
  /** PEM certificates trusted in addition to the system's. */
  certificateAuthorities: string[];
  /** How a push compresses layers that are nowhere compressed; the default is gzip. */
  compression?: 'gzip' | 'zstd' | undefined;
}

/** One place to try. */
export interface RegistryEndpoint {
  /** Base URL, without `/v2/` and without a trailing slash. */
  readonly url: string;
  readonly mirror: boolean;
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

/** Decides by the configuration, which does not change. */
export class RegistryEndpoints {
  readonly #insecureNames = new Set<string>();
  readonly #insecureNetworks = new BlockList();
  /** The networks among these that the configuration names. */
  readonly #namedNetworks = new BlockList();
  readonly #mirrors: string[];

  /** @throws invalid for a mirror or insecure registry that makes no sense */
  constructor(config: Pick<RegistryConfig, 'mirrors' | 'insecure'>) {
    this.#insecureNetworks.addSubnet('127.0.0.0', 8, 'ipv4');
    this.#insecureNetworks.addAddress('::1', 'ipv6');
    for (const entry of config.insecure) this.#addInsecure(entry);
    this.#mirrors = config.mirrors.map(checkMirror);
  }

  #addInsecure(entry: string): void {
    const cidr = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(entry);
    const family = cidr ? isIP(cidr[1]!) : 0;
    if (cidr && family !== 0) {
      try {
        for (const networks of [this.#insecureNetworks, this.#namedNetworks])
          networks.addSubnet(cidr[1]!, Number(cidr[2]), family === 4 ? 'ipv4' : 'ipv6');
      } catch (error) {
        throw invalid(`insecure registry ${entry} is not valid`, error);
      }
      return;
    }
    if (!/^[A-Za-z0-9._:[\]-]+$/.test(entry)) {
      throw invalid(`insecure registry ${entry} is not valid: expected host, host:port or CIDR`);
    }
    this.#insecureNames.add(entry.toLowerCase());
  }

  /** True for loopback addresses, and for what the configuration names. */
  isInsecure(domain: string): boolean {
    return domain.toLowerCase().replace(/:\d+$/, '') === 'localhost' || this.#isNamed(domain, this.#insecureNetworks);
  }

  #isNamed(domain: string, networks: BlockList): boolean {
    const name = domain.toLowerCase();
    const host = name.replace(/:\d+$/, '');
    if (this.#insecureNames.has(name) || this.#insecureNames.has(host)) return true;
    const address = host.replace(/^\[|\]$/g, '');
    const family = isIP(address);
    return family !== 0 && networks.check(address, family === 4 ? 'ipv4' : 'ipv6');
  }

  /** True for a host (with its port, if any) that an administrator has named as a mirror or as insecure. */
  isConfigured(host: string): boolean {
    return this.#mirrors.some((url) => new URL(url).host === host) || this.#isNamed(host, this.#namedNetworks);
  }

  /** The places to try for a registry's name, in order. */
  of(domain: string): RegistryEndpoint[] {
    if (isDockerHub(domain)) {
      return [
        ...this.#mirrors.map((url) => ({ url, mirror: true, insecure: this.isInsecure(new URL(url).host) })),
        { url: HUB_URL, mirror: false, insecure: false },
      ];
    }
    const insecure = this.isInsecure(domain);
    const https = { url: `https://${domain}`, mirror: false, insecure };
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
