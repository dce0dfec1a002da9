/** The networks as Docker's users see them: the port layer's, `none` and `host`. */
import type {
  ContainerInfo,
  ExecService,
  NetworkInfo,
  NetworkRequest,
  NetworkService,
} from '../../../port-layer/index.js';
import { isCode, PortLayerError } from '../../../port-layer/index.js';
import { refuseRate } from './egress-rate.js';
import { hostNetwork } from './host-network.js';
import { isOnNone, noneEndpointId, noneNetwork } from './none-network.js';

export class DockerNetworks {
  constructor(
    private readonly networks: Pick<NetworkService, 'list' | 'resolve' | 'create' | 'remove' | 'usage' | 'ownHost'>,
    private readonly exec: Pick<ExecService, 'list'>,
    private readonly config: { id: string },
  ) {}

  get ownHost(): boolean {
    return this.networks.ownHost;
  }

  list(): NetworkInfo[] {
    return [...this.networks.list(), ...this.cardless()];
  }

  /** By id, name, or the beginning of an id that only one has. @throws notFound, invalid (ambiguous) in Docker's words */
  resolve(reference: string): NetworkInfo {
    // The port layer takes this word for the default network, as a container's NetworkMode does.
    if (reference === 'default') throw new PortLayerError('network.notFound', { network: reference });
    const others = this.cardless();
    const exact = others.find(({ id, name }) => reference === name || reference === id);
    if (exact !== undefined) return exact;
    const beginning = reference === '' ? [] : others.filter(({ id }) => id.startsWith(reference));
    let matches = beginning.length;
    try {
      const found = this.networks.resolve(reference);
      if (matches === 0 || reference === found.name || reference === found.id) return found;
      matches++;
    } catch (error) {
      if (matches === 0) throw error;
      if (isCode(error, 'network.ambiguous')) matches += error.subject.matches;
      else if (!isCode(error, 'network.notFound')) throw error;
      else if (matches === 1) return beginning[0]!;
    }
    throw new PortLayerError('network.ambiguous', { prefix: reference, matches, by: 'id' });
  }

  /** Undefined if there is none, or more than one. */
  find(reference: string): NetworkInfo | undefined {
    try {
      return this.resolve(reference);
    } catch {
      return undefined;
    }
  }

  async create(request: NetworkRequest): Promise<NetworkInfo> {
    if (!this.ownHost) refuseRate(request.options);
    return this.networks.create(request);
  }

  /** @throws notFound, forbidden in Docker's words */
  async remove(reference: string): Promise<void> {
    const { id, name, predefined } = this.resolve(reference);
    if (predefined) throw new PortLayerError('network.predefined', { network: name, doing: 'remove' });
    await this.networks.remove(id);
  }

  /** How much of each subnet is in use. */
  usage({ id, pools }: NetworkInfo): ReturnType<NetworkService['usage']> {
    return pools.length === 0 ? [] : this.networks.usage(id);
  }

  /** The endpoint of a container on `none`; '' unless it is there. */
  noneEndpointOf(container: ContainerInfo): string {
    return isOnNone(container) ? noneEndpointId(this.config, container.spec.id) : '';
  }

  private cardless(): NetworkInfo[] {
    return [hostNetwork(this.config), noneNetwork(this.config, this.exec.list())];
  }
}
