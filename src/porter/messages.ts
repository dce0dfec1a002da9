/**
 * What an endpoint asks of its porter, over Node's channel between processes, which passes open sockets. The endpoint has no rights on the
 * machine; the porter (`main.ts`) has just those that this takes.
 */

import type { GatewayPolicy } from '../common/policy/compiled.js';
import type { RuleCount } from '../common/policy/nft-rules.js';
import type { ProbePacket } from '../common/policy/probe-packet.js';
import type { AddressPort } from './address-port.js';
import type { NamesAnswer, NamesChange, RefusedLookups } from './names-table.js';

export type { AddressPort } from './address-port.js';

export type Protocol = 'tcp' | 'udp';

/** Where the Docker API listens: the VCH's own unix socket, whose path the porter knows, or TCP. */
export type ServePlace = { socket: true } | { host: string; port: number };

/** An endpoint VM has a card on each of its networks, and on the embedded host no more than this. */
export const MAX_GATEWAY_CARDS = 256;

/** A network that the gateway serves. */
export interface GatewayNetwork {
  /** `eth0`, `eth1`, …, in the gateway's network namespace. */
  interface: string;
  /** The gateway's IPv4 or IPv6 address there, with its prefix length. */
  address: string;
}

/** How the gateway is to treat one of its cards. */
export interface GatewayCard {
  /** `eth0`, `eth1`, …, in the gateway's network namespace. */
  interface: string;
  /** The gateway's addresses there, IPv4 and IPv6, each with its prefix length. Others that the card has are removed. */
  addresses: string[];
  /** Whether what is sent from there to the world outside is carried by the relay. */
  egress: boolean;
  /** It has no way out. As `egress: false`; there is no more to it at the gateway. */
  internal: boolean;
  /** 0: as it is. */
  mtu: number;
  /** How many bytes a second the relay carries in each direction for each container there that has no rate of its own; 0: as many as it can. */
  rate: number;
}

/** What an address of a container has sent through the relay (`out`), and what came back for it (`in`). */
export interface Counter {
  address: string;
  bytesIn: number;
  bytesOut: number;
  /** How many connections and the like there were so far. */
  flows: number;
}

/** Messages to the porter. Those with a `request` are answered with its number. */
export type PorterRequest =
  /** Answered with the listening socket. */
  | { kind: 'serve'; request: number; place: ServePlace }
  /** The first one: gives the gateway its addresses and starts the relay. */
  | { kind: 'gateway'; request: number; networks: GatewayNetwork[] }
  /** Sets up a card of the gateway, or changes it. Answered when it is done. */
  | ({ kind: 'network'; request: number } & GatewayCard)
  /** Nothing is carried for that card any longer; it need not exist. */
  | { kind: 'network-gone'; request: number; interface: string }
  /** The relay listens for the published port `id` on the machine. `port` 0: any free one. Connections wait for `target`. */
  | { kind: 'publish'; request: number; id: number; protocol: Protocol; host: string; port: number }
  | { kind: 'target'; id: number; address: string; port: number }
  /**
   * What is sent to `inner`, an address in the gateway's network namespace, goes to `outer`, as seen from the machine. Its numbers are those
   * of published ports, and `close` ends it. `inner.port` 0: any free one, which the answer names.
   */
  | { kind: 'forward'; request: number; id: number; protocol: Protocol; inner: AddressPort; outer: AddressPort }
  | { kind: 'close'; id: number }
  /** Changes what containers may look up. Answered when the names server answers accordingly. */
  | { kind: 'names'; request: number; change: NamesChange }
  /** What report `id` allows is in place: the asker may be told. */
  | { kind: 'reported'; id: number }
  /** How many bytes a second are carried in each direction for a container's address; 0: as its network says. */
  | { kind: 'rate'; address: string; rate: number }
  /** The address is no container's any more: nothing that was carried for it counts for whoever has it next. */
  | { kind: 'forget'; address: string }
  /** Answered with what the relay has carried, by address of a container. */
  | { kind: 'counters'; request: number }
  /** What containers may send to the outside, and it to them; null: everything. Answered when it is in force. */
  | { kind: 'policy'; request: number; policy: GatewayPolicy | null }
  /** Answered with what each rule of the policy has decided about. */
  | { kind: 'policy-counts'; request: number }
  /** Watches for a packet; null: no longer, and the answer says what has become of it. */
  | { kind: 'policy-trace'; request: number; packet: ProbePacket | null };

/** What the rules at the gateway say. */
export interface PolicyAnswer {
  counts?: Record<string, RuleCount>;
  /** Of a packet that was watched for. `rule`: the place of the rule that has decided. */
  trace?: { seen: boolean; rule?: number; droppedIn?: string };
}

/** A system error as it is told to another process. */
export interface ToldError {
  message: string;
  code?: string;
  address?: string;
  port?: number;
}

/** Messages of the porter. */
export type PorterAnswer =
  | { kind: 'done'; request: number; port?: number; counters?: Counter[]; policy?: PolicyAnswer }
  | { kind: 'failed'; request: number; error: ToldError }
  /**
   * The relay ended and was started again; the names server was started, for the first time or again. It serves nothing yet: published ports
   * and forwards, or names, have to be sent.
   */
  | { kind: 'again'; of: 'relay' | 'names' }
  /** An asker is about to be told this, and waits for `reported`, though not for long. */
  | { kind: 'report'; id: number; answer: NamesAnswer }
  /** Questions for names that their askers may not look up: not each at once. */
  | { kind: 'refused'; lookups: RefusedLookups };

export function tellError(error: unknown): ToldError {
  const { message, code, address, port } = error as Error & { code?: unknown; address?: unknown; port?: unknown };
  return {
    message: String(message ?? error),
    ...(typeof code === 'string' ? { code } : {}),
    ...(typeof address === 'string' ? { address } : {}),
    ...(typeof port === 'number' ? { port } : {}),
  };
}

export function toldError({ message, ...rest }: ToldError): Error {
  return Object.assign(new Error(message), rest);
}
