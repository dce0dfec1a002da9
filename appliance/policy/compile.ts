/**
 * Compiles a policy. Containers that the same rules are about become a group, and so do outside addresses; what a group may send to another
 * is a profile, and few profiles are different. So the cost of a packet depends neither on the number of rules nor on that of containers.
 * Pure.
 */
import { insufficientResources } from '../../src/common/errors.js';
import {
  type CompiledPolicy,
  type GatewayPolicy,
  type Group,
  LIMITS,
  type Profile,
  type Span,
  type SwitchPolicy,
} from '../../src/common/policy/compiled.js';
import { isSelected, type OrderedRule } from './evaluate.js';
import { isNamed, isPeer, type Party, type Subject } from './parties.js';
import { addressText, type Family, pieces, rangeOf } from './ranges.js';
import type { Protocol } from './rules.js';

const LAST_PORT = 65_535;

/** Which rules are about a party, by their place: as the sender and as the receiver. */
interface Signature {
  from: number[];
  to: number[];
  kind: Party['kind'];
}

/** An outside address that a DNS answer gave. */
export interface Learned {
  address: string;
  names: string[];
  seconds: number;
}

function signatureOf(rules: readonly OrderedRule[], party: Party): Signature {
  const from: number[] = [];
  const to: number[] = [];
  rules.forEach(({ direction, select, peers }, at) => {
    const [own, other] = [isSelected(select, party), isPeer(peers, party)];
    if (direction === 'out' ? own : other) from.push(at);
    if (direction === 'out' ? other : own) to.push(at);
  });
  return { from, to, kind: party.kind };
}

/** Gives parties their groups, numbered as they come. */
class Groups {
  readonly all: Signature[] = [];
  private readonly byText = new Map<string, Group>();

  constructor(private readonly rules: readonly OrderedRule[]) {}

  of(party: Party): Group {
    const signature = signatureOf(this.rules, party);
    const text = `${signature.kind} ${signature.from.join(',')};${signature.to.join(',')}`;
    const there = this.byText.get(text);
    if (there !== undefined) return there;
    this.all.push(signature);
    if (this.all.length > LIMITS.groups) tooMuch(`containers of more than ${LIMITS.groups} kinds`);
    this.byText.set(text, this.all.length);
    return this.all.length;
  }
}

/** What the flows between the containers of these groups, and others, may do. @param wanted whether flows between them occur */
class Profiles {
  readonly all: Profile[] = [];
  private readonly byText = new Map<string, number>();
  private readonly byRules = new Map<string, number>();

  constructor(private readonly rules: readonly OrderedRule[]) {}

  of(from: Signature, to: Signature): number {
    const both = common(from.from, to.to);
    const text = both.join(',');
    const there = this.byRules.get(text);
    if (there !== undefined) return there;
    const number = this.number(this.profile(both.map((at) => [at, this.rules[at]!])));
    this.byRules.set(text, number);
    return number;
  }

  private number(profile: Profile): number {
    const text = JSON.stringify(profile);
    const there = this.byText.get(text);
    if (there !== undefined) return there;
    this.all.push(profile);
    this.byText.set(text, this.all.length - 1);
    return this.all.length - 1;
  }

  private profile(about: [number, OrderedRule][]): Profile {
    return {
      tcp: spans(about, 'tcp'),
      udp: spans(about, 'udp'),
      icmp: spans(about, 'icmp')[0]![2],
      other: spans(about, 'other')[0]![2],
    };
  }
}

/** Who decides about which ports, given all rules about a pair, in order. */
function spans(about: readonly [number, OrderedRule][], protocol: Protocol): Span[] {
  const starts = new Set([0]);
  for (const [, { ports }] of about)
    for (const one of ports ?? []) {
      if (one.protocol !== protocol || protocol === 'icmp' || protocol === 'other') continue;
      starts.add(one.first);
      if (one.last < LAST_PORT) starts.add(one.last + 1);
    }
  const found: Span[] = [];
  const sorted = [...starts].sort((a, b) => a - b);
  sorted.forEach((first, at) => {
    const last = (sorted[at + 1] ?? LAST_PORT + 1) - 1;
    const rule = decider(about, protocol, first);
    const before = found.at(-1);
    if (before?.[2] === rule) before[1] = last;
    else found.push([first, last, rule]);
  });
  return found;
}

function decider(about: readonly [number, OrderedRule][], protocol: Protocol, port: number): number {
  let from = 0;
  for (const [at, rule] of about) {
    if (at < from) continue;
    const { ports } = rule;
    if (ports !== null && !ports.some((one) => one.protocol === protocol && one.first <= port && port <= one.last))
      continue;
    if (rule.action !== 'pass') return at;
    from = rule.next;
  }
  throw new Error('the last rules of a policy decide about every flow of a container');
}

/** What two sorted lists have in common. */
function common(one: readonly number[], other: readonly number[]): number[] {
  const found: number[] = [];
  for (let a = 0, b = 0; a < one.length && b < other.length; ) {
    if (one[a] === other[b]) found.push(one[a]!);
    if (one[a]! <= other[b]!) a++;
    else b++;
  }
  return found;
}

/** The table for flows between these groups. @param occurs whether there are flows from groups of one kind to groups of the other */
function table(
  rules: readonly OrderedRule[],
  groups: readonly Signature[],
  occurs: (from: Signature, to: Signature) => boolean,
): CompiledPolicy {
  const profiles = new Profiles(rules);
  const all: [Group, Group, number][] = [];
  const counts = new Map<number, number>();
  groups.forEach((from, a) => {
    groups.forEach((to, b) => {
      if (!occurs(from, to)) return;
      const profile = profiles.of(from, to);
      all.push([a + 1, b + 1, profile]);
      counts.set(profile, (counts.get(profile) ?? 0) + 1);
    });
  });
  const usual = [...counts].reduce<[number, number]>((one, other) => (other[1] > one[1] ? other : one), [0, 0])[0];
  const pairs = all.filter(([, , profile]) => profile !== usual);
  if (pairs.length > LIMITS.pairs) tooMuch(`more than ${LIMITS.pairs} pairs of kinds of containers`);
  if (profiles.all.length > LIMITS.profiles) tooMuch(`more than ${LIMITS.profiles} kinds of pairs`);
  return renumbered(rules, profiles.all, usual, pairs);
}

/** Only the rules that decide about something. */
function renumbered(
  rules: readonly OrderedRule[],
  profiles: readonly Profile[],
  usual: number,
  pairs: CompiledPolicy['pairs'],
): CompiledPolicy {
  const used = new Set<number>();
  for (const { tcp, udp, icmp, other } of profiles)
    for (const rule of [...tcp, ...udp].map(([, , one]) => one).concat(icmp, other)) used.add(rule);
  const order = [...used].sort((a, b) => a - b);
  const place = new Map(order.map((rule, at) => [rule, at]));
  const moved = (list: Span[]): Span[] => list.map(([first, last, rule]) => [first, last, place.get(rule)!]);
  return {
    rules: order.map((at) => {
      const { id, action, log } = rules[at]!;
      return { id, action: action as 'allow' | 'drop' | 'reject', log };
    }),
    profiles: profiles.map(({ tcp, udp, icmp, other }) => ({
      tcp: moved(tcp),
      udp: moved(udp),
      icmp: place.get(icmp)!,
      other: place.get(other)!,
    })),
    usual,
    pairs,
  };
}

/** For the switch: flows between containers. @throws insufficientResources for a policy that comes to too much */
export function compileForSwitch(rules: readonly OrderedRule[], subjects: readonly Subject[]): SwitchPolicy {
  const groups = new Groups(rules);
  const cards: Record<string, Group> = {};
  for (const subject of subjects) {
    const group = groups.of({ kind: 'container', subject });
    for (const mac of subject.macs) cards[mac] = group;
  }
  return {
    ...nonEmpty(
      table(rules, groups.all, () => true),
      rules,
    ),
    cards,
  };
}

/**
 * For the gateway: flows between containers and the outside, and those between containers that take the way over the gateway.
 * @throws insufficientResources for a policy that comes to too much
 */
export function compileForGateway(
  rules: readonly OrderedRule[],
  subjects: readonly Subject[],
  learned: readonly Learned[] = [],
): GatewayPolicy {
  const groups = new Groups(rules);
  const containers = subjects.flatMap((subject) => {
    const group = groups.of({ kind: 'container', subject });
    return subject.addresses.map((address): [string, Group] => [address, group]);
  });
  const outside = ([4, 6] as const).flatMap((family) => outsideRanges(family, rules, groups));
  const names = learned.map(({ address, names: own, seconds }): [string, Group, number] => [
    address,
    groups.of({ kind: 'outside', address, names: own }),
    seconds,
  ]);
  const occurs = (from: Signature, to: Signature): boolean => from.kind === 'container' || to.kind === 'container';
  return { ...nonEmpty(table(rules, groups.all, occurs), rules), containers, outside, learned: names };
}

function outsideRanges(family: Family, rules: readonly OrderedRule[], groups: Groups): GatewayPolicy['outside'] {
  const cidrs = rules.flatMap(({ peers }) => peers.flatMap((peer) => (peer.kind === 'ranges' ? peer.cidrs : [])));
  const found: GatewayPolicy['outside'] = [];
  for (const { first, last } of pieces(family, cidrs.map(rangeOf))) {
    const address = addressText(family, first);
    const group = groups.of({ kind: 'outside', address, names: [] });
    const before = found.at(-1);
    if (before?.[2] === group) before[1] = addressText(family, last);
    else found.push([address, addressText(family, last), group]);
  }
  return found;
}

/** Without any container there is no profile; the enforcement wants one. */
function nonEmpty(compiled: CompiledPolicy, rules: readonly OrderedRule[]): CompiledPolicy {
  if (compiled.profiles.length > 0) return compiled;
  const { id } = rules.at(-1)!;
  const all: Span[] = [[0, LAST_PORT, 0]];
  return {
    rules: [{ id, action: 'drop', log: false }],
    profiles: [{ tcp: all, udp: all, icmp: 0, other: 0 }],
    usual: 0,
    pairs: [],
  };
}

/** The names whose addresses the rules need, each once. */
export function watchedNames(rules: readonly OrderedRule[]): string[] {
  return [...new Set(rules.flatMap(({ peers }) => peers.flatMap((peer) => (peer.kind === 'names' ? peer.fqdns : []))))];
}

/** True if a DNS answer for that name matters to one of these. */
export function isWatched(watched: readonly string[], name: string): boolean {
  return watched.some((pattern) => isNamed(pattern, name));
}

function tooMuch(what: string): never {
  throw insufficientResources(`the policy comes to ${what}: use labels rather than names`);
}
