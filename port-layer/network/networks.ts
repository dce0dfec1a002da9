/** The networks of a virtual container host: those of its configuration, and those that users make. */
import { EventEmitter } from 'node:events';
import { messageOf } from '../../src/common/errors.js';
import { newId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { type Attachment, segmentOf } from '../../src/vim25/index.js';
import { DEFAULT_EGRESS, type VchConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import type { ContainerCache } from '../exec/container-cache.js';
import { choosePools } from './choose-pools.js';
import { type AddressRange, parseSubnet } from './cidr.js';
import { machineRoutes } from './machine-routes.js';
import { type NetworkRequest, type NetworkSpec, PLAIN_NETWORK, type Pool, type PoolUse } from './network-spec.js';
import type { NetworkStore } from './network-store.js';
import { infoOf, known, type Network, NetworkTable } from './network-table.js';
import { Places } from './places.js';
import type { ConnectOptions, NetworkChange, NetworkInfo, NetworkService } from './types.js';

const log = logger('networks');

/** What networks need from those who know the containers' VMs. */
export interface Members {
  connect(container: string, network: string, options: ConnectOptions): Promise<void>;
  disconnect(container: string, network: string): Promise<void>;
  /** Takes the cards of containers that do not run off a port group that is about to be removed. */
  leave(attachment: Attachment): Promise<void>;
}

/** What networks are made with. */
export interface NetworkSurroundings {
  /** Null: no network can be made. */
  store: NetworkStore | null;
  /** Where the machine's routes lead, now. */
  routes(): AddressRange[];
  /** See `NetworkService`; undefined: yes. */
  ownHost?: boolean;
}

type Config = Pick<VchConfig, 'id' | 'networks' | 'containerNetworks' | 'egress' | 'addressPools'>;

export class Networks implements NetworkService {
  /** Containers' places on them. */
  readonly places: Places;
  readonly ownHost: boolean;
  private readonly table: NetworkTable;
  private readonly changes = new EventEmitter<{ change: [NetworkChange] }>().setMaxListeners(0);
  private queue: Promise<unknown> = Promise.resolve();
  /** Set by those who know the containers' VMs. */
  members: Members | null = null;

  constructor(
    private readonly config: Config,
    private readonly containers: Pick<ContainerCache, 'all'>,
    private readonly around: NetworkSurroundings = { store: null, routes: machineRoutes },
  ) {
    this.table = new NetworkTable(config);
    this.ownHost = around.ownHost ?? true;
    this.places = new Places(this.table, this.ownHost, config.egress);
  }

  /** Reads the user-made networks. Before anything else. */
  async load(): Promise<void> {
    if (this.around.store === null) return;
    const { networks, interfaces } = await this.around.store.load();
    for (const one of this.table.all)
      if (one.spec.kind === 'bridge') one.interface = interfaces.get(segmentOf(one.spec)) ?? one.interface;
    for (const spec of networks) {
      try {
        this.table.add(known(spec, interfaces.get(segmentOf(spec)) ?? '', false));
      } catch (error) {
        log.error({ network: spec.name, err: messageOf(error) }, 'a network cannot be read and is left out');
      }
    }
  }

  list(): NetworkInfo[] {
    const endpoints = new Map<string, NetworkInfo['endpoints']>();
    for (const one of this.endpoints()) {
      const others = endpoints.get(one.networkId);
      if (others === undefined) endpoints.set(one.networkId, [one]);
      else others.push(one);
    }
    return this.table.all.map((network) => infoOf(network, endpoints.get(network.spec.id) ?? []));
  }

  resolve(reference: string): NetworkInfo {
    return this.infoOf(this.table.resolve(reference));
  }

  usage(reference: string): PoolUse[] {
    return this.table.resolve(reference).pools.map((pool) => pool.use());
  }

  create(request: NetworkRequest): Promise<NetworkInfo> {
    return this.exclusive(async () => {
      const { store, routes } = this.around;
      const { name } = request;
      const holder = this.table.all.find(({ spec }) => spec.name === name);
      if (holder?.predefined === true || name === 'default')
        throw new PortLayerError('network.predefined', { network: name, doing: 'create' });
      if (holder !== undefined) throw new PortLayerError('network.nameTaken', { name });
      if (request.egress === 'relay' && !this.ownHost) throw new PortLayerError('network.noRelay', {});
      const id = newId();
      this.checkOthers(request, id);
      const pools = request.kind === 'config' ? [] : this.poolsOf(request, routes());
      if (store === null) throw new PortLayerError('network.notMade', { network: name, reason: 'nothing can keep it' });
      const portGroup = store.portGroupOf({ id, name: request.segmentName ?? name });
      const spec = specOf(request, { id, pools, portGroup }, this.config.egress);
      // What cannot be read could not be found again either.
      known(spec, '', false);
      const made = await store.add(spec, this.table.userMade);
      const network = known(made.network, made.interface, false);
      this.table.add(network);
      const info = this.infoOf(network);
      this.changes.emit('change', { type: 'made', network: info });
      return info;
    });
  }

  remove(reference: string): Promise<void> {
    return this.exclusive(async () => {
      const network = this.table.resolve(reference);
      const info = this.infoOf(network);
      if (network.predefined) throw new PortLayerError('network.predefined', { network: info.name, doing: 'remove' });
      const holders = this.activeOn(network);
      if (holders.length > 0) throw new PortLayerError('network.inUse', { network: info.name, holders });
      const { kind, name } = network.spec;
      if (kind === 'config' && this.table.all.some(({ spec }) => spec.configFrom === name))
        throw new PortLayerError('network.configurationInUse', { network: name });
      // Nobody joins it from here on.
      network.leaving = true;
      try {
        await this.members?.leave(network.spec);
        await this.around.store?.remove(
          network.spec,
          this.table.userMade.filter(({ id }) => id !== info.id),
        );
      } catch (error) {
        network.leaving = false;
        throw error;
      }
      this.table.drop(network);
      this.changes.emit('change', { type: 'gone', network: info });
    });
  }

  connect(container: string, network: string, options: ConnectOptions): Promise<void> {
    return this.mustHaveMembers().connect(container, network, options);
  }

  disconnect(container: string, network: string): Promise<void> {
    return this.mustHaveMembers().disconnect(container, network);
  }

  onChange(listener: (change: NetworkChange) => void): () => void {
    this.changes.on('change', listener);
    return () => this.changes.off('change', listener);
  }

  /** Tells that a container that runs was given a place on a network, or lost it. */
  tell(type: 'connected' | 'disconnected', network: string, containerId: string): void {
    const found = this.table.all.find(({ spec }) => spec.id === network);
    if (found !== undefined) this.changes.emit('change', { type, network: this.infoOf(found), containerId });
  }

  private poolsOf(request: NetworkRequest, routes: AddressRange[]): Pool[] {
    return choosePools(request, {
      configured: this.config.addressPools,
      vch: this.config.id,
      networks: this.table.all.flatMap(({ spec }) => spec.pools.flatMap(({ subnet }) => parseSubnet(subnet) ?? [])),
      routes,
    });
  }

  /** What a new network asks of those that there are. @throws notFound, forbidden */
  private checkOthers({ configFrom, segmentName }: NetworkRequest, id: string): void {
    const isThere = this.table.all.some(({ spec }) => spec.kind === 'config' && spec.name === configFrom);
    if (configFrom !== undefined && !isThere)
      throw new PortLayerError('network.noConfiguration', { network: configFrom });
    const same = this.table.all.find(({ spec }) => segmentName !== undefined && spec.segmentName === segmentName);
    if (same !== undefined)
      throw new PortLayerError('network.segmentTaken', {
        segment: segmentName!,
        network: same.spec.name,
        id,
        other: same.spec.id,
      });
  }

  /** Places of running containers. */
  private *endpoints(): Generator<NetworkInfo['endpoints'][number]> {
    for (const { running, id, spec, endpoints } of this.containers.all())
      if (running) for (const endpoint of endpoints) yield { ...endpoint, containerId: id, containerName: spec.name };
  }

  private infoOf(network: Network): NetworkInfo {
    return infoOf(
      network,
      [...this.endpoints()].filter(({ networkId }) => networkId === network.spec.id),
    );
  }

  /** Containers that run, or are about to. */
  private activeOn({ spec, pools }: Network): { name: string; id: string }[] {
    const holders = new Set(pools.flatMap((pool) => pool.active()));
    return this.containers
      .all()
      .filter(
        ({ id, running, endpoints }) =>
          holders.has(id) || (running && endpoints.some(({ networkId }) => networkId === spec.id)),
      )
      .map(({ id, spec: { name } }) => ({ id, name }));
  }

  private mustHaveMembers(): Members {
    if (this.members === null) throw new Error('nobody knows the containers');
    return this.members;
  }

  /** One after the other: the list of networks is written as a whole. */
  private exclusive<T>(body: () => Promise<T>): Promise<T> {
    const run = this.queue.then(body);
    this.queue = run.catch(() => undefined);
    return run;
  }
}

function specOf(
  { icc, egress, mtu, ipamDriver, ...request }: NetworkRequest,
  { id, pools, portGroup }: Pick<NetworkSpec, 'id' | 'pools' | 'portGroup'>,
  ownEgress: VchConfig['egress'],
): NetworkSpec {
  const { name, ipv4, ipv6, internal, attachable, labels, options, ipamOptions, pools: asked } = request;
  const { kind = 'bridge', configFrom, interfacePrefix, segmentName } = request;
  return {
    ...PLAIN_NETWORK,
    ...{ id, kind, name, portGroup, pools, ipv4, ipv6, internal, attachable, labels, options, ipamOptions },
    createdAt: new Date().toISOString(),
    icc: icc ?? true,
    egress: egress ?? ownEgress ?? DEFAULT_EGRESS,
    mtu: mtu ?? 0,
    ipamDriver: ipamDriver ?? 'default',
    ...(asked.length === 0 ? {} : { asked: [...asked] }),
    ...(configFrom === undefined ? {} : { configFrom }),
    ...(interfacePrefix === undefined ? {} : { interfacePrefix }),
    ...(segmentName === undefined ? {} : { segmentName }),
  };
}
