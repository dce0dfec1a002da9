/** Container networks: vSphere networks in a virtual container host's configuration that containers join with a card of their own. Pure. */
import { Address4, Address6 } from 'ip-address';
import { sha256 } from '../../src/common/ids.js';
import { LEASED_SUBNET } from '../../tether/program/spec.js';
import { LEASED_SERVERS } from '../../tether/program/steps.js';
import type { ContainerNetworkConfig, VchConfig } from '../config.js';
import { type NetworkSpec, PLAIN_NETWORK, type Pool } from './network-spec.js';
import type { NetworkEndpoint } from './types.js';

/** The container networks of a configuration, in its order. One without a subnet gives its addresses by DHCP. */
export function externalNetworks(config: Pick<VchConfig, 'id' | 'containerNetworks'>): NetworkSpec[] {
  return (config.containerNetworks ?? []).map((network) => {
    const pools = poolsOf(network);
    const ipv6 = network.gateway?.includes(':') === true;
    return {
      ...PLAIN_NETWORK,
      id: sha256(`network ${config.id} ${network.name}`),
      name: network.name,
      kind: 'external',
      ...{ portGroup: network.portGroup, distributed: network.distributed },
      pools,
      ipv4: !ipv6,
      ipv6,
      // Its way out is the network itself: the endpoint is not its gateway.
      egress: 'none',
      trust: network.trust,
      dns: network.dns,
      ipamOptions: {},
      ipamDriver: pools.length === 0 ? 'dhcp' : 'default',
    };
  });
}

function poolsOf({ gateway, ipRanges }: ContainerNetworkConfig): Pool[] {
  if (gateway === undefined) return [];
  const address = Address4.isValid(gateway) ? new Address4(gateway) : new Address6(gateway);
  return [
    {
      subnet: `${address.startAddress().correctForm()}/${address.subnetMask}`,
      gateway: address.correctForm(),
      ...(ipRanges.length === 0 ? {} : { ipRange: ipRanges.join(',') }),
      aux: {},
    },
  ];
}

/** Where names are asked for on it: its own servers, or those that its DHCP server names. */
export function outerServers({ dns = [], pools }: NetworkSpec): string[] {
  return dns.length === 0 && pools.length === 0 ? [LEASED_SERVERS] : dns;
}

/** What an endpoint on a container network has of it. Its peers are the addresses that containers are given there. */
export function outerTrust({ trust = 'published', pools }: NetworkSpec): NonNullable<NetworkEndpoint['external']> {
  return {
    trust,
    peers:
      pools.length === 0
        ? [LEASED_SUBNET]
        : pools.flatMap(({ subnet, ipRange }) => (ipRange === undefined ? subnet : ipRange.split(','))),
    dhcp: pools.length === 0,
  };
}
