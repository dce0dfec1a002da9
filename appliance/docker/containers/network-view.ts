/** The networks and ports of a container, as `inspect` and `ps` show them. */
import { DEFAULT_NETWORK } from '../../../port-layer/config.js';
import {
  type ContainerInfo,
  type NetworkEndpoint,
  type NetworkWish,
  wholeEndpoint,
} from '../../../port-layer/index.js';
import { shortId } from '../../../src/common/ids.js';
import { API_VERSION, atLeast } from '../http/api-version.js';
import { dnsNames } from '../networks/dns-names.js';
import { ASKED, type Asked, isUserDefined } from '../networks/endpoint-settings.js';
import { isOnNone, NONE } from '../networks/none-network.js';
import { reachable } from '../networks/reachable.js';
import { recordOf } from './container-record.js';
import { isUp } from './container-state.js';
import type { ViewSources } from './view-sources.js';

type NetworkSources = Pick<ViewSources, 'networkId' | 'noneEndpointOf'>;

/** The networks of a container. As in Docker, their ids are known from its first start on. */
export function containerNetworks(sources: NetworkSources, container: ContainerInfo): { name: string; id: string }[] {
  const { leftNetwork } = recordOf(container);
  const { startedAt, spec, endpoints } = container;
  if (isOnNone(container)) return [{ name: NONE, id: startedAt === null ? '' : sources.networkId(NONE) }];
  return spec.networks
    .filter(({ network }) => network !== leftNetwork)
    .map((wish) => {
      const endpoint = endpoints.find(({ network }) => network === wish.network);
      // Versions before this one did not keep the ids of networks.
      const found = startedAt === null || askedOf(wish).connected ? '' : sources.networkId(wish.network);
      return { name: wish.network, id: endpoint?.networkId ?? wish.networkId ?? found };
    });
}

/** `NetworkSettings.Networks`, by network name. A container that does not run is shown without addresses. */
export function networksView(
  sources: NetworkSources,
  container: ContainerInfo,
  apiVersion: string,
): Record<string, EndpointView> {
  const { gatewayPriority } = recordOf(container);
  const views = containerNetworks(sources, container).map(({ name, id }): [string, EndpointView] => {
    const wish = container.spec.networks.find(({ network }) => network === name);
    const endpoint = container.endpoints.find(({ network }) => network === name);
    // Once it has run, a MAC address belongs to the run.
    const mac = endpoint?.mac ?? (id === '' ? (wish?.mac ?? '') : '');
    const place =
      endpoint ?? wholeEndpoint({ mac, endpointId: isUp(container) ? sources.noneEndpointOf(container) : '' });
    const gwPriority = wish?.gwPriority ?? gatewayPriority;
    const view = { ...endpointView(place, id, gwPriority), ...askedView(container, wish, id !== '') };
    return [name, atLeast(apiVersion, '1.45') ? view : withOlderAliases(view, name, container)];
  });
  return Object.fromEntries(views.sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** The same for a row of `ps`, which leaves names out. */
export function listNetworksView(sources: NetworkSources, container: ContainerInfo): Record<string, EndpointView> {
  const views = Object.entries(networksView(sources, container, API_VERSION)).map(([name, view]) => [
    name,
    { ...view, Links: null, Aliases: null, DriverOpts: null, DNSNames: null },
  ]);
  return Object.fromEntries(views) as Record<string, EndpointView>;
}

type EndpointView = Record<string, unknown>;

function askedOf(wish: NetworkWish | undefined): Asked {
  const kept = wish?.annotations?.[ASKED];
  const none: Asked = { IPAMConfig: null, Links: null, Aliases: null, DriverOpts: null };
  if (kept !== undefined) return { ...none, ...(JSON.parse(kept) as Partial<Asked>) };
  const aliases = wish?.aliases ?? [];
  return aliases.length === 0 ? none : { ...none, Aliases: [...aliases] };
}

/** What was asked, and the names that follow from it. They are known once the container has a place on the network. */
function askedView({ spec }: ContainerInfo, wish: NetworkWish | undefined, joined: boolean): EndpointView {
  const { IPAMConfig, Links, Aliases, DriverOpts, connected } = askedOf(wish);
  const named = wish !== undefined && isUserDefined(wish.network) && (joined || connected === true);
  return {
    ...{ IPAMConfig, Links, Aliases, DriverOpts },
    DNSNames: named ? dnsNames({ spec }, Aliases ?? []) : null,
  };
}

/** Before 1.45 the names that every container has were among its aliases. */
function withOlderAliases(view: EndpointView, network: string, { spec }: ContainerInfo): EndpointView {
  if (!isUserDefined(network)) return view;
  const own = [shortId(spec.id), spec.hostname || shortId(spec.id)];
  return { ...view, Aliases: [...new Set([...((view.Aliases as string[] | null) ?? []), ...own])] };
}

function endpointView(endpoint: NetworkEndpoint, networkId: string, gwPriority: number): EndpointView {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: null,
    MacAddress: endpoint.mac,
    DriverOpts: null,
    GwPriority: gwPriority,
    NetworkID: networkId,
    EndpointID: endpoint.endpointId,
    Gateway: endpoint.internal ? '' : endpoint.gateway,
    IPAddress: endpoint.address,
    IPPrefixLen: endpoint.prefixLength,
    IPv6Gateway: endpoint.internal ? '' : endpoint.gateway6,
    GlobalIPv6Address: endpoint.address6,
    GlobalIPv6PrefixLen: endpoint.prefixLength6,
    DNSNames: null,
  };
}

/** The fields beside `Networks` that describe the container's place on the default network; API versions before 1.52 show them. */
export function legacyNetworkView(networks: Record<string, EndpointView>): object {
  const place = networks[DEFAULT_NETWORK] ?? {};
  return {
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: place.EndpointID ?? '',
    Gateway: place.Gateway ?? '',
    GlobalIPv6Address: place.GlobalIPv6Address ?? '',
    GlobalIPv6PrefixLen: place.GlobalIPv6PrefixLen ?? 0,
    IPAddress: place.IPAddress ?? '',
    IPPrefixLen: place.IPPrefixLen ?? 0,
    IPv6Gateway: place.IPv6Gateway ?? '',
    MacAddress: place.MacAddress ?? '',
  };
}

type PortSources = Pick<ViewSources, 'portsOf'>;
type PortBinding = { HostIp: string; HostPort: string };

/** `NetworkSettings.Ports`: published ports by `80/tcp`; exposed ones that are not published have null. */
export function portsView({ portsOf }: PortSources, container: ContainerInfo): Record<string, PortBinding[] | null> {
  const view: Record<string, PortBinding[] | null> = {};
  if (!isUp(container) || reachable(container.endpoints) === undefined) return view;
  for (const port of Object.keys(recordOf(container).config.ExposedPorts ?? {}))
    view[port.includes('/') ? port : `${port}/tcp`] = null;
  for (const { containerPort, protocol, hostIp, hostPort } of portsOf(container)) {
    const key = `${containerPort}/${protocol}`;
    view[key] = [...(view[key] ?? []), { HostIp: hostIp, HostPort: String(hostPort) }];
  }
  return view;
}

/** A port in a row of `ps`. */
export interface ListPort {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

/** Published and exposed ports, sorted by the port in the container. A container that does not run has none. */
export function listPorts({ portsOf }: PortSources, container: ContainerInfo): ListPort[] {
  if (!isUp(container) || reachable(container.endpoints) === undefined) return [];
  const published = portsOf(container);
  const ports: ListPort[] = published.map(({ containerPort, protocol, hostIp, hostPort }) => ({
    IP: hostIp,
    PrivatePort: containerPort,
    PublicPort: hostPort,
    Type: protocol,
  }));
  for (const exposed of Object.keys(recordOf(container).config.ExposedPorts ?? {})) {
    const [port, protocol = 'tcp'] = exposed.split('/');
    if (!published.some((one) => one.containerPort === Number(port) && one.protocol === protocol))
      ports.push({ PrivatePort: Number(port), Type: protocol });
  }
  return ports.sort((a, b) => a.PrivatePort - b.PrivatePort);
}
