/**
 * Tells public addresses from those that are only reachable from here: a registry on the internet must not make this machine talk to
 * something that the registry could not reach itself. Special-purpose addresses are those in IANA's registries (RFC 6890 and its updates).
 */

import { type LookupAddress, lookup as systemLookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { networkInterfaces } from 'node:os';

export type AddressClass = 'public' | 'private';

const inner = new BlockList();
for (const [network, prefix] of [
  ['0.0.0.0', 8],
  ['10.0.0.0', 8],
  ['100.64.0.0', 10],
  ['127.0.0.0', 8],
  ['169.254.0.0', 16],
  ['172.16.0.0', 12],
  ['192.0.0.0', 24],
  ['192.168.0.0', 16],
  ['198.18.0.0', 15],
  ['224.0.0.0', 3],
] as const)
  inner.addSubnet(network, prefix, 'ipv4');
for (const [network, prefix] of [
  ['::', 127],
  // NAT64 within a network, and tunnels: where they contain the IPv4 address is not known.
  ['64:ff9b:1::', 48],
  ['2001::', 32],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const)
  inner.addSubnet(network, prefix, 'ipv6');

/** Prefixes of IPv6 addresses that contain an IPv4 address, and its first byte: mapped, translated, compatible, NAT64, 6to4. */
const CARRIERS: readonly [prefix: readonly number[], at: number][] = [
  [[0, 0, 0, 0, 0, 0xffff], 12],
  [[0, 0, 0, 0, 0xffff, 0], 12],
  [[0, 0, 0, 0, 0, 0], 12],
  [[0x64, 0xff9b, 0, 0, 0, 0], 12],
  [[0x2002], 2],
];

/** A service on one of this machine's own addresses may be closed to everybody else, even if the address is public. */
function isOwn(address: string, interfaces: typeof networkInterfaces): boolean {
  const own = new BlockList();
  for (const each of Object.values(interfaces()).flatMap((addresses) => addresses ?? []))
    own.addAddress(each.address, each.family === 'IPv6' ? 'ipv6' : 'ipv4');
  return own.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** @param address IPv4 or IPv6, possibly with a zone; anything else counts as private */
export function classOf(address: string, interfaces = networkInterfaces): AddressClass {
  const plain = address.replace(/%.*$/, '');
  const family = isIP(plain);
  if (family === 0 || isOwn(plain, interfaces)) return 'private';
  if (family === 4) return inner.check(plain, 'ipv4') ? 'private' : 'public';
  if (inner.check(plain, 'ipv6')) return 'private';
  const words = wordsOf(plain);
  for (const [prefix, at] of CARRIERS) {
    if (!prefix.every((word, index) => words[index] === word)) continue;
    const [high, low] = [words[at / 2]!, words[at / 2 + 1]!];
    return classOf(`${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`, interfaces);
  }
  return 'public';
}

/** The eight words of an IPv6 address. */
function wordsOf(address: string): number[] {
  const text = address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a, b, c, d) =>
    [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)].map((word) => word.toString(16)).join(':'),
  );
  const [before = '', after] = text.split('::');
  const words = (part: string): number[] =>
    part === '' ? [] : part.split(':').map((word) => Number.parseInt(word, 16));
  if (after === undefined) return words(before);
  const [head, tail] = [words(before), words(after)];
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

/** The error of a connection to a private address where only public ones are allowed. */
export class PrivateAddress extends Error {
  constructor(readonly address: string) {
    super(
      `a public registry leads to the private address ${address} (allowed where --insecure-registry names host or network)`,
    );
  }
}

/** A lookup that returns only public addresses, so that the address that was checked is the one that is connected to. */
export function publicLookup(classify: (address: string) => AddressClass): LookupFunction {
  return (hostname, options, callback) => {
    systemLookup(hostname, { ...options, all: true }, (error, found: LookupAddress[]) => {
      if (error !== null) return callback(error, []);
      const allowed = found.filter(({ address }) => classify(address) === 'public');
      const [first] = allowed;
      if (first === undefined) return callback(new PrivateAddress(found[0]?.address ?? hostname), []);
      if (options.all === true) callback(null, allowed);
      else callback(null, first.address, first.family);
    });
  };
}
