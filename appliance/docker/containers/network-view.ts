/** The networks and ports of a container, as `inspect` and `ps` show them. */
import { type ContainerInfo, type NetworkEndpoint, wholeEndpoint } from '../../../port-layer/index.js';
import { sha256 } from '../../../src/common/ids.js';
import { reachable } from '../networks/reachable.js';
import { recordOf } from './container-record.js';
import { isUp } from './container-state.js';
import type { ViewSources } from './view-sources.js';

type NetworkSources = Pick<ViewSources, 'networkId'>;

/** The networks of a container; one without any is on `none`. As in Docker, their ids are known from its first start on. */
export function containerNetworks(sources: NetworkSources, container: ContainerInfo): { name: string; id: string }[] {
  const { config, leftNetwork } = recordOf(container);
  const started = container.startedAt !== null;
  const { networks } = container.spec;
  if (leftNetwork !== null || config.NetworkDisabled === true) return [];
  if (networks.length === 0) return [{ name: 'none', id: started ? sources.networkId('none') : '' }];
  return networks.map(({ network }) => ({
    name: network,
    id: started ? sources.networkId(network) : '',
  }));
}

/** `NetworkSettings.Networks`, by network name. A container that does not run is shown without addresses. */
export function networksView(sources: NetworkSources, container: ContainerInfo): Record<string, object> {
  const { gatewayPriority } = recordOf(container);
  return Object.fromEntries(
    containerNetworks(sources, container).map(({ name, id }) => {
      const wanted = container.spec.networks.find(({ network }) => network === name);
      const endpoint =
        container.endpoints.find((one) => one.network === name) ??
        wholeEndpoint({
          network: name,
          networkId: id,
          endpointId:
            container.spec.networks.length === 0 && isUp(container) ? sha256(`${id} ${container.spec.id}`) : '',
          aliases: wanted?.aliases ?? [],
          mac: wanted?.mac ?? '',
        });
      return [name, endpointView(endpoint, gatewayPriority)];
    }),
  );
}

function endpointView(endpoint: NetworkEndpoint, gatewayPriority: number): object {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: endpoint.aliases.length > 0 ? endpoint.aliases : null,
    MacAddress: endpoint.mac,
    DriverOpts: null,
    GwPriority: gatewayPriority,
    NetworkID: endpoint.networkId,
    EndpointID: endpoint.endpointId,
    Gateway: endpoint.gateway,
    IPAddress: endpoint.address,
    IPPrefixLen: endpoint.prefixLength,
    IPv6Gateway: endpoint.gateway6,
    GlobalIPv6Address: endpoint.address6,
    GlobalIPv6PrefixLen: endpoint.prefixLength6,
    DNSNames: null,
  };
}

/** The fields beside `Networks` that described the only network before there were several; API versions before 1.52 show them. */
export function legacyNetworkView({ endpoints: [first], spec }: ContainerInfo): object {
  return {
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: first?.endpointId ?? '',
    Gateway: first?.gateway ?? '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPAddress: first?.address ?? '',
    IPPrefixLen: first?.prefixLength ?? 0,
    IPv6Gateway: '',
    MacAddress: first?.mac ?? spec.networks[0]?.mac ?? '',
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
  for (const { containerPort, protocol, hostIp, hostPort } of portsOf(container.spec.id)) {
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
  const published = portsOf(container.spec.id);
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
