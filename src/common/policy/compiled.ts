/**
 * A policy in the form in which it is enforced: who is in which group, and what each group may send to each other one. The endpoint makes it
 * (`appliance/policy`); hostd and the porter make nftables rules of it (`nft-rules.ts`).
 */

/** A rule that decides, by its place in {@link CompiledPolicy.rules}. */
export type RuleNumber = number;

export interface CompiledRule {
  /** `<tier>/<name>` */
  id: string;
  action: 'allow' | 'drop' | 'reject';
  log: boolean;
}

/** Ports and who decides about them, both ends included. */
export type Span = [first: number, last: number, rule: RuleNumber];

/** What one group may send to another. The spans are in order and leave no port out. */
export interface Profile {
  tcp: Span[];
  udp: Span[];
  icmp: RuleNumber;
  other: RuleNumber;
}

/** Number of a group, from 1. */
export type Group = number;

export interface CompiledPolicy {
  rules: CompiledRule[];
  profiles: Profile[];
  /** The profile of pairs that are not listed. */
  usual: number;
  pairs: [from: Group, to: Group, profile: number][];
}

/** What hostd enforces: flows between containers. */
export interface SwitchPolicy extends CompiledPolicy {
  /** The groups of containers' cards, by MAC address in lower case. Every other card of the virtual container host is cut off from these. */
  cards: Record<string, Group>;
}

/** What the gateway enforces: flows between containers and the outside. */
export interface GatewayPolicy extends CompiledPolicy {
  /** Containers' addresses. */
  containers: [address: string, group: Group][];
  /** Outside addresses: ranges in order that leave none out. */
  outside: [first: string, last: string, group: Group][];
  /** Outside addresses that DNS answers have given for names, and for how many more seconds that holds. */
  learned: [address: string, group: Group, seconds: number][];
}

/** Bounds of what is accepted. A policy that comes to more is refused. */
export const LIMITS = { rules: 10_000, profiles: 4000, spans: 50_000, pairs: 200_000, groups: 4000, addresses: 50_000 };
