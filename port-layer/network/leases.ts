/** Addresses that containers get by DHCP on container networks, as their guests report them (`guestinfo.caisson.run.leases`). Pure. */
import { isIPv4 } from 'node:net';
import type { NetworkEndpoint } from './types.js';

export const LEASES_KEY = 'guestinfo.caisson.run.leases';

/** What a card was given. */
export interface Lease {
  /** '' while it has none. */
  address: string;
  prefixLength: number;
  /** '' if the server told none. */
  gateway: string;
}

const NONE: Lease = { address: '', prefixLength: 0, gateway: '' };
const MOST_CARDS = 16;

/** By MAC address in lower case. The guest may run anybody's program, so anything that is not of this form is left out. */
export function parseLeases(text: string | undefined): ReadonlyMap<string, Lease> {
  const found = new Map<string, Lease>();
  for (const entry of (text ?? '').split(';').slice(0, MOST_CARDS)) {
    const [, mac = '', address = '', prefix = '', gateway = ''] =
      /^([0-9a-f:]{17})=(?:([0-9.]{7,15})\/(\d{1,2}),([0-9.]{7,15})?)?$/i.exec(entry) ?? [];
    if (mac === '') continue;
    const usable = isIPv4(address) && Number(prefix) >= 1 && Number(prefix) <= 32;
    const lease = { address, prefixLength: Number(prefix), gateway: isIPv4(gateway) ? gateway : '' };
    found.set(mac.toLowerCase(), usable ? lease : NONE);
  }
  return found;
}

/** It gets its address by DHCP. */
export const isLeased = ({ external }: Pick<NetworkEndpoint, 'external'>): boolean => external?.dhcp === true;

/** It gets its address by DHCP, and has none (yet). */
export const awaitsLease = (endpoint: Pick<NetworkEndpoint, 'external' | 'address'>): boolean =>
  isLeased(endpoint) && endpoint.address === '';

/** Endpoints with what their cards were given; the same list if that changes nothing. */
export function withLeases(endpoints: NetworkEndpoint[], leases: ReadonlyMap<string, Lease>): NetworkEndpoint[] {
  let changed = false;
  const next = endpoints.map((endpoint) => {
    const lease = isLeased(endpoint) ? leases.get(endpoint.mac.toLowerCase()) : undefined;
    if (lease === undefined) return endpoint;
    const { address, prefixLength, gateway } = endpoint;
    if (lease.address === address && lease.prefixLength === prefixLength && lease.gateway === gateway) return endpoint;
    changed = true;
    return { ...endpoint, ...lease };
  });
  return changed ? next : endpoints;
}
