/** The networks of a virtual container host: those of its configuration, and those that users make. */
import { EventEmitter } from 'node:events';
import { isKind, messageOf } from '../../src/common/errors.js';
import { newId, sha256 } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { DEFAULT_EGRESS, DEFAULT_NETWORK, type VchConfig } from '../config.js';
import { isCode, PortLayerError } from '../errors.js';
import type { ContainerCache } from '../exec/container-cache.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import { AddressPool, plainPool } from './address-pool.js';
import { choosePools } from './choose-pools.js';
import { type AddressRange, parseSubnet } from './cidr.js';
import { wholeEndpoint } from './endpoints.js';
import { externalNetworks, outerServers, outerTrust } from './external-networks.js';
import { isLeased } from './leases.js';
import { machineRoutes } from './machine-routes.js';
import { type NetworkRequest, type NetworkSpec, PLAIN_NETWORK, type PoolUse } from './network-spec.js';
import type { NetworkStore } from './network-store.js';
import type {
  ConnectOptions,
  NetworkChange,
  NetworkEndpoint,
  NetworkInfo,
  NetworkService,
  NetworkWish,
} from './types.js';

const log = logger('networks');
/** vSphere's limit per VM. */
export const MAX_CARDS = 10;

/** A network as it is known now. */
interface Network {
  spec: NetworkSpec;
  pools: AddressPool[];
  /** The gateway's card on it. */
  interface: string;
  predefined: boolean;
  /** It is being removed: nobody joins it any more. */
  leaving: boolean;
}

/** What networks need from those who know the containers' VMs. */
export interface Members {
  connect(container: string, network: string, options: ConnectOptions): Promise<void>;
  disconnect(container: string, network: string): Promise<void>;
  /** Takes the cards of containers that do not run off a port group that is about to be removed. */
  leavePortGroup(portGroup: string): Promise<void>;
}

/** What networks are made with. */
export interface NetworkSurroundings {
  /** Null: no network can be made. */
  store: NetworkStore | null;
  /** Where the machine's routes lead, now. */
  routes(): AddressRange[];
}

type Config = Pick<VchConfig, 'id' | 'networks' | 'containerNetworks' | 'egress' | 'addressPools'>;
type Joining = Pick<ContainerSpec, 'id' | 'networks'>;

/** Networks, and containers' addresses on them. A container is on a network at most once. */
export class Networks implements NetworkService {
  private networks: Network[];
  private readonly changes = new EventEmitter<{ change: [NetworkChange] }>().setMaxListeners(0);
  private queue: Promise<unknown> = Promise.resolve();
  /** Set by those who know the containers' VMs. */
  members: Members | null = null;

  constructor(
    private readonly config: Config,
    private readonly containers: Pick<ContainerCache, 'all'>,
    private readonly around: NetworkSurroundings = { store: null, routes: machineRoutes },
  ) {
    this.networks = [
      ...config.networks.map(({ name, portGroup, subnet }, card) =>
        known(configured(config, name, portGroup, subnet), `eth${card}`, true),
      ),
      ...externalNetworks(config).map((spec) => known(spec, '', true)),
    ];
  }

  /** Reads the user-made networks. Before anything else. */
  async load(): Promise<void> {
    if (this.around.store === null) return;
    const { networks, interfaces } = await this.around.store.load();
    for (const one of this.networks)
      if (one.spec.kind === 'bridge') one.interface = interfaces.get(one.spec.portGroup) ?? one.interface;
    for (const spec of networks) {
      try {
        this.networks.push(known(spec, interfaces.get(spec.portGroup) ?? '', false));
      } catch (error) {
        log.error({ network: spec.name, err: messageOf(error) }, 'a network cannot be read and is left out');
      }
    }
  }

  // --- a container's place -------------------------------------------------------------------------------------------

  /**
   * A new container's list of networks with their names, and its addresses reserved where it asked for some and they are free. Whether the
   * networks exist is only checked at start.
   * @throws invalid for a network that is named twice, and for more networks than a VM can have cards
   */
  settle<T extends Joining>(spec: T): T {
    if (spec.networks.length > MAX_CARDS) throw new PortLayerError('network.tooMany', { most: MAX_CARDS });
    const networks = spec.networks.map((wish) => ({ ...wish, network: this.find(wish)?.spec.name ?? wish.network }));
    const names = networks.map(({ network }) => network);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw new PortLayerError('network.givenTwice', { network: twice });
    for (const wish of networks)
      for (const address of [wish.ipv4, wish.ipv6])
        if (address) for (const pool of this.find(wish)?.pools ?? []) pool.keep(address, spec.id, true);
    return { ...spec, networks };
  }

  /** The port group of a network's cards: the default one's if the network does not exist. */
  portGroupOf(wish: Pick<NetworkWish, 'network' | 'networkId'>): string {
    return (this.find(wish) ?? this.networks[0]!).spec.portGroup;
  }

  /** The networks of a container, each known by its id from now on. As in Docker, predefined ones go by their names. */
  identified(wishes: readonly NetworkWish[]): NetworkWish[] {
    return wishes.map((wish) => {
      const network = this.find(wish);
      if (network === undefined || network.predefined) return wish;
      return { ...wish, network: network.spec.name, networkId: network.spec.id };
    });
  }

  /**
   * Gives addresses to a container that is being started. If this throws, {@link rest} gives back those already given.
   * @param macs of its cards on these networks
   * @throws notFound for a network that does not exist; insufficientResources when a network has no address left; conflict when an address
   *   that was asked for is in use
   */
  bind({ id, networks }: Joining, macs: readonly string[]): NetworkEndpoint[] {
    const joined = networks.map((wish) => ({ wish, network: this.joinable(wish) }));
    try {
      return joined.map(({ wish, network }, card) => this.place(id, wish, network, macs[card] ?? ''));
    } catch (error) {
      for (const code of ['network.addressInUse', 'network.noAddress'] as const)
        if (isCode(error, code)) throw new PortLayerError(code, { ...error.subject, starting: true });
      throw error;
    }
  }

  /** Puts a container that runs on a further network. @throws as {@link bind}, and then nothing is reserved */
  join(id: string, wish: NetworkWish, mac: string): NetworkEndpoint {
    const network = this.joinable(wish);
    try {
      return this.place(id, wish, network, mac);
    } catch (error) {
      this.leave(id, network.spec.id);
      throw error;
    }
  }

  /** Takes back a container's addresses on one network. @param network its id */
  leave(id: string, network: string): void {
    for (const { spec, pools } of this.networks) if (spec.id === network) for (const pool of pools) pool.release(id);
  }

  /** It does not run any more; its addresses are kept for it. */
  rest(id: string): void {
    for (const { pools } of this.networks) for (const pool of pools) pool.rest(id);
  }

  /** Takes back all addresses of a container. */
  release(id: string): void {
    for (const { pools } of this.networks) for (const pool of pools) pool.release(id);
  }

  /**
   * Claims the addresses of a container that was found running. If one cannot be claimed, the others still are.
   * @throws forbidden when another container runs with one of them; conflict for a foreign one; notFound for a network that no longer exists
   */
  claim(spec: Joining, endpoints: readonly NetworkEndpoint[]): void {
    const problems: Error[] = [];
    // What a DHCP server has given is not ours to claim.
    for (const { network, networkId, address, address6 } of endpoints.filter((one) => !isLeased(one)))
      for (const one of [address, address6]) {
        if (one === '') continue;
        try {
          const found = this.joinable({ network, networkId });
          const pool = found.pools.find((each) => each.holds(one));
          if (pool === undefined)
            throw new PortLayerError('network.foreignAddress', { address: one, subnet: found.spec.name });
          pool.claim(one, spec.id, isAsked(spec, network, one));
        } catch (error) {
          if (!isCode(error, 'network.addressInUse') && !isKind(error, 'conflict') && !isKind(error, 'notFound'))
            throw error;
          problems.push(error as Error);
        }
      }
    if (problems[0] !== undefined) throw problems[0];
  }

  /** Keeps the addresses of a container that was found and does not run: those of its last run, and those that it asks for. */
  recall(spec: Joining, endpoints: readonly NetworkEndpoint[]): void {
    for (const wish of spec.networks) {
      const found = this.find(wish);
      const last = endpoints.find((one) => one.networkId === found?.spec.id && !isLeased(one));
      for (const pool of found?.pools ?? []) {
        for (const asked of [wish.ipv4, wish.ipv6]) if (asked) pool.keep(asked, spec.id, true);
        for (const had of [last?.address, last?.address6]) if (had) pool.keep(had, spec.id);
      }
    }
  }

  private place(id: string, wish: NetworkWish, { spec, pools, predefined }: Network, mac: string): NetworkEndpoint {
    const chosen = ([4, 6] as const).map((family) => {
      const asked = family === 4 ? wish.ipv4 : wish.ipv6;
      const own = pools.filter((pool) => pool.family === family);
      if (own.length === 0 && !asked) return undefined;
      return chooseFrom(own, id, asked, spec.name);
    });
    const [four, six] = chosen;
    const isDefault = predefined && spec.name === DEFAULT_NETWORK;
    const gateways = spec.pools.flatMap(({ gateway }) => (gateway === '' ? [] : gateway));
    return wholeEndpoint({
      network: spec.name,
      networkId: spec.id,
      endpointId: newId(),
      mac,
      address: four?.address ?? '',
      prefixLength: four?.pool.prefixLength ?? 0,
      gateway: spec.internal ? '' : (four?.pool.gateway ?? ''),
      address6: six?.address ?? '',
      prefixLength6: six?.pool.prefixLength ?? 0,
      gateway6: spec.internal ? '' : (six?.pool.gateway ?? ''),
      gwPriority: wish.gwPriority ?? 0,
      mtu: spec.mtu,
      internal: spec.internal,
      nameServers: spec.kind === 'external' ? outerServers(spec) : isDefault ? [] : gateways,
      ...(spec.kind === 'external' || isDefault ? {} : { named: true }),
      aliases: wish.aliases,
      ...(wish.interfaceName === undefined ? {} : { interfaceName: wish.interfaceName }),
      ...(wish.sysctls === undefined ? {} : { sysctls: wish.sysctls }),
      ...(spec.kind === 'external' ? { external: outerTrust(spec) } : {}),
    });
  }

  private find({ network, networkId }: Pick<NetworkWish, 'network' | 'networkId'>): Network | undefined {
    if (networkId !== undefined && networkId !== '') return this.networks.find(({ spec }) => spec.id === networkId);
    return this.match(network).found;
  }

  private joinable(wish: Pick<NetworkWish, 'network' | 'networkId'>): Network {
    const network = this.find(wish);
    if (network === undefined || network.leaving)
      throw new PortLayerError('network.gone', { network: wish.networkId || wish.network });
    return network;
  }

  // --- networks ------------------------------------------------------------------------------------------------------

  list(): NetworkInfo[] {
    const endpoints = new Map<string, NetworkInfo['endpoints']>();
    for (const { running, id, spec, endpoints: own } of this.containers.all())
      if (running)
        for (const endpoint of own) {
          const one = { ...endpoint, containerId: id, containerName: spec.name };
          const others = endpoints.get(endpoint.networkId);
          if (others === undefined) endpoints.set(endpoint.networkId, [one]);
          else others.push(one);
        }
    return this.networks.map((network) => infoOf(network, endpoints.get(network.spec.id) ?? []));
  }

  resolve(reference: string): NetworkInfo {
    const { found, matches } = this.match(reference);
    if (matches > 1) throw new PortLayerError('network.ambiguous', { prefix: reference, matches, by: 'id' });
    if (found === undefined) throw new PortLayerError('network.notFound', { network: reference });
    return this.list().find(({ id }) => id === found.spec.id)!;
  }

  usage(reference: string): PoolUse[] {
    const { id } = this.resolve(reference);
    return this.networks.find(({ spec }) => spec.id === id)!.pools.map((pool) => pool.use());
  }

  create(request: NetworkRequest): Promise<NetworkInfo> {
    return this.exclusive(async () => {
      const { store, routes } = this.around;
      const { name } = request;
      const holder = this.networks.find(({ spec }) => spec.name === name);
      if (holder?.predefined === true || name === 'default')
        throw new PortLayerError('network.predefined', { network: name, doing: 'create' });
      if (holder !== undefined) throw new PortLayerError('network.nameTaken', { name });
      const pools = choosePools(request, {
        configured: this.config.addressPools,
        vch: this.config.id,
        networks: this.networks.flatMap(({ spec }) => spec.pools.flatMap(({ subnet }) => parseSubnet(subnet) ?? [])),
        routes: routes(),
      });
      if (store === null) throw new PortLayerError('network.notMade', { network: name, reason: 'nothing can keep it' });
      const id = newId();
      const spec = specOf(request, { id, pools, portGroup: store.portGroupOf({ id, name }) }, this.config.egress);
      const network = known(spec, '', false);
      network.interface = await store.add(spec, [...this.userMade(), spec]);
      this.networks.push(network);
      const info = infoOf(network, []);
      this.changes.emit('change', { type: 'made', network: info });
      return info;
    });
  }

  remove(reference: string): Promise<void> {
    return this.exclusive(async () => {
      const info = this.resolve(reference);
      const network = this.networks.find(({ spec }) => spec.id === info.id)!;
      if (network.predefined) throw new PortLayerError('network.predefined', { network: info.name, doing: 'remove' });
      const holders = this.activeOn(network);
      if (holders.length > 0) throw new PortLayerError('network.inUse', { network: info.name, holders });
      // Nobody joins it from here on.
      network.leaving = true;
      try {
        await this.members?.leavePortGroup(info.portGroup);
        await this.around.store?.remove(
          network.spec,
          this.userMade().filter(({ id }) => id !== info.id),
        );
      } catch (error) {
        network.leaving = false;
        throw error;
      }
      this.networks = this.networks.filter((one) => one !== network);
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
    const info = this.list().find(({ id }) => id === network);
    if (info !== undefined) this.changes.emit('change', { type, network: info, containerId });
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

  private userMade(): NetworkSpec[] {
    return this.networks.filter(({ predefined }) => !predefined).map(({ spec }) => spec);
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

function known(spec: NetworkSpec, name: string, predefined: boolean): Network {
  return { spec, pools: spec.pools.map((pool) => new AddressPool(pool)), interface: name, predefined, leaving: false };
}

function configured({ id, egress }: Config, name: string, portGroup: string, subnet: string): NetworkSpec {
  return {
    ...PLAIN_NETWORK,
    id: sha256(`network ${id} ${name}`),
    ...{ name, portGroup, egress: egress ?? DEFAULT_EGRESS },
    pools: [plainPool(subnet)],
  };
}

function specOf(
  { icc, egress, mtu, ipamDriver, ...request }: NetworkRequest,
  { id, pools, portGroup }: Pick<NetworkSpec, 'id' | 'pools' | 'portGroup'>,
  ownEgress: VchConfig['egress'],
): NetworkSpec {
  const { name, ipv4, ipv6, internal, attachable, labels, options, ipamOptions, pools: asked } = request;
  return {
    ...PLAIN_NETWORK,
    ...{ id, name, portGroup, pools, ipv4, ipv6, internal, attachable, labels, options, ipamOptions },
    createdAt: new Date().toISOString(),
    icc: icc ?? true,
    egress: egress ?? ownEgress ?? DEFAULT_EGRESS,
    mtu: mtu ?? 0,
    ipamDriver: ipamDriver ?? 'default',
    ...(asked.length === 0 ? {} : { asked: [...asked] }),
  };
}

function infoOf({ spec, interface: name, predefined }: Network, endpoints: NetworkInfo['endpoints']): NetworkInfo {
  const first = spec.pools.find(({ subnet }) => subnet.includes('.'));
  return {
    ...spec,
    driver: spec.kind,
    createdAt: new Date(spec.createdAt),
    predefined,
    interface: name,
    subnet: first?.subnet ?? '',
    gateway: first?.gateway ?? '',
    endpoints,
  };
}

/** An address of the first of a network's subnets that has one. */
function chooseFrom(
  pools: readonly AddressPool[],
  owner: string,
  asked: string | undefined,
  network: string,
): { address: string; pool: AddressPool } {
  if (asked) {
    const pool = pools.find((one) => one.holds(asked));
    if (pool === undefined)
      throw new PortLayerError('network.addressRefused', { network, address: asked, why: 'outside' });
    return { pool, address: pool.ask(asked, owner) };
  }
  let full: unknown;
  for (const pool of pools)
    try {
      return { pool, address: pool.take(owner) };
    } catch (error) {
      full = error;
    }
  throw full;
}

function isAsked({ networks }: Joining, network: string, address: string): boolean {
  return networks.some((wish) => wish.network === network && (wish.ipv4 === address || wish.ipv6 === address));
}
