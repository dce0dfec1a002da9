/** Addresses and subnets as numbers. Pure. */
import { Address4, Address6 } from 'ip-address';

/** A run of addresses of one kind, both ends included. */
export interface AddressRange {
  family: 4 | 6;
  first: bigint;
  last: bigint;
}

/** A subnet: a range that begins and ends where its prefix says. */
export interface Subnet extends AddressRange {
  prefixLength: number;
}

export const BITS = { 4: 32, 6: 128 } as const;

/** An address as a number; null if it is none. */
export function parseAddress(text: string): { family: 4 | 6; value: bigint } | null {
  if (text.includes('/') || text.includes('%')) return null;
  if (Address4.isValid(text)) return { family: 4, value: new Address4(text).bigInt() };
  if (Address6.isValid(text)) return { family: 6, value: new Address6(text).bigInt() };
  return null;
}

export function formatAddress(family: 4 | 6, value: bigint): string {
  return family === 4 ? Address4.fromBigInt(value).address : Address6.fromBigInt(value).correctForm();
}

/** A subnet in CIDR notation; host bits are ignored. Null if it is none. */
export function parseSubnet(text: string): Subnet | null {
  const [address = '', prefix = ''] = text.split('/');
  const parsed = parseAddress(address);
  if (parsed === null || !/^\d{1,3}$/.test(prefix) || text.split('/').length !== 2) return null;
  const prefixLength = Number(prefix);
  const bits = BITS[parsed.family];
  if (prefixLength > bits) return null;
  return subnetAt(parsed.family, parsed.value, prefixLength);
}

/** The subnet of that length in which an address lies. */
export function subnetAt(family: 4 | 6, address: bigint, prefixLength: number): Subnet {
  const size = 1n << BigInt(BITS[family] - prefixLength);
  const first = address - (address % size);
  return { family, first, last: first + size - 1n, prefixLength };
}

export function formatSubnet({ family, first, prefixLength }: Subnet): string {
  return `${formatAddress(family, first)}/${prefixLength}`;
}

/** Ranges of addresses, separated by commas: each CIDR, or `first-last`. Null if one is neither. */
export function parseRanges(text: string): AddressRange[] | null {
  const ranges = text.split(',').map((part) => {
    const one = part.trim();
    if (!one.includes('-')) return parseSubnet(one);
    const [from, to] = one.split('-').map((end) => parseAddress(end.trim()));
    if (!from || !to || from.family !== to.family || from.value > to.value) return null;
    return { family: from.family, first: from.value, last: to.value };
  });
  return ranges.some((range) => range === null) ? null : (ranges as AddressRange[]);
}

export function overlaps(one: AddressRange, other: AddressRange): boolean {
  return one.family === other.family && one.first <= other.last && other.first <= one.last;
}

export function contains(outer: AddressRange, inner: AddressRange): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}
