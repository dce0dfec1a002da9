/** Where the routes of this machine lead, so that a network that is chosen does not hide them. */
import { readFileSync } from 'node:fs';
import { type AddressRange, subnetAt } from './cidr.js';

/** The kernel's tables as text: `/proc/net/route` and `/proc/net/ipv6_route` (proc(5)). */
export interface RouteTables {
  ipv4: string;
  ipv6: string;
}

/** Routes with a prefix: the default routes lead everywhere and are left out, as are link-local and multicast addresses. */
export function routesOf({ ipv4, ipv6 }: RouteTables): AddressRange[] {
  const four = ipv4
    .split('\n')
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      const [destination, mask] = [littleEndian(fields[1]), littleEndian(fields[7])];
      if (destination === null || mask === null || mask === 0n) return [];
      return [subnetAt(4, destination, onesOf(mask))];
    });
  const six = ipv6.split('\n').flatMap((line) => {
    const [destination = '', prefix = ''] = line.trim().split(/\s+/);
    if (!/^[0-9a-f]{32}$/.test(destination) || !/^[0-9a-f]{2}$/.test(prefix) || prefix === '00') return [];
    if (/^(fe[89ab]|ff)/.test(destination)) return [];
    return [subnetAt(6, BigInt(`0x${destination}`), Number.parseInt(prefix, 16))];
  });
  return [...four, ...six];
}

/** This machine's routes now; none where they cannot be read. */
export function machineRoutes(): AddressRange[] {
  return routesOf({ ipv4: read('/proc/net/route'), ipv6: read('/proc/net/ipv6_route') });
}

function littleEndian(hex: string | undefined): bigint | null {
  if (hex === undefined || !/^[0-9A-F]{8}$/i.test(hex)) return null;
  return BigInt(Buffer.from(hex, 'hex').readUInt32LE());
}

const onesOf = (mask: bigint): number => mask.toString(2).replaceAll('0', '').length;

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}
