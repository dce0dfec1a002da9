/** The program that a container's VM carries out, made from the container's spec and the addresses it was given. */
import { shortId } from '../../src/common/ids.js';
import {
  type FileSpec,
  INIT_PATH,
  type NicFilter,
  type NicSpec,
  type ProcessSpec,
  type ProgramSpec,
  type VolumeSpec,
} from '../../tether/program/spec.js';
import { LEASED_SERVERS, MAX_GUEST_MOUNTS, UNLESS_LEASED } from '../../tether/program/steps.js';
import { MAX_NAME_SERVERS } from '../../tether/protocol/network-requests.js';
import { PortLayerError } from '../errors.js';
import { ranked, wayOut4, wayOut6 } from '../network/endpoints.js';
import { hostsFile } from '../network/hosts-file.js';
import { awaitsLease, isLeased } from '../network/leases.js';
import { INTERNAL_SERVER, internalResolvConf, isLoopback, machineDns, resolvConf } from '../network/resolv-conf.js';
import type { NetworkEndpoint } from '../network/types.js';
import { volumeDisks } from '../storage/volume-disks.js';
import { SERVER_ADDRESS, sharingCard } from '../storage/volume-sharing.js';
import type { ContainerSpec } from './container-spec.js';

const GATE_TIMEOUT_MS = 15_000;

/** What it calls itself. */
export const hostnameOf = ({ hostname, id }: ContainerSpec): string => (hostname === '' ? shortId(id) : hostname);

/** The place of each of a machine's cards, by MAC address, and the cards of the container's networks. */
export interface CardOrder {
  cards: ReadonlyMap<string, number>;
  networks: readonly ({ mac: string } | undefined)[];
}

/**
 * The program of a container that is being started.
 * @param first whether it has never run @param order only needed if it has cards besides those of its networks
 */
export function programSpec(
  spec: ContainerSpec,
  endpoints: NetworkEndpoint[],
  first: boolean,
  order: CardOrder | null = null,
): ProgramSpec {
  const hostname = hostnameOf(spec);
  return {
    containerId: spec.id,
    hostname,
    domainname: spec.domainname,
    rootDisk: { bus: 0, unit: 0 },
    readOnlyRoot: spec.readOnlyRoot,
    ...(first ? { initLayer: Math.floor(Date.parse(spec.createdAt) / 1000) } : {}),
    nics: endpoints.map((endpoint, index) => ({
      index: order?.cards.get(order.networks[index]?.mac ?? '') ?? index,
      name: interfaceNames(endpoints)[index]!,
      mac: endpoint.mac,
      ...cardSettings(endpoint, endpoints, spec.openPorts),
    })),
    ...nameServers(spec, endpoints),
    files: [...networkFiles(spec, hostname, endpoints.map(leasedLater)), ...spec.files],
    sysctls: spec.sysctls,
    shmSize: spec.shmSize,
    ...(spec.rootSize === undefined ? {} : { rootSize: spec.rootSize }),
    init: spec.init === true,
    privileged: spec.privileged === true,
    writableCgroups: spec.writableCgroups === true,
    userNamespaces: spec.userNamespaces === true,
    tmpfs: spec.tmpfs ?? [],
    volumes: volumeSpecs(spec, first, order),
    maskedPaths: spec.maskedPaths ?? [],
    readOnlyPaths: spec.readOnlyPaths ?? [],
    limits: spec.limits ?? {},
    keepLog: spec.log?.kept !== false,
    process: firstProcess(spec),
    stopSignal: spec.stopSignal,
    stopTimeoutSeconds: Math.max(0, spec.stopTimeoutSeconds),
    gateTimeoutMs: GATE_TIMEOUT_MS,
  };
}

/** Those that were asked for; the other cards are `eth0`, `eth1`, … in their order, without names that are taken. */
export function interfaceNames(endpoints: readonly Pick<NetworkEndpoint, 'interfaceName'>[]): string[] {
  const taken = new Set(endpoints.map(({ interfaceName }) => interfaceName));
  let next = 0;
  return endpoints.map(({ interfaceName }) => {
    if (interfaceName !== undefined) return interfaceName;
    while (taken.has(`eth${next}`)) next++;
    return `eth${next++}`;
  });
}

/** The guest puts in the address that it gets. */
function leasedLater(endpoint: NetworkEndpoint): NetworkEndpoint {
  return awaitsLease(endpoint) ? { ...endpoint, address: `dhcp:${endpoint.mac}` } : endpoint;
}

/** What a card gets. @param all of the container's endpoints, which tell whether the way out is here */
export function cardSettings(
  endpoint: NetworkEndpoint,
  all: readonly NetworkEndpoint[],
  openPorts: ContainerSpec['openPorts'] = [],
): Omit<NicSpec, 'index' | 'name' | 'mac'> {
  const { address, prefixLength, gateway, address6, prefixLength6, gateway6, mtu, sysctls } = endpoint;
  const { external } = endpoint;
  const filter = filterOf(endpoint, openPorts);
  const leased = leasedWayOut(all);
  return {
    address: address === '' || isLeased(endpoint) ? '' : `${address}/${prefixLength}`,
    ...(leased === undefined && endpoint === wayOut4(all) ? { gateway } : {}),
    ...(external?.dhcp === true ? { dhcp: endpoint === leased ? 'route' : 'address' } : {}),
    ...(filter === undefined ? {} : { filter }),
    ...(address6 === '' ? {} : { address6: `${address6}/${prefixLength6}` }),
    ...(endpoint === wayOut6(all) ? { gateway6 } : {}),
    ...(mtu === 0 ? {} : { mtu }),
    ...(sysctls === undefined ? {} : { sysctls }),
  };
}

/** What may pass a card; undefined: everything. */
function filterOf(
  { external, guard, mac, address, address6 }: NetworkEndpoint,
  ports: NicFilter['ports'],
): NicFilter | undefined {
  const own = { mac, addresses: [address, address6].filter((one) => one !== '') };
  if (guard !== undefined)
    return { trust: 'peers', ports: [], peers: guard.from, ...(guard.to === undefined ? {} : { to: guard.to }), own };
  if (external === undefined) return undefined;
  const { trust, peers, dhcp, alone = false } = external;
  if (trust === 'open' && ports.every(({ to }) => to === undefined)) return undefined;
  const filter: NicFilter = { trust, ports, peers };
  // An address that is told by DHCP is not known here.
  if (!alone || dhcp || trust === 'open') return filter;
  return { ...filter, own: trust === 'closed' ? { mac, addresses: [] } : own };
}

/** The network whose router, told by DHCP, is the default route: nothing is known of it here but that it comes first. */
export function leasedWayOut(all: readonly NetworkEndpoint[]): NetworkEndpoint | undefined {
  const [first] = ranked(all).filter((one) => one.external?.dhcp === true || one === wayOut4(all));
  return first?.external?.dhcp === true ? first : undefined;
}

/**
 * Where 127.0.0.11 passes questions on to: first to the gateways, which know the containers' names and ask the servers that the container has
 * of its own for all others. Servers of external networks would say that there is no such container. Where one of its own servers is on the
 * container's loopback, which no gateway reaches, the gateways refuse what is no container's name, and the guest asks all of its servers.
 */
export function serversOf({ dns }: Pick<ContainerSpec, 'dns'>, endpoints: readonly NetworkEndpoint[]): string[] {
  const of = (named: boolean): string[] =>
    ranked(endpoints)
      .filter((endpoint) => (endpoint.named === true) === named)
      .flatMap((endpoint) => endpoint.nameServers);
  const [gateways, others] = [of(true), of(false)];
  const wanted = (dns?.servers ?? []).filter((one) => one !== INTERNAL_SERVER);
  const inside = gateways.length > 0 && wanted.some(isLoopback);
  const own = inside || (gateways.length === 0 && others.length > 0 && wanted.length > 0) ? wanted : others;
  const servers = [...new Set([...gateways, ...own])];
  // A DHCP server may name none.
  const instead =
    gateways.length === 0 && own.includes(LEASED_SERVERS) ? machineDns().servers.map((one) => UNLESS_LEASED + one) : [];
  return [...servers, ...instead].slice(0, MAX_NAME_SERVERS);
}

/** The addresses of the container's gateway, the one with a way out first: questions are answered at each of them. */
function gatewaysOf(endpoints: readonly NetworkEndpoint[]): string[] {
  const [first] = ranked(endpoints).filter(
    ({ external, gateway, gateway6 }) => external === undefined && gateway + gateway6 !== '',
  );
  return first === undefined ? [] : [first.gateway, first.gateway6].filter((one) => one !== '');
}

function nameServers(
  spec: Pick<ContainerSpec, 'dns'>,
  endpoints: readonly NetworkEndpoint[],
): Pick<ProgramSpec, 'nameServers'> {
  const servers = serversOf(spec, endpoints);
  return servers.length === 0 ? {} : { nameServers: servers };
}

function volumeSpecs(spec: ContainerSpec, first: boolean, order: CardOrder | null): VolumeSpec[] {
  const shared = new Map((spec.sharing ?? []).map((one) => [one.volume, sharingCard(one)]));
  const disks = new Map(volumeDisks(spec).map((disk) => [disk.volume, disk]));
  const mounted = [
    ...new Set(
      (spec.volumes ?? []).flatMap(({ volume, mount }) => (mount === undefined && !shared.has(volume) ? [] : volume)),
    ),
  ];
  if (mounted.length > MAX_GUEST_MOUNTS)
    throw new PortLayerError('volume.tooMany', { most: MAX_GUEST_MOUNTS, wanted: mounted.length });
  return (spec.volumes ?? []).map(({ volume, path, readOnly, subpath = '', mount, fill = false }) => {
    if (mount !== undefined)
      return {
        from: { filesystem: { ...mount, volume, number: mounted.indexOf(volume) } },
        path,
        readOnly,
        subpath,
        ...(first && fill && mount.type !== 'tmpfs' ? { fill } : {}),
      };
    const card = shared.get(volume);
    if (card !== undefined) {
      const { mac, address, prefixLength } = card;
      const at = { index: order?.cards.get(mac) ?? spec.networks.length, mac, address: `${address}/${prefixLength}` };
      return {
        from: { served: { number: mounted.indexOf(volume), volume, card: at, server: SERVER_ADDRESS } },
        path,
        readOnly,
        subpath,
      };
    }
    const { bus, unit, readOnly: diskReadOnly } = disks.get(volume)!;
    return { from: { disk: { bus, unit }, diskReadOnly }, path, readOnly, subpath };
  });
}

function firstProcess({ process, init, links }: ContainerSpec): ProcessSpec {
  const name = (entry: string): string => entry.split('=', 1)[0]!;
  const own = new Set(process.env.map(name));
  return {
    ...process,
    args: init === true ? [INIT_PATH, '--', ...process.args] : process.args,
    env: [...process.env, ...(links?.env ?? []).filter((entry) => !own.has(name(entry)))],
  };
}

/** The container's /etc/hostname, /etc/hosts and /etc/resolv.conf. */
export function networkFiles(spec: ContainerSpec, hostname: string, endpoints: readonly NetworkEndpoint[]): FileSpec[] {
  const { domainname, extraHosts, links, dns } = spec;
  const hosts = hostsFile({ hostname, domainname, endpoints, extraHosts, links: links?.hosts ?? [] });
  const resolv =
    serversOf(spec, endpoints).length > 0 ? internalResolvConf(dns) : resolvConf(dns, gatewaysOf(endpoints));
  return [
    { path: '/etc/hostname', content: `${hostname}\n`, mode: 0o644 },
    { path: '/etc/hosts', content: hosts, mode: 0o644 },
    { path: '/etc/resolv.conf', content: resolv, mode: 0o644 },
  ];
}
