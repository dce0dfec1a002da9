/**
 * A compiled policy as nftables rules. A packet gets the group of its sender as its mark and that of its receiver as its priority; the two
 * lead, by one look into a map, to the chain of their profile, and that by the port to the chain of the rule that decides. So a packet costs
 * the same with any number of containers, pairs and rules.
 *
 * All of a table is replaced in one transaction: no packet meets a part of it. Counters and known UDP flows stay.
 *
 * Facts: nft(8). A classid (`meta priority`) is written in hexadecimal.
 */
import { createHash } from 'node:crypto';
import type { CompiledPolicy, CompiledRule, Profile, Span } from './compiled.js';

/** The rules of a table by chain. */
export type Chains = Map<string, string[]>;

/** How the two places where policies are enforced differ. */
export interface Style {
  /** What an allowed packet's rule ends with. */
  accept: string;
  /** Rules that refuse with an answer. */
  reject: string[];
  /** Without connection tracking: answers are recognised by the policy itself, and UDP flows are kept in sets. */
  stateless: boolean;
}

const LAST_PORT = 65_535;
/** At most so many packets of a rule are logged. */
const LOG = 'limit rate 5/second burst 10 packets meta nftrace set 1';
const FRAGMENT = ['ip frag-off & 0x1fff != 0', 'exthdr frag exists frag frag-off != 0'];
const ERRORS = [
  'icmp type { destination-unreachable, time-exceeded, parameter-problem }',
  'icmpv6 type { destination-unreachable, packet-too-big, time-exceeded, parameter-problem }',
];
const ECHO_REPLY = ['icmp type echo-reply', 'icmpv6 type echo-reply'];

/** The group as `meta priority` has it. */
export const classId = (group: number): string => `0:${group.toString(16)}`;

/** The name of a rule's counter, which stays the same while the policy changes. */
export function counterName(id: string): string {
  return `c_${createHash('sha256').update(id).digest('hex').slice(0, 16)}`;
}

/** Chain `judge`, which decides about every packet that comes to it, and all that it leads to. */
export function judgeChains(policy: CompiledPolicy, style: Style): Chains {
  const chains: Chains = new Map();
  chains.set('judge', ['meta mark . meta priority vmap @pairs', `goto p${policy.usual}`]);
  if (style.stateless) {
    chains.set('answers', answerRules(style));
    chains.set('answered', ['meta priority . meta mark vmap @back', `goto q${policy.usual}`]);
  }
  // Too short to have ports.
  chains.set('broken', [...(style.stateless ? ['jump answers'] : []), 'drop']);
  policy.profiles.forEach((profile, at) => {
    chains.set(`p${at}`, profileRules(profile, policy.rules, style));
    if (style.stateless) chains.set(`q${at}`, answerProfile(profile, policy.rules, style));
  });
  policy.rules.forEach((rule, at) => {
    chains.set(`r${at}`, decisionRules(rule, style));
  });
  return chains;
}

/** Lets answers to what the other side may send pass; asked about packets that would be refused otherwise. */
function answerRules({ accept }: Style): string[] {
  return [
    `ether type ip meta l4proto udp ip saddr . udp sport . ip daddr . udp dport @udp4 ${accept}`,
    `ether type ip6 meta l4proto udp ip6 saddr . udp sport . ip6 daddr . udp dport @udp6 ${accept}`,
    // Only a first packet has SYN alone; without one there is no connection.
    'tcp flags & (fin | syn | rst | ack) != syn jump answered',
    ...[...ECHO_REPLY, ...ERRORS, ...FRAGMENT].map((match) => `${match} jump answered`),
  ];
}

const allowedSpans = (list: readonly Span[], rules: readonly CompiledRule[]): Span[] =>
  list.filter(([, , rule]) => rules[rule]!.action === 'allow');

function allowsAnything({ tcp, udp, icmp, other }: Profile, rules: readonly CompiledRule[]): boolean {
  return [...tcp, ...udp]
    .map(([, , one]) => one)
    .concat(icmp, other)
    .some((one) => rules[one]!.action === 'allow');
}

/** Later pieces of a packet have no ports, and errors about a flow are part of it: they pass wherever anything does. */
function profileRules(profile: Profile, rules: readonly CompiledRule[], { accept, stateless }: Style): string[] {
  const parts =
    stateless && allowsAnything(profile, rules) ? [...FRAGMENT, ...ERRORS].map((match) => `${match} ${accept}`) : [];
  return [
    ...parts,
    ...portRules('tcp', profile.tcp),
    ...portRules('udp', profile.udp),
    'meta l4proto { tcp, udp } goto broken',
    `meta l4proto { icmp, ipv6-icmp } goto r${profile.icmp}`,
    `goto r${profile.other}`,
  ];
}

function portRules(protocol: 'tcp' | 'udp', spans: readonly Span[]): string[] {
  if (spans.length === 1) return [`${protocol} dport 0-${LAST_PORT} goto r${spans[0]![2]}`];
  return [
    `${protocol} dport vmap { ${spans.map(([first, last, rule]) => `${spanText(first, last)} : goto r${rule}`).join(', ')} }`,
  ];
}

/** What answers to this profile's flows may be: the chain returns for anything else. */
function answerProfile(profile: Profile, rules: readonly CompiledRule[], { accept }: Style): string[] {
  if (!allowsAnything(profile, rules)) return [];
  const tcp = allowedSpans(profile.tcp, rules).map(([first, last]) => spanText(first, last));
  return [
    ...[...FRAGMENT, ...ERRORS].map((match) => `${match} ${accept}`),
    ...(rules[profile.icmp]!.action === 'allow' ? ECHO_REPLY.map((match) => `${match} ${accept}`) : []),
    ...(tcp.length > 0 ? [`tcp flags & (fin | syn | rst | ack) != syn tcp sport { ${tcp.join(', ')} } ${accept}`] : []),
  ];
}

const spanText = (first: number, last: number): string => (first === last ? `${first}` : `${first}-${last}`);

function decisionRules({ id, action, log }: CompiledRule, { accept, reject, stateless }: Style): string[] {
  const count = `counter name ${counterName(id)}`;
  const logged = log ? [LOG] : [];
  const answers = stateless ? ['jump answers'] : [];
  if (action === 'drop') return [...answers, ...logged, `${count} drop`];
  if (action === 'reject') return [...answers, ...logged, count, ...reject];
  const remember = stateless
    ? [
        'ether type ip meta l4proto udp update @udp4 { ip daddr . udp dport . ip saddr . udp sport }',
        'ether type ip6 meta l4proto udp update @udp6 { ip6 daddr . udp dport . ip6 saddr . udp sport }',
      ]
    : [];
  return [...logged, ...remember, `${count} ${accept}`];
}

/** The elements of `pairs`, and of `back`, which leads from the receiver of a flow to its sender. */
export function pairElements({ pairs }: CompiledPolicy, stateless: boolean): [map: string, elements: string[]][] {
  return [
    ['pairs', pairs.map(([from, to, profile]) => `${from} . ${classId(to)} : goto p${profile}`)],
    ...(stateless
      ? [
          ['back', pairs.map(([from, to, profile]) => `${classId(from)} . ${to} : goto q${profile}`)] as [
            string,
            string[],
          ],
        ]
      : []),
  ];
}

/** A table: what it is to have, as text for `nft -f`. */
export interface TableText {
  /** Family and name. */
  table: string;
  /** Declarations of sets and maps that are filled anew, by name. */
  filled: Map<string, string>;
  /** Of those whose elements stay. */
  kept: Map<string, string>;
  counters: string[];
  /** `type filter hook …` of base chains, by name. */
  hooks: Map<string, string>;
  chains: Chains;
  elements: [name: string, elements: string[]][];
}

/** What a table already has. */
export interface Present {
  chains: readonly string[];
  counters: readonly string[];
}

const AT_ONCE = 2000;

/** One transaction that makes the table what it is to be. @param present what is there, of which the rest is removed */
export function replaceTable(text: TableText, present: Present): string {
  const { table, filled, kept, counters, hooks, chains, elements } = text;
  const lines = [`add table ${table}`];
  for (const counter of counters) lines.push(`add counter ${table} ${counter}`);
  for (const [name, type] of filled)
    lines.push(`add ${type.includes(' : ') ? 'map' : 'set'} ${table} ${name} { ${type} }`);
  for (const [name, type] of kept)
    lines.push(`add ${type.includes(' : ') ? 'map' : 'set'} ${table} ${name} { ${type} }`);
  for (const name of chains.keys()) {
    const hook = hooks.get(name);
    lines.push(`add chain ${table} ${name}${hook === undefined ? '' : ` { ${hook} }`}`);
  }
  const stale = present.chains.filter((name) => !chains.has(name));
  for (const name of [...chains.keys(), ...stale]) lines.push(`flush chain ${table} ${name}`);
  for (const [name, type] of filled) lines.push(`flush ${type.includes(' : ') ? 'map' : 'set'} ${table} ${name}`);
  for (const [name, rules] of chains) for (const rule of rules) lines.push(`add rule ${table} ${name} ${rule}`);
  for (const [name, all] of elements)
    for (let at = 0; at < all.length; at += AT_ONCE)
      lines.push(`add element ${table} ${name} { ${all.slice(at, at + AT_ONCE).join(', ')} }`);
  for (const name of stale) lines.push(`delete chain ${table} ${name}`);
  for (const name of present.counters) if (!counters.includes(name)) lines.push(`delete counter ${table} ${name}`);
  return lines.join('\n');
}

/** What `nft --json --terse list table` says of a table. */
export function parsePresent(json: string): Present {
  const { nftables = [] } = JSON.parse(json) as { nftables?: Record<string, { name?: string }>[] };
  const names = (kind: string): string[] => nftables.flatMap((one) => one[kind]?.name ?? []);
  return { chains: names('chain'), counters: names('counter') };
}

/** Packets and bytes that a rule has decided about. */
export interface RuleCount {
  packets: number;
  bytes: number;
}

/** Reads the counters from the output of `nft --json list counters table …`. @param ids of the rules */
export function parseCounters(json: string, ids: readonly string[]): Map<string, RuleCount> {
  const { nftables = [] } = JSON.parse(json) as {
    nftables?: { counter?: { name: string; packets: number; bytes: number } }[];
  };
  const found = new Map(
    nftables.flatMap(({ counter }) => (counter === undefined ? [] : [[counter.name, counter] as const])),
  );
  return new Map(
    ids.map((id) => {
      const { packets = 0, bytes = 0 } = found.get(counterName(id)) ?? {};
      return [id, { packets, bytes }];
    }),
  );
}
