/** Containers' places on networks: their addresses there, given, kept and taken back. A container is on a network at most once. */
import { isKind } from '../../src/common/errors.js';
import { newId } from '../../src/common/ids.js';
import type { Attachment } from '../../src/vim25/index.js';
import { DEFAULT_NETWORK, type VchConfig } from '../config.js';
import { isCode, PortLayerError } from '../errors.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import type { AddressPool } from './address-pool.js';
import { guardOf } from './card-guard.js';
import { wholeEndpoint } from './endpoints.js';
import { outerServers, outerTrust } from './external-networks.js';
import { isLeased } from './leases.js';
import type { Network, NetworkTable } from './network-table.js';
import type { NetworkEndpoint, NetworkWish } from './types.js';

/** vSphere's limit per VM. */
export const MAX_CARDS = 10;

type Joining = Pick<ContainerSpec, 'id' | 'networks'>;

export class Places {
  /**
   * @param own whether the host is this engine's own switch and gateway
   * @param egress the virtual container host's
   */
  constructor(
    private readonly table: Pick<NetworkTable, 'all' | 'first' | 'find' | 'joinable'>,
    private readonly own = true,
    private readonly egress?: VchConfig['egress'],
  ) {}

  /**
   * A new container's list of networks with their names, and its addresses reserved where it asked for some and they are free. Whether the
   * networks exist is only checked at start.
   * @throws invalid for a network that is named twice, and for more networks than a VM can have cards
   */
  settle<T extends Joining>(spec: T): T {
    if (spec.networks.length > MAX_CARDS) throw new PortLayerError('network.tooMany', { most: MAX_CARDS });
    const networks = spec.networks.map((wish) => ({
      ...wish,
      network: this.table.find(wish)?.spec.name ?? wish.network,
    }));
    const names = networks.map(({ network }) => network);
    const twice = names.find((name, at) => names.indexOf(name) !== at);
    if (twice !== undefined) throw new PortLayerError('network.givenTwice', { network: twice });
    for (const wish of networks)
      for (const address of [wish.ipv4, wish.ipv6])
        if (address) for (const pool of this.table.find(wish)?.pools ?? []) pool.keep(address, spec.id, true);
    return { ...spec, networks };
  }

  /** What a network's cards are attached to: the default one's if the network does not exist. */
  attachmentOf(wish: Pick<NetworkWish, 'network' | 'networkId'>): Attachment {
    const { portGroup, distributed } = (this.table.find(wish) ?? this.table.first).spec;
    return { portGroup, distributed };
  }

  /** The networks of a container, each known by its id from now on. As in Docker, predefined ones go by their names. */
  identified(wishes: readonly NetworkWish[]): NetworkWish[] {
    return wishes.map((wish) => {
      const network = this.table.find(wish);
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
    try {
      const joined = networks.map((wish) => ({ wish, network: this.table.joinable(wish) }));
      const names = new Set(networks.map(({ interfaceName }) => interfaceName));
      return joined.map(({ wish, network }, card) => this.place(id, wish, network, macs[card] ?? '', names));
    } catch (error) {
      for (const code of ['network.addressInUse', 'network.noAddress', 'network.onlyConfiguration'] as const)
        if (isCode(error, code)) throw new PortLayerError(code, { ...error.subject, starting: true });
      throw error;
    }
  }

  /** Puts a container that runs on a further network. @param own its places @throws as {@link bind}, and then nothing is reserved */
  join(id: string, wish: NetworkWish, mac: string, own: readonly NetworkEndpoint[] = []): NetworkEndpoint {
    const network = this.table.joinable(wish);
    try {
      return this.place(id, wish, network, mac, new Set(own.map(({ interfaceName }) => interfaceName)));
    } catch (error) {
      this.leave(id, network.spec.id);
      throw error;
    }
  }

  /** Takes back a container's addresses on one network. @param network its id */
  leave(id: string, network: string): void {
    for (const { spec, pools } of this.table.all) if (spec.id === network) for (const pool of pools) pool.release(id);
  }

  /** It does not run any more; its addresses are kept for it. */
  rest(id: string): void {
    for (const { pools } of this.table.all) for (const pool of pools) pool.rest(id);
  }

  /** Takes back all addresses of a container. */
  release(id: string): void {
    for (const { pools } of this.table.all) for (const pool of pools) pool.release(id);
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
          const found = this.table.joinable({ network, networkId });
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
      const found = this.table.find(wish);
      const last = endpoints.find((one) => one.networkId === found?.spec.id && !isLeased(one));
      for (const pool of found?.pools ?? []) {
        for (const asked of [wish.ipv4, wish.ipv6]) if (asked) pool.keep(asked, spec.id, true);
        for (const had of [last?.address, last?.address6]) if (had) pool.keep(had, spec.id);
      }
    }
  }

  /** @param names of the container's interfaces, to which this one's is added */
  private place(
    id: string,
    wish: NetworkWish,
    { spec, pools, predefined }: Network,
    mac: string,
    names: Set<string | undefined>,
  ): NetworkEndpoint {
    const chosen = ([4, 6] as const).map((family) => {
      const asked = family === 4 ? wish.ipv4 : wish.ipv6;
      const own = pools.filter((pool) => pool.family === family);
      // Nobody has an address of a kind that the network knows, but has switched off.
      const isOff = (spec.asked ?? []).some(({ subnet = '' }) => subnet.includes(':') === (family === 6));
      if (own.length === 0 && (!asked || isOff)) return undefined;
      return chooseFrom(own, id, asked, spec.name);
    });
    const [four, six] = chosen;
    // Elsewhere nobody answers questions for names at the gateway.
    const named = this.own && spec.kind === 'bridge' && !(predefined && spec.name === DEFAULT_NETWORK);
    const gateways = spec.pools.flatMap(({ gateway }) => (gateway === '' ? [] : gateway));
    const interfaceName = wish.interfaceName ?? numbered(spec.interfacePrefix, names);
    names.add(interfaceName);
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
      nameServers: spec.kind === 'external' ? outerServers(spec) : named ? gateways : [],
      ...(named ? { named: true } : {}),
      aliases: wish.aliases,
      ...(interfaceName === undefined ? {} : { interfaceName }),
      ...(wish.sysctls === undefined ? {} : { sysctls: wish.sysctls }),
      ...(spec.kind === 'external' ? { external: { ...outerTrust(spec), ...(this.own ? {} : { alone: true }) } } : {}),
      ...(spec.kind === 'bridge' && !this.own ? { guard: guardOf(spec, this.egress) } : {}),
    });
  }
}

/** The first such name that is free; undefined without a prefix. */
function numbered(prefix: string | undefined, taken: ReadonlySet<string | undefined>): string | undefined {
  if (prefix === undefined) return undefined;
  let number = 0;
  while (taken.has(`${prefix}${number}`)) number++;
  return `${prefix}${number}`;
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
