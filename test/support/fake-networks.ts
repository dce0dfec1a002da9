/** The networks of the fake port layer: kept in memory, without cards. It chooses subnets and addresses in order and never takes one back. */
import { EventEmitter } from 'node:events';
import { PortLayerError } from '../../port-layer/errors.js';
import {
  type ConnectOptions,
  type ContainerInfo,
  type NetworkChange,
  type NetworkEndpoint,
  type NetworkInfo,
  type NetworkRequest,
  type NetworkService,
  type NetworkSpec,
  type NetworkWish,
  type Pool,
  type PoolUse,
  wholeEndpoint,
} from '../../port-layer/index.js';
import { newId } from '../../src/common/ids.js';
import { networkSpec } from './network-spec.js';

/** The containers as the fake keeps them. */
interface Containers {
  list(): ContainerInfo[];
  container(reference: string): { info: ContainerInfo; running: boolean };
  address: string;
  join: (wish: NetworkWish, address: string) => NetworkEndpoint;
}

const BRIDGE = networkSpec({
  id: 'b'.repeat(64),
  name: 'bridge',
  portGroup: 'test',
  pools: [{ subnet: '172.16.0.0/16', gateway: '172.16.0.1', aux: {} }],
});

export class FakeNetworks implements NetworkService {
  ownHost = true;
  private specs: NetworkSpec[] = [BRIDGE];
  private made = 0;
  private readonly changes = new EventEmitter<{ change: [NetworkChange] }>();

  constructor(private readonly service: Containers) {
    service.join = (wish, address) => this.join(wish, address);
  }

  list(): NetworkInfo[] {
    return this.specs.map((spec, card) => {
      const first = spec.pools.find(({ subnet }) => subnet.includes('.'));
      return {
        ...spec,
        driver: spec.kind === 'config' ? 'null' : spec.kind,
        createdAt: new Date(spec.createdAt),
        predefined: spec === BRIDGE,
        interface: `eth${card}`,
        subnet: first?.subnet ?? '',
        gateway: first?.gateway ?? '',
        endpoints: this.service
          .list()
          .flatMap(({ spec: { id, name }, endpoints }) =>
            endpoints
              .filter(({ networkId }) => networkId === spec.id)
              .map((endpoint) => ({ ...endpoint, containerId: id, containerName: name })),
          ),
      };
    });
  }

  resolve(reference: string): NetworkInfo {
    const wanted = reference === 'default' ? 'bridge' : reference;
    const all = this.list();
    const exact = all.find(({ id }) => id === wanted) ?? all.find(({ name }) => name === wanted);
    if (exact !== undefined) return exact;
    const found = all.filter(({ id }) => wanted !== '' && id.startsWith(wanted));
    if (found.length > 1)
      throw new PortLayerError('network.ambiguous', { prefix: reference, matches: found.length, by: 'id' });
    if (found.length === 0) throw new PortLayerError('network.notFound', { network: reference });
    return found[0]!;
  }

  async create(request: NetworkRequest): Promise<NetworkInfo> {
    const { name, pools, icc = true, egress = 'relay', mtu = 0, ipamDriver = 'default', ...rest } = request;
    const { kind = 'bridge', configFrom, segmentName } = request;
    if (name === 'bridge') throw new PortLayerError('network.predefined', { network: name, doing: 'create' });
    if (this.specs.some((spec) => spec.name === name)) throw new PortLayerError('network.nameTaken', { name });
    if (!request.ipv4 && !request.ipv6) throw new PortLayerError('network.noFamily', {});
    if (configFrom !== undefined && this.specs.find((spec) => spec.name === configFrom)?.kind !== 'config')
      throw new PortLayerError('network.noConfiguration', { network: configFrom });
    const id = newId();
    const same = this.specs.find((spec) => segmentName !== undefined && spec.segmentName === segmentName);
    if (same !== undefined)
      throw new PortLayerError('network.segmentTaken', {
        segment: segmentName!,
        network: same.name,
        id,
        other: same.id,
      });
    const portGroup = kind === 'config' ? '' : `test-${segmentName ?? name}`;
    const spec: NetworkSpec = {
      ...rest,
      ...{ id, name, createdAt: new Date().toISOString(), kind, portGroup },
      ...{ ingress: false, icc, egress, mtu, ipamDriver },
      pools: kind === 'config' ? [] : this.poolsOf(request),
      ...(pools.length === 0 ? {} : { asked: pools }),
    };
    this.specs.push(spec);
    const info = this.resolve(spec.id);
    this.changes.emit('change', { type: 'made', network: info });
    return info;
  }

  private poolsOf({ pools, ipv4, ipv6 }: NetworkRequest): Pool[] {
    const n = ++this.made;
    const whole = (subnet: string, { gateway, ipRange, aux }: NetworkRequest['pools'][number] = {}): Pool => ({
      subnet,
      gateway: gateway ?? subnet.replace(/0?\/\d+$/, '1'),
      ...(ipRange === undefined ? {} : { ipRange }),
      aux: aux ?? {},
    });
    const given = pools.flatMap((pool) => (pool.subnet ? [whole(pool.subnet, pool)] : []));
    const is6 = ({ subnet }: Pool): boolean => subnet.includes(':');
    return [
      ...given.filter((pool) => !is6(pool)),
      ...(ipv4 && given.every(is6) ? [whole(`172.${16 + n}.0.0/16`)] : []),
      ...given.filter(is6),
      ...(ipv6 && !given.some(is6) ? [whole(`fd00:0:0:${n}::/64`)] : []),
    ];
  }

  async remove(reference: string): Promise<void> {
    const network = this.resolve(reference);
    const { id, name, endpoints } = network;
    if (network.predefined) throw new PortLayerError('network.predefined', { network: name, doing: 'remove' });
    const holders = endpoints.map(({ containerId, containerName }) => ({ id: containerId, name: containerName }));
    if (holders.length > 0) throw new PortLayerError('network.inUse', { network: name, holders });
    if (network.kind === 'config' && this.specs.some(({ configFrom }) => configFrom === name))
      throw new PortLayerError('network.configurationInUse', { network: name });
    this.specs = this.specs.filter((spec) => spec.id !== id);
    this.changes.emit('change', { type: 'gone', network });
  }

  async connect(reference: string, wanted: string, options: ConnectOptions): Promise<void> {
    const { info, running } = this.service.container(reference);
    const network = this.resolve(wanted);
    const { id, name } = info.spec;
    if (info.spec.networks.some((wish) => wish.network === network.name))
      throw new PortLayerError('network.alreadyOn', { container: name, network: network.name });
    if (info.paused) throw new PortLayerError('network.paused', { container: id, doing: 'connect' });
    if (running && network.kind === 'config') throw new PortLayerError('network.onlyConfiguration', {});
    const wish: NetworkWish = { ...options, network: network.name };
    info.spec = { ...info.spec, networks: [...info.spec.networks, wish] };
    if (!running) return;
    info.endpoints = [...info.endpoints, this.join(wish, this.service.address)];
    this.changes.emit('change', { type: 'connected', network: this.resolve(network.id), containerId: id });
  }

  async disconnect(reference: string, wanted: string): Promise<void> {
    const { info, running } = this.service.container(reference);
    const network = this.resolve(wanted);
    const { id } = info.spec;
    if (!info.spec.networks.some((wish) => wish.network === network.name))
      throw new PortLayerError('network.notOn', { container: id, network: network.name });
    if (info.paused) throw new PortLayerError('network.paused', { container: id, doing: 'disconnect' });
    info.spec = { ...info.spec, networks: info.spec.networks.filter((wish) => wish.network !== network.name) };
    info.endpoints = info.endpoints.filter(({ networkId }) => networkId !== network.id);
    if (running)
      this.changes.emit('change', { type: 'disconnected', network: this.resolve(network.id), containerId: id });
  }

  usage(reference: string): PoolUse[] {
    const { pools, endpoints } = this.resolve(reference);
    return pools.map(({ subnet }) => ({ subnet, used: BigInt(endpoints.length + 1), free: 100n }));
  }

  onChange(listener: (change: NetworkChange) => void): () => void {
    this.changes.on('change', listener);
    return () => this.changes.off('change', listener);
  }

  private join({ network, aliases, mac, ipv4, ipv6, gwPriority = 0 }: NetworkWish, address: string): NetworkEndpoint {
    const { id, name, gateway, subnet, pools, mtu, internal } = this.resolve(network);
    const six = pools.find((pool) => pool.subnet.includes(':'));
    return wholeEndpoint({
      ...{ network: name, networkId: id, endpointId: newId(), aliases, gwPriority, mtu, internal },
      mac: mac ?? '00:50:56:00:00:02',
      ...(subnet === '' ? {} : { address: ipv4 ?? address, prefixLength: Number(subnet.split('/')[1]), gateway }),
      ...(six === undefined
        ? {}
        : {
            address6: ipv6 ?? six.subnet.replace(/\/\d+$/, '2'),
            prefixLength6: Number(six.subnet.split('/')[1]),
            gateway6: six.gateway,
          }),
    });
  }
}
