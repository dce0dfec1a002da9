/**
 * Published ports of a container whose main endpoint is on a container network. They are the container's own, reached at its own address:
 * nothing on the machine listens for them, and they have no other number there. Pure.
 */
import type { NetworkInfo } from '../../../port-layer/index.js';
import { invalid } from '../../../src/common/errors.js';
import type { PortRequest, PublishedPort } from '../../gateway/index.js';

/** Nothing gets in at these levels. */
const SHUT: readonly NetworkInfo['trust'][] = ['closed', 'outbound'];

/** @throws invalid for ports that cannot be published on that network */
export function checkOwnPorts(
  ports: readonly PortRequest[],
  { name, trust }: Pick<NetworkInfo, 'name' | 'trust'>,
): void {
  if (ports.length > 0 && SHUT.includes(trust))
    throw invalid(`ports cannot be published via container network ${name} (firewall configured as "${trust}")`);
  for (const { containerPort, hostPort, lastHostPort = hostPort, hostIp } of ports) {
    const here = `on the container network ${name}, port ${containerPort} is reached at the container's own address`;
    if (hostIp !== '') throw invalid(`${here}: it cannot be published on ${hostIp}`);
    if (hostPort !== 0 && (containerPort < hostPort || containerPort > lastHostPort))
      throw invalid(`${here}: it cannot be published as ${hostPort}`);
  }
}

/** As they are shown. @param address the container's */
export function ownPorts(ports: readonly PortRequest[], address: string): PublishedPort[] {
  return ports.map(({ containerPort, protocol }) => ({
    id: 0,
    containerPort,
    protocol,
    hostIp: address,
    hostPort: containerPort,
  }));
}
