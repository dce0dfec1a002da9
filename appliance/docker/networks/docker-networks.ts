/** The networks as Docker's users see them: the port layer's, and `none`. */
import type {
  ContainerInfo,
  ExecService,
  NetworkInfo,
  NetworkRequest,
  NetworkService,
} from '../../../port-layer/index.js';
import { isCode, PortLayerError } from '../../../port-layer/index.js';
import { isOnNone, NONE, noneEndpointId, noneId, noneNetwork } from './none-network.js';

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
    return [...this.networks.list(), this.none()];
  }

  /** By id, name, or the beginning of an id that only one has. @throws notFound, invalid (ambiguous) in Docker's words */
  resolve(reference: string): NetworkInfo {
    // The port layer takes this word for the default network, as a container's NetworkMode does.
    if (reference === 'default') throw new PortLayerError('network.notFound', { network: reference });
    const id = noneId(this.config);
    if (reference === NONE || reference === id) return this.none();
    try {
      return this.networks.resolve(reference);
    } catch (error) {
      if (reference === '' || !id.startsWith(reference)) throw error;
      if (isCode(error, 'network.notFound')) return this.none();
      if (!isCode(error, 'network.ambiguous')) throw error;
      const { prefix, matches, by } = error.subject;
      throw new PortLayerError('network.ambiguous', { prefix, by, matches: matches + 1 });
    }
  }

  /** Undefined if there is none, or more than one. */
  find(reference: string): NetworkInfo | undefined {
    try {
      return this.resolve(reference);
    } catch {
      return undefined;
    }
  }

  create(request: NetworkRequest): Promise<NetworkInfo> {
    return this.networks.create(request);
  }

  /** @throws notFound, forbidden in Docker's words */
  async remove(reference: string): Promise<void> {
    // A machine of its own has no use for the network of its host, but nobody can remove that either.
    if (reference === 'host') throw new PortLayerError('network.predefined', { network: reference, doing: 'remove' });
    const { id, name, predefined } = this.resolve(reference);
    if (predefined) throw new PortLayerError('network.predefined', { network: name, doing: 'remove' });
    await this.networks.remove(id);
  }

  /** How much of each subnet is in use. */
  usage({ id, name }: NetworkInfo): ReturnType<NetworkService['usage']> {
    return name === NONE ? [] : this.networks.usage(id);
  }

  /** The endpoint of a container on `none`; '' unless it is there. */
  noneEndpointOf(container: ContainerInfo): string {
    return isOnNone(container) ? noneEndpointId(this.config, container.spec.id) : '';
  }

  private none(): NetworkInfo {
    return noneNetwork(this.config, this.exec.list());
  }
}
