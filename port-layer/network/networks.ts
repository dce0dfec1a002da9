/** The container networks: for now the bridge network of the virtual container host. */

import { invalid, notFound } from '../../src/common/errors.js';
import { newId, sha256 } from '../../src/common/ids.js';
import type { VchConfig } from '../config.js';
import type { ContainerCache } from '../exec/container-cache.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import { AddressPool } from './address-pool.js';
import type { NetworkEndpoint, NetworkInfo, NetworkService } from './types.js';

const BRIDGE = 'bridge';

/** Gives addresses to containers that start. */
export class Networks implements NetworkService {
  private readonly pool: AddressPool;
  private readonly bridgeId: string;

  constructor(
    private readonly config: VchConfig,
    private readonly containers: ContainerCache,
  ) {
    this.pool = new AddressPool(config.bridge.subnet);
    this.bridgeId = sha256(`network ${config.id} ${BRIDGE}`);
  }

  /** Whether a network is there is looked at only when the container starts. @throws invalid for more than one */
  check(spec: ContainerSpec): void {
    if (spec.networks.length > 1)
      throw invalid('Container cannot be connected to network endpoints: more than one network at create');
  }

  /**
   * Addresses for a container that is being started.
   * @throws notFound for a network that is not there; insufficientResources when there is no address left
   */
  bind(spec: ContainerSpec, mac: string): NetworkEndpoint[] {
    for (const { network } of spec.networks)
      if (network !== BRIDGE) throw notFound(`failed to set up container networking: network ${network} not found`);
    return spec.networks.map(({ aliases }) => ({
      network: BRIDGE,
      networkId: this.bridgeId,
      endpointId: newId(),
      mac,
      address: this.pool.take(spec.id),
      prefixLength: this.pool.prefixLength,
      gateway: this.pool.gateway,
      aliases,
    }));
  }

  /** Takes back all addresses of a container. */
  release(containerId: string): void {
    this.pool.release(containerId);
  }

  /** Addresses of a container that was found running. @throws conflict when another one has one of them */
  claim(containerId: string, endpoints: NetworkEndpoint[]): void {
    for (const { address } of endpoints) if (address !== '') this.pool.claim(address, containerId);
  }

  list(): NetworkInfo[] {
    return [
      {
        id: this.bridgeId,
        name: BRIDGE,
        driver: 'bridge',
        createdAt: new Date(0),
        subnet: this.pool.subnet,
        gateway: this.pool.gateway,
        portGroup: this.config.bridge.portGroup,
        endpoints: this.containers
          .all()
          .filter((container) => container.running)
          .flatMap((container) =>
            container.endpoints.map((endpoint) => ({
              ...endpoint,
              containerId: container.id,
              containerName: container.spec.name,
            })),
          ),
      },
    ];
  }

  resolve(reference: string): NetworkInfo {
    const wanted = reference === 'default' ? BRIDGE : reference;
    const found = this.list().find(
      (network) => network.name === wanted || (wanted.length >= 4 && network.id.startsWith(wanted)),
    );
    if (found === undefined) throw notFound(`network ${reference} not found`);
    return found;
  }
}
