/** The subnets that a request to make a network asks for, checked in Docker's words (moby `api/types/network/ipam.go`). Pure. */
import { z } from 'zod';
import type { AskedPool } from '../../../port-layer/index.js';
import { forbidden, invalid, notFound } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { text, words } from '../values/go-fields.js';
import { addressText, contains, overlap, parseAddress, parseSubnet, type Subnet, subnetText } from './addresses.js';
import { joined } from './problems.js';

const configSchema = goType(
  'network.IPAMConfig',
  z.object({ Subnet: text, IPRange: text, Gateway: text, AuxiliaryAddresses: words }),
);

export const ipamSchema = goType(
  'network.IPAM',
  z.object({ Driver: text, Options: words, Config: z.array(configSchema).nullish() }),
);

export type IpamRequest = z.infer<typeof ipamSchema>;
type ConfigRequest = z.infer<typeof configSchema>;

const FAMILY = { 4: 'IPv4', 6: 'IPv6' } as const;
const LINK_LOCAL = parseSubnet('fe80::/64')!;
const MULTICAST = parseSubnet('ff00::/8')!;

/** What was asked of subnets that the network is to have. @throws invalid in Docker's words, with all that is wrong */
export function askedPools(ipam: IpamRequest | null | undefined, ipv6: boolean): AskedPool[] {
  const configs = ipam?.Config ?? [];
  const problems = configs.flatMap((config) => configProblems(config, ipv6));
  if (problems.length > 0) throw invalid(`invalid network config:\n${joined(problems)}`);
  return configs.map(({ Subnet: subnet, IPRange: ipRange, Gateway: gateway, AuxiliaryAddresses: aux }) => ({
    ...(subnet ? { subnet } : {}),
    ...(ipRange ? { ipRange } : {}),
    ...(gateway ? { gateway } : {}),
    ...(aux && Object.keys(aux).length > 0 ? { aux } : {}),
  }));
}

/** Drivers that give out addresses: there is one. @throws notFound, invalid in Docker's words */
export function checkIpamDriver(driver: string, ipv4: boolean): void {
  if (driver === '' || driver === 'default') return;
  if (driver === 'null') throw invalid(`${ipv4 ? 'ipv4' : 'ipv6'} pool is empty`);
  throw notFound(`plugin "${driver}" not found`);
}

/** What the bridge driver refuses. @throws forbidden, invalid in Docker's words */
export function checkBridgePools(pools: readonly AskedPool[], ipv6: boolean): void {
  const subnets = pools.flatMap(({ subnet }) => parseSubnet(subnet ?? '') ?? []);
  for (const family of [4, 6] as const) {
    const [one, other] = subnets.filter((subnet) => subnet.family === family && (family === 4 || ipv6));
    if (one !== undefined && other !== undefined)
      throw forbidden(
        overlap(one, other)
          ? 'invalid pool request: Pool overlaps with other one on this address space'
          : "bridge driver doesn't support multiple subnets",
      );
  }
  for (const { subnet = '', gateway } of ipv6 ? pools : []) {
    const pool = parseSubnet(subnet);
    if (pool === null || pool.family === 4) continue;
    const shown = subnetText(pool, parseAddress(gateway ?? '')?.value ?? pool.first + 1n);
    if (overlap(pool, MULTICAST)) throw invalid(`multicast subnet '${shown}' is not allowed`);
    if (overlap(pool, LINK_LOCAL) && (pool.first !== LINK_LOCAL.first || pool.bits !== LINK_LOCAL.bits))
      throw invalid(`'${shown}' clashes with the Link-Local prefix 'fe80::/64'`);
  }
}

function configProblems(config: ConfigRequest, ipv6: boolean): string[] {
  const asked = config.Subnet ?? '';
  const subnet = parseSubnet(asked);
  if (subnet === null) return [`invalid subnet ${asked}: invalid CIDR block notation`];
  if (!ipv6 && subnet.family === 6) return [];
  const problems: string[] = [];
  if (subnet.address !== subnet.first)
    problems.push(`invalid subnet ${subnetText(subnet)}: it should be ${subnetText(subnet, subnet.first)}`);
  problems.push(...rangeProblems(config.IPRange ?? '', subnet));
  const gateway = addressProblem(config.Gateway ?? '', subnet);
  if (gateway !== '') problems.push(`invalid gateway ${config.Gateway}: ${gateway}`);
  for (const [name, address] of Object.entries(config.AuxiliaryAddresses ?? {})) {
    const problem = addressProblem(address, subnet);
    if (problem !== '') problems.push(`invalid auxiliary address ${name}: ${problem}`);
  }
  return problems;
}

function rangeProblems(asked: string, subnet: Subnet): string[] {
  if (asked === '') return [];
  const range = parseSubnet(asked);
  if (range === null) return [`invalid ip-range ${asked}: invalid CIDR block notation`];
  if (range.family !== subnet.family)
    return [`invalid ip-range ${asked}: parent subnet is an ${FAMILY[subnet.family]} block`];
  const problems: string[] = [];
  if (range.bits < subnet.bits)
    problems.push(`invalid ip-range ${asked}: CIDR block is bigger than its parent subnet ${subnetText(subnet)}`);
  if (range.address !== range.first)
    problems.push(`invalid ip-range ${subnetText(range)}: it should be ${subnetText(range, range.first)}`);
  if (!overlap(range, subnet))
    problems.push(`invalid ip-range ${asked}: parent subnet ${subnetText(subnet)} doesn't contain ip-range`);
  return problems;
}

function addressProblem(asked: string, subnet: Subnet): string {
  if (asked === '') return '';
  const address = parseAddress(asked);
  if (address === null) return 'invalid address';
  if (address.family !== subnet.family) return `parent subnet is an ${FAMILY[subnet.family]} block`;
  return contains(subnet, address) ? '' : `parent subnet ${subnetText(subnet)} doesn't contain this address`;
}

/** An address in its shortest form; '' for none. */
export function plainAddress(asked: string): string {
  const address = parseAddress(asked);
  return address === null ? '' : addressText(address.family, address.value);
}
