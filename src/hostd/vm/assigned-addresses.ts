/**
 * Addresses that a VM's cards may send from. Whoever creates the VM (the port layer) sets them, in a key that the guest can neither read
 * nor write (it has no `guestinfo.` prefix). What the guest reports as its addresses does not count here.
 */
import { isIP } from 'node:net';

/** `MAC=address,address;MAC=`, one per card. A card without addresses, or not listed, may use only its link-local one. */
export const ADDRESSES_KEY = 'caisson.addresses';
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i;
/** The addresses of one card. */
const MAX_ADDRESSES = 64;

/** Addresses by MAC address in lower case; undefined if the key is not set: each card may then send from any address. */
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
