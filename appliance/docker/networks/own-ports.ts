/**
 * Published ports of a container whose main endpoint is on a container network. They are the container's own, reached at its own address:
 * nothing on the machine listens for them. Pure.
 */
import type { ContainerSpec, NetworkInfo } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import type { PortRequest, PublishedPort } from '../../gateway/index.js';

/** Nothing gets in at these levels. */
const SHUT: readonly NetworkInfo['trust'][] = ['closed', 'outbound'];

/** Its number at the container's address: its own one if that is asked for or left open, else the first that is asked for. */
function ownPort({ containerPort, hostPort, lastHostPort = hostPort }: PortRequest): number {
  return hostPort === 0 || (hostPort <= containerPort && containerPort <= lastHostPort) ? containerPort : hostPort;
}

/** Of no address of the machine. */
const isAnywhere = ({ hostIp }: PortRequest): boolean => ['', '0.0.0.0', '::'].includes(hostIp);

/** @throws invalid for ports that cannot be published on that network */
export function checkOwnPorts(
  ports: readonly PortRequest[],
  { name, trust }: Pick<NetworkInfo, 'name' | 'trust'>,
): void {
  if (ports.length > 0 && SHUT.includes(trust))
    throw invalid(`ports cannot be published via container network ${name} (firewall configured as "${trust}")`);
  const taken = new Map<string, number>();
  for (const request of ports) {
    const { containerPort, protocol } = request;
    const here = `on the container network ${name}, port ${containerPort} is reached at the container's own address`;
    if (!isAnywhere(request)) throw invalid(`${here}: it cannot be published on ${request.hostIp}`);
    const own = `${ownPort(request)}/${protocol}`;
    const other = taken.get(own) ?? containerPort;
    if (other !== containerPort) throw invalid(`${here}: its ${own} cannot lead to ${other} and ${containerPort}`);
    taken.set(own, containerPort);
  }
}

/** The same for the container's packet filter, each once. Those of a particular address of the machine are not for other networks. */
export function openPorts(ports: readonly PortRequest[]): NonNullable<ContainerSpec['openPorts']> {
  const all = new Map(
    ports.filter(isAnywhere).map((request) => {
      const [own, to, { protocol }] = [ownPort(request), request.containerPort, request];
      return [`${own}/${protocol}`, { protocol, first: own, last: own, ...(own === to ? {} : { to }) }];
    }),
  );
  return [...all.values()];
}

/** As they are shown. @param address the container's */
export function ownPorts(ports: readonly PortRequest[], address: string): PublishedPort[] {
  const all = ports.map((request): PublishedPort => {
    const { containerPort, protocol } = request;
    return { id: 0, containerPort, protocol, hostIp: address, hostPort: ownPort(request) };
  });
  // The same may be asked for IPv4 and IPv6.
  return all.filter((port, at) => all.findIndex((one) => samePort(one, port)) === at);
}

const samePort = (one: PublishedPort, other: PublishedPort): boolean =>
  one.hostPort === other.hostPort && one.protocol === other.protocol;
