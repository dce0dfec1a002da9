/**
 * What keeps Docker's networks apart where the host is not our own switch, and several of them share a segment: a packet filter in each
 * container's own machine. A process with NET_RAW gets past its own machine's filter, not past another's. Pure.
 */
import type { NetworkSpec } from './network-spec.js';

/** Addresses, CIDR. */
export interface CardGuard {
  /** What may come in, besides answers. */
  from: string[];
  /** What may be sent to; undefined: everything. */
  to?: string[];
}

/** They stay on the segment, and whoever they are not for drops them. */
const GROUPS = ['224.0.0.0/4', 'ff00::/8'];

/** @param egress the virtual container host's: networks that were made while there was a way out have none now */
export function guardOf(
  { pools, icc, internal, egress: own }: Pick<NetworkSpec, 'pools' | 'icc' | 'internal' | 'egress'>,
  egress: 'relay' | 'none' | undefined,
): CardGuard {
  const subnets = pools.map(({ subnet }) => subnet);
  const gateways = pools.flatMap(({ gateway }) => (gateway === '' ? [] : gateway));
  return {
    from: icc ? subnets : gateways,
    ...(internal || own === 'none' || egress === 'none' ? { to: [...subnets, ...GROUPS] } : {}),
  };
}
