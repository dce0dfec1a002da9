/** Ranges of addresses as numbers, and the pieces that several ranges cut an address space into. */
import { isIP } from 'node:net';
import { Address4, Address6 } from 'ip-address';

export type Family = 4 | 6;

/** Both ends included. */
export interface Range {
  family: Family;
  first: bigint;
  last: bigint;
}

export const LAST: Record<Family, bigint> = { 4: 2n ** 32n - 1n, 6: 2n ** 128n - 1n };
const known = new Map<string, Range>();
const MOST_KNOWN = 20_000;

/** The addresses of `10.0.0.0/8`, `fd00::/8`, `192.0.2.1`; bits beyond the prefix do not count. The text must be well-formed. */
export function rangeOf(cidr: string): Range {
  const there = known.get(cidr);
  if (there !== undefined) return there;
  if (known.size >= MOST_KNOWN) known.clear();
  const [address = '', prefix] = cidr.split('/');
  const family = isIP(address) === 6 ? 6 : 4;
  const bits = family === 6 ? 128 : 32;
  const value = family === 6 ? new Address6(address).bigInt() : new Address4(address).bigInt();
  const size = 1n << BigInt(bits - Number(prefix ?? bits));
  const first = value - (value % size);
  const range: Range = { family, first, last: first + size - 1n };
  known.set(cidr, range);
  return range;
}

/** True if the address is in the range. */
export function inRange(address: string, cidr: string): boolean {
  const [one, range] = [rangeOf(address), rangeOf(cidr)];
  return one.family === range.family && range.first <= one.first && one.last <= range.last;
}

/** An address in its usual form. */
export function addressText(family: Family, value: bigint): string {
  return family === 4 ? Address4.fromBigInt(value).address : Address6.fromBigInt(value).correctForm();
}

/** The pieces, in order, in each of which all addresses are in the same ones of these ranges; together they are the whole space. */
export function pieces(family: Family, ranges: readonly Range[]): Range[] {
  const starts = new Set<bigint>([0n]);
  for (const { family: one, first, last } of ranges) {
    if (one !== family) continue;
    starts.add(first);
    if (last < LAST[family]) starts.add(last + 1n);
  }
  const sorted = [...starts].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  return sorted.map((first, at) => ({ family, first, last: (sorted[at + 1] ?? LAST[family] + 1n) - 1n }));
}
