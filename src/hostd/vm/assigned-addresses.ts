/**
 * From which addresses a VM's cards may send: said by who makes the VM (the port layer), in a key that the guest can neither read nor
 * write (it has no `guestinfo.` prefix). What the guest itself tells of its addresses counts for nothing here.
 */
import { isIP } from 'node:net';

/** `MAC=address,address;MAC=`, one per card; a card without addresses, or that is not named, has its link-local one alone. */
export const ADDRESSES_KEY = 'caisson.addresses';
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;
/** Addresses of one card. */
const MAX_ADDRESSES = 64;

/** Addresses by MAC address in small letters; undefined where nothing was said: each card may send from any. */
export function assignedAddresses(extraConfig: ReadonlyMap<string, string>): Map<string, string[]> | undefined {
  const text = extraConfig.get(ADDRESSES_KEY);
  if (text === undefined || text === '') return undefined;
  const found = new Map<string, string[]>();
  for (const entry of text.split(';')) {
    const [mac = '', list = ''] = entry.split('=');
    if (!MAC.test(mac)) continue;
    const addresses = list.split(',').filter((address) => isIP(address) !== 0 && !address.includes('%'));
    found.set(mac.toLowerCase(), addresses.slice(0, MAX_ADDRESSES));
  }
  return found;
}
