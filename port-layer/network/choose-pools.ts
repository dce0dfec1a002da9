/** Subnets of a new network: those that were asked for are checked, the others are chosen. Pure. */
import { sha256 } from '../../src/common/ids.js';
import { PortLayerError } from '../errors.js';
import { endsOf } from './address-pool.js';
import {
  type AddressRange,
  BITS,
  contains,
  formatAddress,
  formatSubnet,
  overlaps,
  parseAddress,
  parseRanges,
  parseSubnet,
  type Subnet,
  subnetAt,
} from './cidr.js';
import type { AskedPool, Pool } from './network-spec.js';

/** Networks of `/size` are cut from `base`, a CIDR, in order. */
export interface AddressSource {
  base: string;
  size: number;
}

/** As in Docker; 172.16.0.0/16 is what the default network usually has. */
const DEFAULT_SOURCES: readonly AddressSource[] = [
  ...Array.from({ length: 15 }, (_, n) => ({ base: `172.${17 + n}.0.0/16`, size: 16 })),
  { base: '192.168.0.0/16', size: 20 },
];
/** Of the unique local addresses (RFC 4193) that an engine has, each network gets a /64. */
const ULA_SIZE = 64;
/** More are not looked at in one source: a source of all of IPv6 would never end. */
const MOST_TRIED = 1 << 16;

/** What subnets are chosen from. */
export interface Sources {
  /** The configuration's; undefined: as in Docker. IPv6 is chosen from the engine's own unique local addresses unless one is here. */
  configured?: readonly AddressSource[] | undefined;
  /** Whose unique local addresses these are. */
  vch: string;
  /** Subnets of other networks: nothing may overlap them. */
  networks: readonly AddressRange[];
  /** Where the machine's own routes lead: a network that is chosen does not hide them. */
  routes: readonly AddressRange[];
}

/** What a request asks for. */
export interface WantedPools {
  pools: readonly AskedPool[];
  ipv4: boolean;
  ipv6: boolean;
}

/** The subnets of a new network, IPv4 first. @throws invalid, forbidden in the words of `network.*` */
export function choosePools({ pools, ipv4, ipv6 }: WantedPools, sources: Sources): Pool[] {
  if (!ipv4 && !ipv6) throw new PortLayerError('network.noFamily', {});
  // As in Docker, subnets of a kind that is off are kept and mean nothing.
  const isOn = ({ subnet = '' }: AskedPool): boolean =>
    parseSubnet(subnet)?.family === 6 ? ipv6 : ipv4 || !subnet.includes('.');
  const problems = pools.filter(isOn).flatMap(problemsOf);
  if (problems.length > 0) throw new PortLayerError('network.badConfig', { problems });
  const chosen: { pool: Pool; subnet: Subnet }[] = [];
  const busy = (): AddressRange[] => [...sources.networks, ...chosen.map(({ subnet }) => subnet)];
  for (const family of [4, 6] as const) {
    if (!(family === 4 ? ipv4 : ipv6)) continue;
    const asked = pools.filter(({ subnet = '' }) => parseSubnet(subnet)?.family === family);
    for (const one of asked) {
      const subnet = parseSubnet(one.subnet!)!;
      if (busy().some((other) => overlaps(subnet, other)))
        throw new PortLayerError('network.overlap', { subnet: one.subnet! });
      chosen.push({ subnet, pool: wholePool(subnet, one) });
    }
    if (asked.length > 0) continue;
    const subnet = freeSubnet(family, sources, [...busy(), ...sources.routes]);
    chosen.push({ subnet, pool: wholePool(subnet, {}) });
  }
  return chosen.map(({ pool }) => pool);
}

/** What is wrong with what was asked for, in Docker's words. */
function problemsOf({ subnet: text, gateway, ipRange, aux = {} }: AskedPool): string[] {
  if (!text) return gateway || ipRange ? ['every ip-range or gateway must have a corresponding subnet'] : [];
  const subnet = parseSubnet(text);
  if (subnet === null) return [`invalid subnet ${text}: invalid CIDR block notation`];
  const canonical = formatSubnet(subnet);
  if (parseAddress(text.split('/')[0]!)?.value !== subnet.first)
    return [`invalid subnet ${text}: it should be ${canonical}`];
  const inside = (address: string): boolean => {
    const parsed = parseAddress(address);
    return parsed !== null && contains(subnet, { family: parsed.family, first: parsed.value, last: parsed.value });
  };
  const problems: string[] = [];
  if (ipRange) {
    const ranges = parseRanges(ipRange);
    if (ranges === null) problems.push(`invalid ip-range ${ipRange}: invalid CIDR block notation`);
    else if (!ranges.every((range) => contains(subnet, range)))
      problems.push(`invalid ip-range ${ipRange}: parent subnet ${text} doesn't contain ip-range`);
  }
  const address = (what: string, value: string): void => {
    if (parseAddress(value) === null) problems.push(`invalid ${what}: invalid address`);
    else if (!inside(value)) problems.push(`invalid ${what}: parent subnet ${text} doesn't contain this address`);
  };
  if (gateway) address(`gateway ${gateway}`, gateway);
  for (const [name, value] of Object.entries(aux)) address(`auxiliary address ${name}`, value);
  return problems;
}

/** Adds what was not asked for. @throws forbidden when the gateway or an auxiliary address cannot be had */
function wholePool(subnet: Subnet, { gateway: asked, ipRange, aux = {} }: AskedPool): Pool {
  const { family } = subnet;
  const used = new Set(endsOf(subnet));
  const numberOf = (address: string): bigint => parseAddress(address)!.value;
  const gateway = asked ? numberOf(asked) : firstFree((ipRange && parseRanges(ipRange)?.[0]) || subnet, used, subnet);
  if (gateway === null || (asked && used.has(gateway)))
    throw new PortLayerError('network.reservedInUse', { address: asked ?? '', of: 'gateway' });
  used.add(gateway);
  for (const [name, address] of Object.entries(aux)) {
    const value = numberOf(address);
    if (used.has(value)) throw new PortLayerError('network.reservedInUse', { address, of: { aux: name } });
    used.add(value);
  }
  return {
    subnet: formatSubnet(subnet),
    gateway: formatAddress(family, gateway),
    ...(ipRange ? { ipRange } : {}),
    aux: Object.fromEntries(Object.entries(aux).map(([name, value]) => [name, formatAddress(family, numberOf(value))])),
  };
}

/** The first address of a range that nobody has, as Docker gives it to a gateway. */
function firstFree(range: AddressRange, used: ReadonlySet<bigint>, subnet: Subnet): bigint | null {
  for (let value = range.first; value <= range.last && value <= subnet.last; value++)
    if (!used.has(value)) return value;
  return null;
}

function freeSubnet(family: 4 | 6, { configured, vch }: Sources, busy: readonly AddressRange[]): Subnet {
  const all = configured ?? DEFAULT_SOURCES;
  const own = all.flatMap(({ base, size }) => {
    const parsed = parseSubnet(base);
    return parsed?.family === family ? [{ base: parsed, size }] : [];
  });
  const sources = own.length > 0 || family === 4 ? own : [{ base: ownAddresses(vch), size: ULA_SIZE }];
  for (const { base, size } of sources) {
    const step = 1n << BigInt(BITS[family] - Math.max(size, base.prefixLength));
    let tried = 0;
    for (let first = base.first; first <= base.last && tried < MOST_TRIED; first += step, tried++) {
      const subnet = subnetAt(family, first, Math.max(size, base.prefixLength));
      if (!busy.some((other) => overlaps(subnet, other))) return subnet;
    }
  }
  throw new PortLayerError('network.noPoolLeft', { family });
}

/** The /48 of unique local addresses that belongs to a virtual container host. */
export function ownAddresses(vch: string): Subnet {
  const digits = `fd${sha256(`addresses ${vch}`).slice(0, 10)}`;
  return subnetAt(6, BigInt(`0x${digits}`) << 80n, 48);
}
