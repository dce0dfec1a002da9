/** Sets of registries as administrators write them: hosts, all hosts of a domain, networks of addresses. */
import { BlockList, isIP } from 'node:net';
import { invalid } from '../../src/common/errors.js';

/** Registries by name. A host without a port means all of its ports; a network means registries that are named by an address in it. */
export class RegistryNames {
  readonly #names = new Set<string>();
  /** Each with its leading dot. */
  readonly #domains = new Set<string>();
  readonly #networks = new BlockList();

  /**
   * @param entries `host`, `host:port`, CIDR, or, if `wildcards`, `*.domain` with or without a port, for all hosts below it
   * @param what for the message, e.g. `insecure registry`
   * @throws invalid
   */
  constructor(entries: readonly string[], what: string, wildcards: boolean) {
    for (const entry of entries) {
      const cidr = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(entry);
      const family = cidr ? isIP(cidr[1]!) : 0;
      if (cidr && family !== 0) this.#addNetwork(entry, cidr[1]!, Number(cidr[2]), family, what);
      else if (wildcards && /^\*(\.[A-Za-z0-9_-]+)+(:\d+)?$/.test(entry))
        this.#domains.add(entry.slice(1).toLowerCase());
      else if (/^[A-Za-z0-9._:[\]-]+$/.test(entry)) this.#names.add(entry.toLowerCase());
      else
        throw invalid(
          `${what} ${entry} is not valid: expected host, host:port${wildcards ? ', *.domain' : ''} or CIDR`,
        );
    }
  }

  #addNetwork(entry: string, address: string, prefix: number, family: number, what: string): void {
    try {
      this.#networks.addSubnet(address, prefix, family === 4 ? 'ipv4' : 'ipv6');
    } catch (error) {
      throw invalid(`${what} ${entry} is not valid`, error);
    }
  }

  /** @param registry a host, perhaps with its port */
  has(registry: string): boolean {
    const name = registry.toLowerCase();
    const host = name.replace(/:\d+$/, '');
    if (this.#names.has(name) || this.#names.has(host)) return true;
    if ([...this.#domains].some((domain) => host.endsWith(domain) || name.endsWith(domain))) return true;
    const address = host.replace(/^\[|\]$/g, '');
    const family = isIP(address);
    return family !== 0 && this.#networks.check(address, family === 4 ? 'ipv4' : 'ipv6');
  }
}
