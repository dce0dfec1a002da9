/** The networks that there are now, by name and id. */
import { sha256 } from '../../src/common/ids.js';
import { DEFAULT_EGRESS, DEFAULT_NETWORK, type NetworkConfig, type VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import { AddressPool, plainPool } from './address-pool.js';
import { externalNetworks } from './external-networks.js';
import { type NetworkSpec, PLAIN_NETWORK } from './network-spec.js';
import type { NetworkInfo, NetworkWish } from './types.js';

/** A network as it is known now. */
export interface Network {
  spec: NetworkSpec;
  pools: AddressPool[];
  /** The gateway's card on it. */
  interface: string;
  predefined: boolean;
  /** It is being removed: nobody joins it any more. */
  leaving: boolean;
}

type Config = Pick<VchConfig, 'id' | 'networks' | 'containerNetworks' | 'egress'>;
type Named = Pick<NetworkWish, 'network' | 'networkId'>;

/** Those of the configuration come first, the default network before all others. */
export class NetworkTable {
  private networks: Network[];

  constructor(config: Config) {
    this.networks = [
      ...config.networks.map((network, card) => known(configured(config, network), `eth${card}`, true)),
      ...externalNetworks(config).map((spec) => known(spec, '', true)),
    ];
  }

  get all(): readonly Network[] {
    return this.networks;
  }

  /** What containers are on that name no network, or one that does not exist. */
  get first(): Network {
    return this.networks[0]!;
  }

  /** Those that users have made, as they are kept. */
  get userMade(): NetworkSpec[] {
    return this.networks.filter(({ predefined }) => !predefined).map(({ spec }) => spec);
  }

  add(network: Network): void {
    this.networks.push(network);
  }

  drop(network: Network): void {
    this.networks = this.networks.filter((one) => one !== network);
  }

  /** By id if the wish has one, else by name, id, or the beginning of an id that only one has. */
  find({ network, networkId }: Named): Network | undefined {
    if (networkId !== undefined && networkId !== '') return this.networks.find(({ spec }) => spec.id === networkId);
    return this.match(network).found;
  }

  /** @throws notFound for one that does not exist, or is being removed; forbidden for one that is only a configuration */
  joinable(wish: Named): Network {
    const network = this.find(wish);
    if (network === undefined || network.leaving)
      throw new PortLayerError('network.gone', { network: wish.networkId || wish.network });
    if (network.spec.kind === 'config') throw new PortLayerError('network.onlyConfiguration', {});
    return network;
  }

  /** @throws notFound; invalid when several ids begin like that */
  resolve(reference: string): Network {
    const { found, matches } = this.match(reference);
    if (matches > 1) throw new PortLayerError('network.ambiguous', { prefix: reference, matches, by: 'id' });
    if (found === undefined) throw new PortLayerError('network.notFound', { network: reference });
    return found;
  }

  /** @returns how many ids begin like that, if nothing else fits */
  private match(reference: string): { found: Network | undefined; matches: number } {
    const wanted = reference === 'default' ? DEFAULT_NETWORK : reference;
    const exact =
      this.networks.find(({ spec }) => spec.id === wanted) ?? this.networks.find(({ spec }) => spec.name === wanted);
    if (exact !== undefined) return { found: exact, matches: 1 };
    const beginning = wanted === '' ? [] : this.networks.filter(({ spec }) => spec.id.startsWith(wanted));
    return { found: beginning.length === 1 ? beginning[0] : undefined, matches: beginning.length };
  }
}

/** @param name the gateway's interface on it @throws invalid for subnets that are none */
export function known(spec: NetworkSpec, name: string, predefined: boolean): Network {
  return {
    spec,
    pools: spec.pools.map((pool) => new AddressPool(pool)),
    interface: spec.kind === 'config' ? '' : name,
    predefined,
    leaving: false,
  };
}

function configured({ id, egress }: Config, { name, portGroup, distributed, subnet }: NetworkConfig): NetworkSpec {
  return {
    ...PLAIN_NETWORK,
    id: sha256(`network ${id} ${name}`),
    ...{ name, portGroup, distributed, egress: egress ?? DEFAULT_EGRESS },
    pools: [plainPool(subnet)],
  };
}

/** As others see it. @param endpoints of running containers on it */
export function infoOf(
  { spec, interface: name, predefined }: Network,
  endpoints: NetworkInfo['endpoints'],
): NetworkInfo {
  const first = spec.pools.find(({ subnet }) => subnet.includes('.'));
  return {
    ...spec,
    driver: spec.kind === 'config' ? 'null' : spec.kind,
    createdAt: new Date(spec.createdAt),
    predefined,
    interface: name,
    subnet: first?.subnet ?? '',
    gateway: first?.gateway ?? '',
    endpoints,
  };
}
