/** Names of reverse lookups: `2.0.18.172.in-addr.arpa` (RFC 1035, 3.5) and 32 digits in `ip6.arpa` (RFC 3596, 2.5). */
import { isIPv4 } from 'node:net';
import { canonical } from './wire.js';

const FOUR = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa$/;
const SIX = /^((?:[0-9a-f]\.){32})ip6\.arpa$/;

/** The address that a name in lower case asks about; null if it is no such name. */
export function reversedAddress(name: string): string | null {
  const four = FOUR.exec(name);
  if (four !== null) {
    const address = four.slice(1).reverse().join('.');
    return isIPv4(address) ? address : null;
  }
  const digits = SIX.exec(name)?.[1]?.split('.').reverse().join('');
  return digits === undefined ? null : canonical((digits.match(/.{4}/g) ?? []).join(':'));
}
