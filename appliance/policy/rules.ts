/** A policy: who may talk to whom. What a file says, as data; `read-policy.ts` reads it, `evaluate.ts` applies it. */

/** The tiers in the order in which they are asked. `admin` and `default` are an administrator's, `project` belongs to the Docker API. */
export const TIERS = ['admin', 'project', 'default'] as const;
export type Tier = (typeof TIERS)[number];

/** What becomes of flows about which no rule says anything. */
export const PRESETS = ['open', 'balanced', 'locked'] as const;
export type Preset = (typeof PRESETS)[number];

/** `pass`: the next tier decides. `reject` answers (TCP reset, ICMP), `drop` does not. */
export type Action = 'allow' | 'drop' | 'reject' | 'pass';

/** Containers: all that match each of the given fields. No field: all containers. `*` stands for any text, `?` for any character. */
export interface Selector {
  /** Every one of these labels with a value that matches. */
  labels?: Record<string, string>;
  /** One of these names. */
  names?: string[];
  /** On one of these networks. */
  networks?: string[];
}

/** The other end of a rule. Ranges and names never mean containers: these are selected by what they are, not by where they are. */
export type Peer =
  | { kind: 'any' }
  | { kind: 'containers'; selector: Selector }
  /** Every address that is not a container's. */
  | { kind: 'outside' }
  /** IPv4 and IPv6 ranges. */
  | { kind: 'ranges'; cidrs: string[] }
  /** Outside names, exact or `*.suffix`, in lower case: the addresses that DNS answers gave for them. */
  | { kind: 'names'; fqdns: string[] };

export type Protocol = 'tcp' | 'udp' | 'icmp' | 'other';

/** Ports of a protocol, both ends included; of `icmp` and `other` always 0 to 65535. */
export interface Ports {
  protocol: Protocol;
  first: number;
  last: number;
}

export interface Rule {
  /** `<tier>/<name>`; unique. */
  id: string;
  /** `in`: what others send to the selected containers; `out`: what these send. */
  direction: 'in' | 'out';
  select: Selector;
  peers: Peer[];
  /** Null: everything. */
  ports: Ports[] | null;
  action: Action;
  /** Lower ones first; equal ones in the order of the file. */
  priority: number;
  log: boolean;
}

/** One tier's file. */
export interface TierPolicy {
  rules: Rule[];
  /** Only in the tier `default`. */
  preset?: Preset;
}

export type Policy = Record<Tier, TierPolicy>;

/** What a virtual container host without any policy has. */
export const NO_POLICY: Policy = { admin: { rules: [] }, project: { rules: [] }, default: { rules: [] } };
