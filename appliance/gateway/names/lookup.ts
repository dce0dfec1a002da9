/** What a question for a name comes to. Pure; the answers are those of Docker's own server, measured. */
import { isIPv4 } from 'node:net';
import type { AddressPort } from '../../../src/porter/messages.js';
import type { NamesContainer, NamesMember } from '../../../src/porter/names-table.js';
import type { KnownNetwork, NamesState } from './names-state.js';
import { reversedAddress } from './reverse-name.js';
import { TYPE } from './wire.js';

export type Finding =
  /** Nobody is known at the address that asks. */
  | { kind: 'stranger' }
  /** A container's addresses; none of the kind that was asked for. */
  | { kind: 'addresses'; addresses: string[] }
  /** The name of the container at an address. */
  | { kind: 'pointer'; name: string }
  /** It is no container's name: these may know it. */
  | { kind: 'ask'; servers: readonly AddressPort[] }
  /** It is no container's name, and the asker has servers that only it reaches: on its own loopback. */
  | { kind: 'elsewhere' }
  /** It is no container's name, and the asker may not look it up. */
  | { kind: 'forbidden' }
  /** It is no container's name, and the asker has no way out. */
  | { kind: 'noWayOut' };

/** A question, as far as it matters here. */
export interface Wanted {
  /** In lower case, without a dot at its end; null: no container can be called that. */
  name: string | null;
  type: number;
}

/** The longest label of a name, and the longest name (RFC 1035, 2.3.4). */
const MAX_LABEL = 63;
const MAX_NAME = 253;

/**
 * @param asker address that the question comes from
 * @param turn several addresses are told in an order that begins with another one each time
 */
export function lookup(state: NamesState, asker: string, { name, type }: Wanted, turn: number): Finding {
  const container = state.asker(asker);
  if (container === undefined) return { kind: 'stranger' };
  const networks = container.members.flatMap((member) => {
    const network = state.network(member.network);
    return network === undefined ? [] : [{ member, network }];
  });
  if (name !== null) {
    const found = type === TYPE.PTR ? pointer(networks, name) : called(networks, name, type, turn);
    if (found !== null) return found;
  }
  if (container.servers?.length === 0) return { kind: 'elsewhere' };
  if (!networks.some(({ network }) => network.about.forwards)) return { kind: 'noWayOut' };
  if (container.mayAsk !== null && (name === null || !container.mayAsk.has(name))) return { kind: 'forbidden' };
  return { kind: 'ask', servers: container.servers ?? state.servers };
}

interface Place {
  member: NamesContainer['members'][number];
  network: KnownNetwork;
}

/** The first of the asker's networks on which the name has such an address answers, as in Docker. */
function called(places: readonly Place[], name: string, type: number, turn: number): Finding | null {
  let known = false;
  for (const { member, network } of places) {
    const owners = bearers(member, network, name);
    if (owners.length === 0) continue;
    known = true;
    const addresses = [...new Set(owners.flatMap((owner) => owner.addresses.filter(isOf(type))))];
    if (addresses.length > 0) return { kind: 'addresses', addresses: rotated(addresses, turn) };
  }
  return known ? { kind: 'addresses', addresses: [] } : null;
}

/** Who is called that on a network: by a link of the asker's, by a name, or by a name and the network's. */
function bearers(asker: NamesMember, network: KnownNetwork, name: string): readonly NamesMember[] {
  const own = bearersOf(asker, network, name);
  const suffix = `.${network.about.name.toLowerCase()}`;
  return own.length > 0 || !name.endsWith(suffix) ? own : bearersOf(asker, network, name.slice(0, -suffix.length));
}

function bearersOf(asker: NamesMember, network: KnownNetwork, name: string): readonly NamesMember[] {
  const link = asker.links.find(([alias]) => alias.toLowerCase() === name);
  return network.called(link === undefined ? name : link[1].toLowerCase());
}

function isOf(type: number): (address: string) => boolean {
  return (address) => (type === TYPE.A ? isIPv4(address) : type === TYPE.AAAA && !isIPv4(address));
}

function rotated<T>(list: T[], turn: number): T[] {
  const first = turn % list.length;
  return [...list.slice(first), ...list.slice(0, first)];
}

function pointer(places: readonly Place[], name: string): Finding | null {
  const address = reversedAddress(name);
  if (address === null) return null;
  for (const { network } of places) {
    const owner = network.at(address)?.names[0];
    const full = owner === undefined ? '' : `${owner}.${network.about.name}`;
    if (isDnsName(full)) return { kind: 'pointer', name: full };
  }
  return null;
}

/** Whether a name can stand in a message. Names of containers and networks may be too long for that. */
function isDnsName(name: string): boolean {
  const isLabel = (label: string): boolean => /^[\x21-\x7e]+$/.test(label) && label.length <= MAX_LABEL;
  return name.length <= MAX_NAME && name.split('.').every(isLabel);
}
