/** Addresses that the guest reports. It may run anybody's program, so only valid addresses of the VM's own cards count. */
import { isIP } from 'node:net';

const FIRST = 'guestinfo.ip';
/** `MAC=address/prefix`, one per card, separated by commas. */
const ALL = 'guestinfo.caisson.run.addresses';
const ENTRY = /^([0-9a-f]{2}(?::[0-9a-f]{2}){5})=([0-9a-f.:]{2,45})\/(\d{1,3})$/i;
const MAX_LENGTH = 4096;

/** True for the keys that report addresses. */
export function isAddressKey(key: string): boolean {
  return key === FIRST || key === ALL;
}

/** The first address that the guest reported, unchecked. */
export function firstAddress(extraConfig: ReadonlyMap<string, string>): string | undefined {
  return extraConfig.get(FIRST);
}

/** Addresses with prefix lengths, by MAC address in lower case. */
export function guestAddresses(
  extraConfig: ReadonlyMap<string, string>,
): Map<string, { ipAddress: string; prefixLength: number }> {
  const found = new Map<string, { ipAddress: string; prefixLength: number }>();
  for (const entry of (extraConfig.get(ALL) ?? '').slice(0, MAX_LENGTH).split(',')) {
    const [, mac = '', ipAddress = '', prefix = ''] = ENTRY.exec(entry) ?? [];
    const family = isIP(ipAddress);
    if (family === 0 || Number(prefix) > (family === 4 ? 32 : 128)) continue;
    found.set(mac.toLowerCase(), { ipAddress, prefixLength: Number(prefix) });
  }
  return found;
}

/** Whether one of the VM's cards has that address. */
export function hasAddress(extraConfig: ReadonlyMap<string, string>, address: string): boolean {
  if (firstAddress(extraConfig) === address) return true;
  return [...guestAddresses(extraConfig).values()].some(({ ipAddress }) => ipAddress === address);
}
