/**
 * Which port groups an endpoint has made, as its VM's keys tell. On hosts that are not the embedded one, nothing else tells them from those that
 * were there before: what these keys do not name is never removed.
 */
import { type Attachment, segmentOf } from '../../src/vim25/index.js';
import { readNetworks } from './network-store.js';

/** The user-made networks, as a JSON list. */
export const NETWORKS_KEY = 'caisson.networks';
/** Names of port groups, as a JSON list, that may be there though no network has them: one is about to be made, or could not be removed. */
export const LOOSE_KEY = 'caisson.networks.loose';

/** The names in {@link LOOSE_KEY}. */
export function looseNames(text: string | undefined): string[] {
  try {
    const list: unknown = JSON.parse(text ?? '[]');
    return Array.isArray(list) ? list.filter((one) => typeof one === 'string') : [];
  } catch {
    return [];
  }
}

/**
 * All of them. Those that are only known by name are at the place where new ones are made.
 * @param keys of the endpoint VM
 */
export function madePortGroups(
  {
    networks,
    containerNetworks = [],
  }: { networks: readonly Attachment[]; containerNetworks?: readonly Attachment[] | undefined },
  keys: ReadonlyMap<string, string>,
): { known: Attachment[]; names: string[] } {
  const configured = new Set([...networks, ...containerNetworks].map(segmentOf));
  const known = readNetworks(keys.get(NETWORKS_KEY)).filter((one) => !configured.has(segmentOf(one)));
  return {
    known: known.map(({ portGroup, distributed }) => ({ portGroup, distributed })),
    names: looseNames(keys.get(LOOSE_KEY)),
  };
}
