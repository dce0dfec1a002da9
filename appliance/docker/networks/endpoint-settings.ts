/**
 * Checks what a request says of a container's place on a network, in Docker's words (moby `daemon/container_operations.go`). Tools send
 * back what `inspect` showed them, so fields that the engine filled in are ignored, as in Docker. Pure.
 */
import type { NetworkInfo, NetworkWish } from '../../../port-layer/index.js';
import { invalid, unsupported } from '../../../src/common/errors.js';
import { contains, parseAddress, parseSubnet, type Subnet } from './addresses.js';
import { checkEndpointRate } from './egress-rate.js';
import type { EndpointRequest } from './endpoint-request.js';
import { plainAddress } from './ipam-config.js';
import { joined } from './problems.js';

/** Networks that containers are not on by a name of their own choice; they have no aliases and no addresses to choose there. */
const NOT_USER_DEFINED = /^(default|bridge|host|none|container:.*|)$/;

export const isUserDefined = (name: string): boolean => !NOT_USER_DEFINED.test(name);

const SYSCTLS = 'com.docker.network.endpoint.sysctls';
const INTERFACE_NAME = 'com.docker.network.endpoint.ifname';

/** What is kept with a wish of what was asked: `inspect` tells null, an empty list and an empty object apart. */
export const ASKED = 'docker.asked';

/** Of {@link ASKED}. */
export interface Asked {
  IPAMConfig: object | null;
  Links: string[] | null;
  Aliases: string[] | null;
  DriverOpts: Record<string, string> | null;
  /** It was connected, not made with the network: its names are known before its first start. */
  connected?: boolean;
}

/** @param network undefined: it does not exist (yet) @throws invalid in Docker's words; unsupported */
export function checkEndpoint(name: string, network: NetworkInfo | undefined, endpoint: EndpointRequest): void {
  const problems = [...placeProblems(name, endpoint), ...addressProblems(endpoint)];
  if (network !== undefined) problems.push(...rangeProblems(network, endpoint));
  // As in Docker, a wrong MAC address hides the rest.
  if (endpoint.MacAddress) checkMac(endpoint.MacAddress);
  problems.push(...sysctlProblems(endpoint.DriverOpts?.[SYSCTLS]));
  problems.push(...interfaceProblems(endpoint.DriverOpts?.[INTERFACE_NAME]));
  if (problems.length > 0) throw invalid(`invalid endpoint settings:\n${joined(problems)}`);
  if ((endpoint.IPAMConfig?.LinkLocalIPs ?? []).length > 0)
    throw unsupported(`${fieldOf(name)}.IPAMConfig.LinkLocalIPs (--link-local-ip) is not implemented`);
  checkEndpointRate(name, network, endpoint.DriverOpts);
  // Without names there is nothing that a link could be.
  if (!isUserDefined(name) && (endpoint.Links ?? []).length > 0)
    throw unsupported(
      `${fieldOf(name)}.Links is not implemented: links on the default network are in HostConfig.Links`,
    );
}

const fieldOf = (network: string): string => `NetworkingConfig.EndpointsConfig.${network}`;

/** A container's wish to be on a network. @param mac of the container itself, for its main network; '' for none */
export function wishOf(network: string, endpoint: EndpointRequest, mac: string, connected = false): NetworkWish {
  const { IPAMConfig, Links, Aliases, DriverOpts, GwPriority } = endpoint;
  const { IPv4Address = '', IPv6Address = '', LinkLocalIPs = [] } = IPAMConfig ?? {};
  const asked: Asked = {
    IPAMConfig: IPAMConfig
      ? {
          ...(IPv4Address ? { IPv4Address } : {}),
          ...(IPv6Address ? { IPv6Address } : {}),
          ...(LinkLocalIPs && LinkLocalIPs.length > 0 ? { LinkLocalIPs } : {}),
        }
      : null,
    Links: Links ?? null,
    Aliases: Aliases ?? null,
    DriverOpts: DriverOpts ?? null,
    ...(connected ? { connected } : {}),
  };
  const plain = Object.values(asked).every((value) => value === null);
  return {
    network,
    aliases: Aliases ?? [],
    ...(mac === '' ? {} : { mac }),
    ...(IPv4Address ? { ipv4: plainAddress(IPv4Address) } : {}),
    ...(IPv6Address ? { ipv6: plainAddress(IPv6Address) } : {}),
    ...(GwPriority ? { gwPriority: GwPriority } : {}),
    ...(Links && Links.length > 0 ? { links: Links } : {}),
    ...(DriverOpts && Object.keys(DriverOpts).length > 0 ? { driverOpts: DriverOpts } : {}),
    ...(DriverOpts?.[INTERFACE_NAME] ? { interfaceName: DriverOpts[INTERFACE_NAME] } : {}),
    ...(DriverOpts?.[SYSCTLS] ? { sysctls: sysctlsOf(DriverOpts[SYSCTLS]) } : {}),
    ...(plain ? {} : { annotations: { [ASKED]: JSON.stringify(asked) } }),
  };
}

/** By key, in which `IFNAME` stands for the interface. */
function sysctlsOf(text: string): Record<string, string> {
  return Object.fromEntries(
    text.split(',').map((one) => {
      const [key = '', ...value] = one.split('=');
      return [key.replace('.ifname.', '.IFNAME.'), value.join('=')];
    }),
  );
}

/** What the kernel takes for a name. */
function interfaceProblems(name: string | undefined): string[] {
  if (name === undefined || name === '' || (/^[^/:\s]{1,15}$/.test(name) && !['lo', '.', '..'].includes(name)))
    return [];
  return [`invalid interface name '${name}'`];
}

/** `xx:xx:xx:xx:xx:xx` in lower case. @throws invalid in Docker's words */
export function checkMac(text: string): string {
  const mac = text.toLowerCase().replaceAll('-', ':');
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac)) throw invalid(`invalid MAC address ${text}`);
  // With the group bit (IEEE 802) it addresses a group of cards, not one.
  if ((Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0 || mac === '00:00:00:00:00:00')
    throw invalid(`MAC address ${text} is not one of a network card`);
  return mac;
}

function placeProblems(name: string, { IPAMConfig, Aliases }: EndpointRequest): string[] {
  if (isUserDefined(name)) return [];
  const problems: string[] = [];
  if (IPAMConfig?.IPv4Address || IPAMConfig?.IPv6Address)
    problems.push('user specified IP address is supported on user defined networks only');
  if ((Aliases ?? []).length > 0)
    problems.push('network-scoped alias is supported only for containers in user defined networks');
  return problems;
}

function addressProblems({ IPAMConfig }: EndpointRequest): string[] {
  const { IPv4Address, IPv6Address, LinkLocalIPs } = IPAMConfig ?? {};
  const wrong = (text: string, family?: 4 | 6): boolean => {
    const address = parseAddress(text);
    return address === null || (family !== undefined && address.family !== family) || address.value === 0n;
  };
  return [
    ...(IPv4Address && wrong(IPv4Address, 4) ? [`invalid IPv4 address: ${IPv4Address}`] : []),
    ...(IPv6Address && wrong(IPv6Address, 6) ? [`invalid IPv6 address: ${IPv6Address}`] : []),
    ...(LinkLocalIPs ?? []).filter((text) => wrong(text)).map((text) => `invalid link-local IP address: ${text}`),
  ];
}

/** Addresses can be chosen in subnets that were asked for, not in those that the engine chose. */
function rangeProblems(network: NetworkInfo, { IPAMConfig }: EndpointRequest): string[] {
  const asked = network.predefined ? network.pools : (network.asked ?? []);
  const subnets = asked.flatMap(({ subnet }) => parseSubnet(subnet ?? '') ?? []);
  const problem = (text: string | null | undefined, family: 4 | 6): string[] => {
    if (!text) return [];
    if (network.kind === 'external' && network.pools.length === 0)
      return [`Cannot set static IP (${text}) when default gateway is not set for network ${network.name}`];
    const fitting: Subnet[] = subnets.filter((subnet) => subnet.family === family);
    if (fitting.length === 0)
      return ['user specified IP address is supported only when connecting to networks with user configured subnets'];
    const address = parseAddress(text);
    if (address !== null && fitting.some((subnet) => contains(subnet, address))) return [];
    return [`no configured subnet or ip-range contain the IP address ${text}`];
  };
  return [...problem(IPAMConfig?.IPv4Address, 4), ...problem(IPAMConfig?.IPv6Address, 6)];
}

function sysctlProblems(text: string | undefined): string[] {
  if (text === undefined) return [];
  return text
    .split(',')
    .filter((one) => {
      const [, kind, , place, ...rest] = one.split('.');
      return rest.length === 0 || !/^(ipv4|ipv6|mpls)$/.test(kind!) || !/^(IFNAME|ifname)$/.test(place ?? '');
    })
    .map(
      (one) =>
        `unrecognised network interface sysctl '${one}'; represent 'net.X.Y.ethN.Z=V' as 'net.X.Y.IFNAME.Z=V', 'X' must be 'ipv4', 'ipv6' or 'mpls'`,
    );
}
