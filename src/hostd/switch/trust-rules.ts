/**
 * How far a container network is trusted, enforced where its cards are plugged in: what may come in to a card, and under `closed` what may
 * go out. The guest has the same rules (`tether/program/packet-filter.ts`), but whoever breaks out of its container can change those.
 *
 * Bridges of many kernels know no connections (NF_CONNTRACK_BRIDGE), so there are none here: of TCP, what begins a connection is
 * recognised by its flags; of UDP, each card has a set of whom it has written to lately. Its size bounds what a guest can fill.
 *
 * Facts: nft(8); RFC 9293, 3.1 (flags), 791 (fragments); the five levels are those of vSphere Integrated Containers.
 */
import { isIPv6 } from 'node:net';

export type TrustLevel = 'closed' | 'outbound' | 'peers' | 'published' | 'open';

/** How far a card's network is trusted. */
export interface CardTrust {
  level: TrustLevel;
  /** Let in under `published`. */
  ports: readonly { protocol: 'tcp' | 'udp'; first: number; last: number }[];
  /** Let in under `peers`: CIDR or `first-last`. None: VMs of this switch on the same network. */
  peers: readonly string[];
  /** It gets its address by DHCP, also under `closed`. */
  dynamic?: boolean;
}

/** Family and name. */
export const TRUST_TABLE = 'bridge caisson_trust';

const ANSWERS = [
  'ether type arp accept',
  // Without these IPv6 does not work at all: groups and neighbours.
  'icmpv6 type { 130, 131, 132, 135, 136 } accept',
  'tcp flags & (syn | ack) != syn accept',
  'icmp type { echo-reply, destination-unreachable, time-exceeded, parameter-problem } accept',
  'icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem, echo-reply } accept',
  // The first fragment decides: without it the others are nothing.
  'ip frag-off & 0x1fff != 0 accept',
  'frag frag-off != 0 accept',
];
const PINGS = ['icmp type echo-request accept', 'icmpv6 type echo-request accept'];

/** What may come in, rule by rule; the rest is dropped. */
function inward(port: string, { level, ports, peers, dynamic }: CardTrust): string[] {
  // Of a DHCP server, which may answer to everybody.
  const lease = dynamic === true ? ['udp sport 67 udp dport 68 accept'] : [];
  if (level === 'closed') return [...lease, 'drop'];
  const answers = [
    ...ANSWERS,
    ...lease,
    `ip saddr . udp sport . ip daddr . udp dport @udp4_${port} accept`,
    `ip6 saddr . udp sport . ip6 daddr . udp dport @udp6_${port} accept`,
  ];
  const more = { outbound: [], peers: peerRules(peers), published: [...PINGS, ...portRules(ports)], open: ['accept'] };
  return [...answers, ...more[level], 'drop'];
}

function peerRules(peers: readonly string[]): string[] {
  if (peers.length === 0) return ['iifname "t*" accept'];
  const six = (peer: string): boolean => isIPv6(peer.split(/[-/]/)[0] ?? '');
  const rule = (family: string, list: string[]): string[] =>
    list.length === 0 ? [] : [`${family} saddr { ${list.join(', ')} } accept`];
  return [
    ...rule(
      'ip',
      peers.filter((peer) => !six(peer)),
    ),
    ...rule('ip6', peers.filter(six)),
  ];
}

function portRules(ports: CardTrust['ports']): string[] {
  return (['tcp', 'udp'] as const).flatMap((protocol) => {
    const list = merged(ports.filter((one) => one.protocol === protocol)).map(({ first, last }) =>
      first === last ? String(first) : `${first}-${last}`,
    );
    return list.length === 0 ? [] : [`${protocol} dport { ${list.join(', ')} } accept`];
  });
}

/** Ranges that do not overlap: nft refuses others in one set. */
function merged(ranges: readonly { first: number; last: number }[]): { first: number; last: number }[] {
  const all: { first: number; last: number }[] = [];
  for (const { first, last } of [...ranges].sort((a, b) => a.first - b.first)) {
    const before = all.at(-1);
    if (before !== undefined && first <= before.last + 1) before.last = Math.max(before.last, last);
    else all.push({ first, last });
  }
  return all;
}

/** What goes out is never held back but under `closed`: it only shows which answers to expect. */
function outward(port: string, { level, dynamic }: CardTrust): string[] {
  if (level === 'closed') return [...(dynamic === true ? ['udp sport 68 udp dport 67 accept'] : []), 'drop'];
  return [
    `update @udp4_${port} { ip daddr . udp dport . ip saddr . udp sport timeout 3m }`,
    `update @udp6_${port} { ip6 daddr . udp dport . ip6 saddr . udp sport timeout 3m }`,
  ];
}

const MOST_FLOWS = 4096;

/** Makes the table, or leaves an existing one as it is. */
export function trustTable(): string {
  return [
    `add table ${TRUST_TABLE}`,
    `add map ${TRUST_TABLE} outward { type ifname : verdict; }`,
    `add map ${TRUST_TABLE} inward { type ifname : verdict; }`,
    `add chain ${TRUST_TABLE} forward { type filter hook forward priority -5; policy accept; }`,
    `flush chain ${TRUST_TABLE} forward`,
    `add rule ${TRUST_TABLE} forward iifname vmap @outward`,
    `add rule ${TRUST_TABLE} forward oifname vmap @inward`,
  ].join('\n');
}

/** Gives a card its rules, or replaces them; whom it has written to stays known. */
export function trustText(port: string, trust: CardTrust): string {
  const sets = (['ipv4', 'ipv6'] as const).map(
    (family) =>
      `add set ${TRUST_TABLE} udp${family.at(-1)}_${port} { type ${family}_addr . inet_service . ${family}_addr . inet_service; flags dynamic,timeout; timeout 3m; size ${MOST_FLOWS}; }`,
  );
  const chain = (name: string, rules: string[]): string[] => [
    `add chain ${TRUST_TABLE} ${name}`,
    `flush chain ${TRUST_TABLE} ${name}`,
    ...rules.map((rule) => `add rule ${TRUST_TABLE} ${name} ${rule}`),
  ];
  return [
    ...sets,
    ...chain(`in_${port}`, inward(port, trust)),
    ...chain(`out_${port}`, outward(port, trust)),
    `add element ${TRUST_TABLE} outward { "${port}" : jump out_${port} }`,
    `add element ${TRUST_TABLE} inward { "${port}" : jump in_${port} }`,
  ].join('\n');
}

/** Takes a card's rules away. */
export function noTrustText(port: string): string {
  const both = ['in', 'out'].map((way) => `${way}_${port}`);
  return [
    `delete element ${TRUST_TABLE} outward { "${port}" }`,
    `delete element ${TRUST_TABLE} inward { "${port}" }`,
    ...both.map((name) => `flush chain ${TRUST_TABLE} ${name}`),
    ...both.map((name) => `delete chain ${TRUST_TABLE} ${name}`),
    ...['udp4', 'udp6'].map((set) => `delete set ${TRUST_TABLE} ${set}_${port}`),
  ].join('\n');
}

/** The ports that have rules, from the output of `nft --json list table`. */
export function trustedPorts(json: string): string[] {
  const { nftables = [] } = JSON.parse(json) as { nftables?: { chain?: { name: string } }[] };
  return nftables.flatMap(({ chain }) => /^in_(.+)$/.exec(chain?.name ?? '')?.[1] ?? []);
}
