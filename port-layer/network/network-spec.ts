/** A network as it is kept: with the endpoint VM (user-made ones) or in the virtual container host's configuration. */

import type { DistributedPort } from '../../src/vim25/index.js';

/** One subnet of a network. */
export interface Pool {
  /** CIDR, IPv4 or IPv6, without host bits. */
  subnet: string;
  /** Always set, and chosen if it was not asked for; '' only for external networks without one. */
  gateway: string;
  /**
   * Containers' addresses are chosen from it: CIDR within the subnet. On an external network also `first-last`, and several, separated by
   * commas.
   */
  ipRange?: string;
  /** Addresses that no container gets, by name. */
  aux: Record<string, string>;
}

/** How much of a subnet is in use. */
export interface PoolUse {
  subnet: string;
  /** Addresses that somebody has, including the gateway's and those that nobody gets. */
  used: bigint;
  /** Addresses that can still be chosen. */
  free: bigint;
}

/** What a request says of a subnet. */
export interface AskedPool {
  subnet?: string;
  gateway?: string;
  ipRange?: string;
  aux?: Record<string, string>;
}

/** How far the containers of an external network are trusted: vSphere Integrated Containers' five levels. */
export type TrustLevel = 'closed' | 'outbound' | 'peers' | 'published' | 'open';

/**
 * `external`: a vSphere network that is exposed to containers. `config`: no network but what other networks are made from; it is kept and
 * shown, and no container can be on it.
 */
export type NetworkKind = 'bridge' | 'external' | 'config';

export interface NetworkSpec {
  /** 64 hex digits. */
  id: string;
  name: string;
  /** ISO 8601. */
  createdAt: string;
  kind: NetworkKind;
  /** On vSphere without the right to make port groups, several networks share one. Of `config`: the default network's. */
  portGroup: string;
  /** Of a port group of a distributed switch. */
  distributed?: DistributedPort | undefined;
  /** The VLAN that the network has for itself, where an administrator gave some. */
  vlan?: number;
  /** IPv4 first; none of `config`. */
  pools: Pool[];
  /** What the request said; absent: nothing, so that what was chosen is shown. */
  asked?: AskedPool[];
  ipv4: boolean;
  ipv6: boolean;
  /** It has no way out. */
  internal: boolean;
  attachable: boolean;
  ingress: false;
  /** Containers on it may talk to each other. */
  icc: boolean;
  egress: 'relay' | 'none';
  /** 0: the default. */
  mtu: number;
  /** Containers' interfaces on it are called this and a number; absent: `eth`. */
  interfacePrefix?: string;
  /** What its segment is called instead of the network's name. No two networks have the same. */
  segmentName?: string;
  /** The name of the network of kind `config` that it was made from. */
  configFrom?: string;
  /** External networks only. */
  trust?: TrustLevel;
  /** External networks only. */
  dns?: string[];
  labels: Record<string, string>;
  options: Record<string, string>;
  /** null: none were given. */
  ipamOptions: Record<string, string> | null;
  ipamDriver: string;
}

/** A network to be made. The caller has checked that its name is one, and read what its options mean. */
export interface NetworkRequest {
  name: string;
  /** Default: `bridge`. */
  kind?: 'bridge' | 'config';
  /** The name of one of kind `config`, which cannot be removed while this is there. */
  configFrom?: string;
  /** As in {@link NetworkSpec}. */
  interfacePrefix?: string;
  segmentName?: string;
  /** Without an entry for a kind of address that is on, a subnet is chosen. */
  pools: AskedPool[];
  ipv4: boolean;
  ipv6: boolean;
  internal: boolean;
  attachable: boolean;
  /** Default: true. */
  icc?: boolean;
  /** Default: the virtual container host's. */
  egress?: 'relay' | 'none';
  /** Default: 0. */
  mtu?: number;
  labels: Record<string, string>;
  options: Record<string, string>;
  /** null: none were given. */
  ipamOptions: Record<string, string> | null;
  /** Default: `default`. */
  ipamDriver?: string;
}

/** What networks are unless they say otherwise. */
export const PLAIN_NETWORK = {
  createdAt: new Date(0).toISOString(),
  kind: 'bridge',
  ipv4: true,
  ipv6: false,
  internal: false,
  attachable: false,
  ingress: false,
  icc: true,
  mtu: 0,
  labels: {},
  options: {},
  ipamOptions: null,
  ipamDriver: 'default',
} as const satisfies Partial<NetworkSpec>;
