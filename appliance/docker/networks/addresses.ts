/** IP addresses and subnets of requests, as Go's `net/netip` reads them. Pure. */
import { isIP } from 'node:net';
import { Address4, Address6 } from 'ip-address';

export interface IpAddress {
  family: 4 | 6;
  value: bigint;
}

export interface Subnet {
  family: 4 | 6;
  bits: number;
  /** As it was written, in the shortest form. */
  address: bigint;
  first: bigint;
  last: bigint;
}

const BITS = { 4: 32, 6: 128 } as const;

/** null: no address. Zones are none that a network has. */
export function parseAddress(text: string): IpAddress | null {
  const family = isIP(text);
  if (family === 4) return { family, value: new Address4(text).bigInt() };
  if (family === 6 && !text.includes('%')) return { family, value: new Address6(text).bigInt() };
  return null;
}

/** `10.0.0.0/8`; null: not written like one. */
export function parseSubnet(text: string): Subnet | null {
  const [, host = '', length = ''] = /^([^/]+)\/(0|[1-9]\d{0,2})$/.exec(text) ?? [];
  const address = parseAddress(host);
  if (address === null) return null;
  const { family, value } = address;
  const bits = Number(length);
  if (bits > BITS[family]) return null;
  const hosts = (1n << BigInt(BITS[family] - bits)) - 1n;
  return { family, bits, address: value, first: value & ~hosts, last: value | hosts };
}

export function addressText(family: 4 | 6, value: bigint): string {
  return family === 4 ? Address4.fromBigInt(value).correctForm() : Address6.fromBigInt(value).correctForm();
}

/** @param address instead of the written one */
export function subnetText({ family, bits, address }: Subnet, other = address): string {
  return `${addressText(family, other)}/${bits}`;
}

export const contains = (subnet: Subnet, { family, value }: IpAddress): boolean =>
  family === subnet.family && value >= subnet.first && value <= subnet.last;

export const overlap = (one: Subnet, other: Subnet): boolean =>
  one.family === other.family && one.first <= other.last && other.first <= one.last;
