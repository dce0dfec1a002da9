/**
 * One volume for several running containers: who has its disk, who reaches it over the network, and what is to be done next. Pure.
 *
 * A volume is `free`, or `direct`: one container that writes has its disk, or some that only read have it; that is all there is to it as long as
 * nobody else wants the volume. Or it is `shared`: one machine has the disk and serves it, to clients, over a network segment of the volume's own.
 * The server is the container that had the disk first; when that has ended, a machine that does nothing else.
 */
import { sha256 } from '../../src/common/ids.js';

/** What a container's machine has for a shared volume: a card on the volume's segment; a client does not have the disk. */
export type VolumeSharing = { volume: string; as: 'server' } | { volume: string; as: 'client'; number: number };

/** Every segment has the same subnet: it leads nowhere, and guests keep each in a network namespace of its own. */
const SUBNET = '169.254.77';
const PREFIX = 24;
const SERVER = 1;
const LAST = 254;

const numberOf = (sharing: VolumeSharing): number => (sharing.as === 'server' ? SERVER : sharing.number);

/** The card of a machine on a volume's segment. All servers of a volume have the same one, so that clients do not notice a change. */
export function sharingCard(sharing: VolumeSharing): { mac: string; address: string; prefixLength: number } {
  const number = numberOf(sharing);
  const hash = sha256(`card ${number} of volume ${sharing.volume}`);
  // Those that VMware lets administrators give out.
  const bytes = [
    Number.parseInt(hash.slice(0, 2), 16) & 0x3f,
    ...[2, 4].map((at) => Number.parseInt(hash.slice(at, at + 2), 16)),
  ];
  const mac = ['00', '50', '56', ...bytes.map((byte) => byte.toString(16).padStart(2, '0'))].join(':');
  return { mac, address: `${SUBNET}.${number}`, prefixLength: PREFIX };
}

/** Where a volume's server is. */
export const SERVER_ADDRESS = `${SUBNET}.${SERVER}`;

/** The lowest number that no client has; null: there are too many. */
export function freeClientNumber(taken: ReadonlySet<number>): number | null {
  for (let number = SERVER + 1; number <= LAST; number++) if (!taken.has(number)) return number;
  return null;
}

// --- who may have the disk -------------------------------------------------------------------------------------------

/** Another machine that has the volume. */
export interface OtherUser {
  /** It has the disk; otherwise it is a client. */
  disk: boolean;
  readOnly: boolean;
  /** `coming`: it is being started. `leaving`: its process has ended, or it is being removed. */
  stands: 'coming' | 'running' | 'leaving';
}

/**
 * How a container that is to start gets a volume. `wait`: until that user has come or gone. `refused`: by that user.
 */
export type Access<T> =
  | { kind: 'disk' }
  | { kind: 'client' }
  | { kind: 'wait'; user: T }
  | { kind: 'refused'; user: T };

/**
 * @param users the others that have it now
 * @param shares whether this host can serve a volume to several
 */
export function accessTo<T extends OtherUser>(
  wanted: { readOnly: boolean },
  users: readonly T[],
  shares: boolean,
): Access<T> {
  const writer = users.find(({ disk, readOnly }) => disk && !readOnly);
  const reader = users.find(({ disk, readOnly }) => disk && readOnly);
  if (writer !== undefined) {
    if (!shares) return { kind: 'refused', user: writer };
    return writer.stands === 'running' ? { kind: 'client' } : { kind: 'wait', user: writer };
  }
  // Its server has ended, and another one is about to take its place.
  if (users.some(({ disk }) => !disk)) return { kind: 'client' };
  if (reader === undefined || wanted.readOnly) return { kind: 'disk' };
  // What it has read would not change when another machine writes.
  return shares && reader.stands === 'leaving' ? { kind: 'wait', user: reader } : { kind: 'refused', user: reader };
}

// --- what is to be done ----------------------------------------------------------------------------------------------

/** The machine that has a shared volume's disk for writing. */
export interface Holder {
  id: string;
  /** A container's machine, or one that only serves the volume. */
  of: 'container' | 'server';
  stands: OtherUser['stands'];
  /** It has a card on the segment. */
  card: boolean;
  /** Its guest has been told to serve, and does. */
  serves: boolean;
}

/** A volume as it is. */
export interface SharingView {
  holder: Holder | null;
  /** A machine that only serves it and does not run. */
  restingServer: string | null;
  /** Clients that run or are being started. */
  clients: number;
  /** Containers that do not run, whose machines still have a card on the segment. */
  leftovers: readonly string[];
  segment: boolean;
}

export type SharingState =
  | { kind: 'free' }
  | { kind: 'direct'; owner: string }
  | { kind: 'shared'; server: string | null; clients: number };

/** What a volume is, in one word. */
export function sharingState({ holder, clients }: SharingView): SharingState {
  if (clients > 0) return { kind: 'shared', server: holder?.serves ? holder.id : null, clients };
  return holder === null || holder.of === 'server' ? { kind: 'free' } : { kind: 'direct', owner: holder.id };
}

export type SharingStep =
  | { do: 'makeSegment' }
  | { do: 'removeSegment' }
  /** Plugs a card into the holder's machine unless it has one, and tells its guest to serve. */
  | { do: 'serve'; holder: string }
  /** The opposite. */
  | { do: 'unserve'; holder: string }
  | { do: 'startServer'; resting: string | null }
  | { do: 'removeServer'; server: string }
  /** Takes the card of a container that does not run out of its machine, and gives the disk back to a client's. */
  | { do: 'restore'; container: string };

/** The next step; null: there is nothing to do until something changes. */
export function nextSharingStep({
  holder,
  restingServer,
  clients,
  leftovers,
  segment,
}: SharingView): SharingStep | null {
  if (clients > 0) {
    if (!segment) return { do: 'makeSegment' };
    if (holder === null) return { do: 'startServer', resting: restingServer };
    return holder.stands === 'running' && !holder.serves ? { do: 'serve', holder: holder.id } : null;
  }
  if (restingServer !== null) return { do: 'removeServer', server: restingServer };
  if (holder?.of === 'server') return holder.stands === 'running' ? { do: 'removeServer', server: holder.id } : null;
  if (holder?.card === true) return holder.stands === 'running' ? { do: 'unserve', holder: holder.id } : null;
  if (leftovers.length > 0) return { do: 'restore', container: leftovers[0]! };
  return segment ? { do: 'removeSegment' } : null;
}
