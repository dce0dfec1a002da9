/**
 * Which addresses are everybody's and which only reached from here: a registry out there must not have this machine talk to what it
 * could not reach itself. Special-purpose addresses by IANA's registries (RFC 6890 and its updates).
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
  // For NAT64 within a network, and tunnels: where the IPv4 address stands in them is not said.
  ['64:ff9b:1::', 48],
  ['2001::', 32],
  ['fc00::', 7],
  ['fe80::', 10],
  ['fec0::', 10],
  ['ff00::', 8],
] as const)
  inner.addSubnet(network, prefix, 'ipv6');

/** Prefixes of IPv6 addresses that have an IPv4 address in them, and the byte at which it begins: mapped, translated, compatible, NAT64, 6to4. */
const CARRIERS: readonly [prefix: readonly number[], at: number][] = [
  [[0, 0, 0, 0, 0, 0xffff], 12],
  [[0, 0, 0, 0, 0xffff, 0], 12],
  [[0, 0, 0, 0, 0, 0], 12],
  [[0x64, 0xff9b, 0, 0, 0, 0], 12],
  [[0x2002], 2],
];

/** What listens on an address of this machine's own may be closed to everybody else, however public the address is. */
function isOwn(address: string, interfaces: typeof networkInterfaces): boolean {
  const own = new BlockList();
  for (const each of Object.values(interfaces()).flatMap((addresses) => addresses ?? []))
    own.addAddress(each.address, each.family === 'IPv6' ? 'ipv6' : 'ipv4');
  return own.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}

/** @param address IPv4 or IPv6, perhaps with a zone; what is none counts as private */
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

/** What a connection to a private address ends with, where only public ones are allowed. */
export class PrivateAddress extends Error {
  constructor(readonly address: string) {
    super(
      `a public registry leads to the private address ${address} (allowed where --insecure-registry names host or network)`,
    );
  }
}

/** A look-up that gives public addresses only: what is connected to is what was looked at. */
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
