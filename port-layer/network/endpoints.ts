/** What follows from a container's list of networks. Pure. */
import { type Attachment, attachmentOf, segmentOf } from '../../src/vim25/index.js';
import type { NetworkEndpoint } from './types.js';

type Ranked = Pick<NetworkEndpoint, 'network' | 'gwPriority' | 'internal' | 'address' | 'address6' | 'external'>;

/**
 * In the order in which Docker looks for the way out: by priority, networks with a way out before internal ones, those with IPv4 and IPv6
 * before those with one of them, then by name.
 */
function byRank(one: Ranked, other: Ranked): number {
  // One that gets its address by DHCP has its place already before.
  const both = ({ address, address6, external }: Ranked): number =>
    Number(address !== '' || external?.dhcp === true) + Number(address6 !== '');
  if (one.gwPriority !== other.gwPriority) return other.gwPriority - one.gwPriority;
  if (one.internal !== other.internal) return one.internal ? 1 : -1;
  if (both(one) !== both(other)) return both(other) - both(one);
  if (one.network === other.network) return 0;
  return one.network < other.network ? -1 : 1;
}

/** A container's endpoints in that order. */
export const ranked = <T extends Ranked>(endpoints: readonly T[]): T[] => [...endpoints].sort(byRank);

/**
 * The endpoint whose gateway is the container's default route and whose address published ports lead to. Undefined for a container
 * without networks, or one that does not run.
 */
export function mainEndpoint<T extends Ranked>(endpoints: readonly T[]): T | undefined {
  return ranked(endpoints).find(({ address, address6 }) => address !== '' || address6 !== '');
}

/** The endpoint whose gateway is the container's default route for IPv4. Undefined if it cannot leave its networks. */
export function wayOut4<T extends Ranked & { gateway: string }>(endpoints: readonly T[]): T | undefined {
  return ranked(endpoints).find(({ address, gateway, internal }) => address !== '' && gateway !== '' && !internal);
}

/** The same for IPv6. */
export function wayOut6<T extends Ranked & { gateway6: string }>(endpoints: readonly T[]): T | undefined {
  return ranked(endpoints).find(({ address6, gateway6, internal }) => address6 !== '' && gateway6 !== '' && !internal);
}

/** An endpoint of a record that an earlier version wrote gets the fields that it lacks. */
export function wholeEndpoint(kept: Partial<NetworkEndpoint>): NetworkEndpoint {
  return {
    network: '',
    networkId: '',
    endpointId: '',
    mac: '',
    address: '',
    prefixLength: 0,
    gateway: '',
    address6: '',
    prefixLength6: 0,
    gateway6: '',
    gwPriority: 0,
    mtu: 0,
    internal: false,
    nameServers: [],
    aliases: [],
    ...kept,
  };
}

/** A VM's network card, and what it is attached to. */
export interface Card extends Attachment {
  /** The device's key in vSphere. */
  key: number;
  mac: string;
}

/** A VM's network cards, in their order. @param devices `config.hardware.device` */
export function cardsOf(devices: readonly object[]): Card[] {
  return devices.flatMap((device) => {
    const { key, macAddress, backing } = device as { key?: unknown; macAddress?: unknown; backing?: object };
    if (typeof macAddress !== 'string' || typeof key !== 'number') return [];
    return [{ key, mac: macAddress, ...attachmentOf(backing) }];
  });
}

/**
 * Which card belongs to which of a container's networks: the one on the network's port group, else one that belongs to no other. A card
 * may be on another port group than its network's, if the network did not exist when the card was made.
 * @param wanted what the networks' cards are attached to, with the MAC address that was asked for
 */
export function cardsFor(
  wanted: readonly (Attachment & { mac?: string | undefined })[],
  cards: readonly Card[],
): (Card | undefined)[] {
  const free = [...cards];
  const found = new Map<number, Card>();
  const assign = (suits: (card: Card, at: number) => boolean): void => {
    for (const at of wanted.keys()) {
      if (found.has(at)) continue;
      const index = free.findIndex((card) => suits(card, at));
      if (index >= 0) found.set(at, free.splice(index, 1)[0]!);
    }
  };
  assign((card, at) => isThere(card, wanted[at]!) && card.mac === wanted[at]!.mac);
  assign((card, at) => isThere(card, wanted[at]!));
  assign(() => true);
  return [...wanted.keys()].map((at) => found.get(at));
}

/** Whether both are attached to the same port group. */
export const isThere = (one: Attachment, other: Attachment): boolean => segmentOf(one) === segmentOf(other);
