/** The container networks in the virtual container host's configuration. */

import { isKind, unsupported } from '../../src/common/errors.js';
import { newId, sha256 } from '../../src/common/ids.js';
import { DEFAULT_NETWORK, type NetworkConfig, type VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import type { ContainerCache } from '../exec/container-cache.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import { AddressPool } from './address-pool.js';
import { wholeEndpoint } from './endpoints.js';
import type { NetworkSpec } from './network-spec.js';
import type { NetworkChange, NetworkEndpoint, NetworkInfo, NetworkService, PoolUse } from './types.js';

/** vSphere's limit per VM. */
const MAX_CARDS = 10;

/** What a configured network is besides its name, place and subnet. */
const PLAIN = {
  kind: 'bridge',
  ipv4: true,
  ipv6: false,
  internal: false,
  attachable: false,
  ingress: false,
  icc: true,
  egress: 'none',
  mtu: 0,
  labels: {},
  options: {},
  ipamOptions: null,
  ipamDriver: 'default',
} as const satisfies Partial<NetworkSpec>;

interface Network extends NetworkConfig {
  id: string;
  pool: AddressPool;
}

/** Gives containers their addresses while they run. A container has at most one address on each network. */
export class Networks implements NetworkService {
  private readonly networks: readonly Network[];

  constructor(
    config: Pick<VchConfig, 'id' | 'networks'>,
    private readonly containers: Pick<ContainerCache, 'all'>,
  ) {
    this.networks = config.networks.map((network) => ({
      ...network,
      id: sha256(`network ${config.id} ${network.name}`),
      pool: new AddressPool(network.subnet),
    }));
  }

  /**
   * Checks a new container's list of networks. Whether they exist is only checked at start.
   * @throws invalid for a network that is named twice, and for more networks than a VM can have cards
   */
  check(spec: Pick<ContainerSpec, 'networks'>): void {
    if (spec.networks.length > MAX_CARDS) throw new PortLayerError('network.tooMany', { most: MAX_CARDS });
    const names = spec.networks.map(({ network }) => network);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw new PortLayerError('network.givenTwice', { network: twice });
  }

  /**
   * Gives addresses to a container that is being started. If this throws, {@link release} takes back those already given.
   * @param macs of the VM's cards, whose order is that of the container's networks
   * @throws notFound for a network that does not exist; insufficientResources when a network has no address left
   */
  bind(spec: Pick<ContainerSpec, 'id' | 'networks'>, macs: readonly string[]): NetworkEndpoint[] {
    const joined = spec.networks.map((wanted) => ({ ...wanted, network: this.joinable(wanted.network) }));
    return joined.map(({ network: { name, id, pool }, aliases, gwPriority = 0 }, card) =>
      wholeEndpoint({
        network: name,
        networkId: id,
        endpointId: newId(),
        mac: macs[card] ?? '',
        address: pool.take(spec.id),
        prefixLength: pool.prefixLength,
        gateway: pool.gateway,
        gwPriority,
        aliases,
      }),
    );
  }

  /** Takes back all addresses of a container. */
  release(containerId: string): void {
    for (const { pool } of this.networks) pool.release(containerId);
  }

  /**
   * Claims the addresses of a container that was found running. If one cannot be claimed, the others still are.
   * @throws conflict when another container has one of them; notFound for a network that no longer exists
   */
  claim(containerId: string, endpoints: readonly NetworkEndpoint[]): void {
    const problems: Error[] = [];
    for (const { network, address } of endpoints) {
      if (address === '') continue;
      try {
        this.joinable(network).pool.claim(address, containerId);
      } catch (error) {
        if (!isKind(error, 'conflict') && !isKind(error, 'notFound')) throw error;
        problems.push(error as Error);
      }
    }
    if (problems[0] !== undefined) throw problems[0];
  }

  list(): NetworkInfo[] {
    const running = this.containers.all().filter((container) => container.running);
    return this.networks.map(({ id, name, portGroup, pool }, card) => ({
      ...PLAIN,
      id,
      name,
      portGroup,
      driver: 'bridge',
      createdAt: new Date(0),
      predefined: true,
      interface: `eth${card}`,
      pools: [{ subnet: pool.subnet, gateway: pool.gateway, aux: {} }],
      subnet: pool.subnet,
      gateway: pool.gateway,
      endpoints: running.flatMap((container) =>
        container.endpoints
          .filter(({ networkId }) => networkId === id)
          .map((endpoint) => ({ ...endpoint, containerId: container.id, containerName: container.spec.name })),
      ),
    }));
  }

  resolve(reference: string): NetworkInfo {
    const wanted = reference === 'default' ? DEFAULT_NETWORK : reference;
    const networks = this.list();
    const found =
      networks.find(({ name }) => name === wanted) ??
      networks.find(({ id }) => wanted.length >= 4 && id.startsWith(wanted));
    if (found === undefined) throw new PortLayerError('network.notFound', { network: reference });
    return found;
  }

  create(): Promise<NetworkInfo> {
    return Promise.reject(unsupported('making a network is not implemented'));
  }

  remove(): Promise<void> {
    return Promise.reject(unsupported('removing a network is not implemented'));
  }

  connect(): Promise<void> {
    return Promise.reject(unsupported('connecting a container to a further network is not implemented'));
  }

  disconnect(): Promise<void> {
    return Promise.reject(unsupported('disconnecting a container from its network is not implemented'));
  }

  usage(): PoolUse[] {
    return [];
  }

  onChange(_listener: (change: NetworkChange) => void): () => void {
    return () => undefined;
  }

  private joinable(name: string): Network {
    const network = this.networks.find((one) => one.name === name);
    if (network === undefined) throw new PortLayerError('network.gone', { network: name });
    return network;
  }
}
