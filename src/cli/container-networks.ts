/**
 * Options about container networks: vSphere networks that containers join with a card of their own. Those that say more about a network
 * name it by its port group, as vic-machine's do.
 */
import { isIP } from 'node:net';
import type { Command } from 'commander';
import { Address4, Address6 } from 'ip-address';
import { type ContainerNetworkConfig, TRUST_LEVELS } from '../../port-layer/config.js';
import { invalid } from '../common/errors.js';
import { collect } from './config-file.js';

/** The value that puts the networks back to what holds when they were never given. */
const NONE = 'none';
/** As in the original: what containers publish can be reached, nothing else. */
const DEFAULT_TRUST = 'published';
/** Docker's own. */
const RESERVED = ['bridge', 'default', 'host', 'none', 'container', 'nat'];
/** As Docker's names of networks. */
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/;

/** As commander returns them. */
export interface ContainerNetworkOptions {
  containerNetwork: string[];
  containerNetworkGateway: string[];
  containerNetworkIpRange: string[];
  containerNetworkDns: string[];
  containerNetworkFirewall: string[];
}

/** Adds the options to a command. */
export function containerNetworkOptions(command: Command): Command {
  return command
    .option(
      '--container-network <port group[:name]|none>',
      'vSphere network that containers can join, under this name (may be repeated)',
      collect,
      [],
    )
    .option(
      '--container-network-gateway <port group:address/prefix>',
      'its gateway and subnet, from which containers get their addresses (may be repeated; default: by DHCP)',
      collect,
      [],
    )
    .option(
      '--container-network-ip-range <port group:first-last|CIDR>',
      'addresses that its containers may get (may be repeated; default: all of the subnet)',
      collect,
      [],
    )
    .option('--container-network-dns <port group:address>', 'its name server (may be repeated)', collect, [])
    .option(
      '--container-network-firewall <port group:level>',
      `what may reach its containers: ${TRUST_LEVELS.join(', ')} (may be repeated; default: ${DEFAULT_TRUST})`,
      collect,
      [],
    );
}

/**
 * The container networks that the options describe; undefined if they say nothing.
 * @param bridges port groups that cannot be one, because they are bridge networks
 * @throws invalid
 */
export function containerNetworks(
  options: ContainerNetworkOptions,
  bridges: readonly string[],
): ContainerNetworkConfig[] | undefined {
  const { containerNetwork: given } = options;
  const networks = given.length === 1 && given[0] === NONE ? [] : given.map(parseNetwork);
  checkDistinct(networks, bridges);
  const details = (option: string, values: string[]): [ContainerNetworkConfig, string][] =>
    values.map((value) => networkOf(networks, option, value));
  for (const [network, value] of details('--container-network-gateway', options.containerNetworkGateway)) {
    if (network.gateway !== undefined) throw invalid(`--container-network-gateway: ${network.portGroup} has two`);
    network.gateway = parseGateway(value);
  }
  for (const [network, value] of details('--container-network-ip-range', options.containerNetworkIpRange))
    network.ipRanges.push(parseRange(network, value));
  for (const [network, value] of details('--container-network-dns', options.containerNetworkDns)) {
    if (isIP(value) === 0) throw invalid(`--container-network-dns '${value}' is not an address`);
    network.dns.push(value);
  }
  for (const [network, value] of details('--container-network-firewall', options.containerNetworkFirewall)) {
    const level = TRUST_LEVELS.find((one) => one === value.toLowerCase());
    if (level === undefined)
      throw invalid(`--container-network-firewall '${value}' is none of ${TRUST_LEVELS.join(', ')}`);
    network.trust = level;
  }
  return given.length === 0 ? undefined : networks;
}

function parseNetwork(text: string): ContainerNetworkConfig {
  const at = text.lastIndexOf(':');
  const [portGroup, name] = at < 0 ? [text, text] : [text.slice(0, at), text.slice(at + 1)];
  if (portGroup === '' || !NAME.test(name))
    throw invalid(
      `--container-network '${text}' is not of the form PORTGROUP:NAME, with a name of letters, digits, '_', '.' and '-'`,
    );
  if (RESERVED.includes(name))
    throw invalid(`--container-network '${text}': Docker has a network "${name}" of its own`);
  return { name, portGroup, ipRanges: [], dns: [], trust: DEFAULT_TRUST };
}

function checkDistinct(networks: readonly ContainerNetworkConfig[], bridges: readonly string[]): void {
  for (const [i, { name, portGroup }] of networks.entries()) {
    const before = networks.slice(0, i);
    if (before.some((one) => one.name === name)) throw invalid(`--container-network: two networks are named "${name}"`);
    if (before.some((one) => one.portGroup === portGroup))
      throw invalid(`--container-network: the port group "${portGroup}" is given twice`);
    if (bridges.includes(portGroup))
      throw invalid(
        `--container-network: the bridge network must not be shared with another network role: ${portGroup}`,
      );
  }
}

/** A port group's name may have colons itself, so it is recognised rather than cut off. */
function networkOf(
  networks: readonly ContainerNetworkConfig[],
  option: string,
  text: string,
): [ContainerNetworkConfig, string] {
  const network = networks
    .filter(({ portGroup }) => text.startsWith(`${portGroup}:`))
    .sort((a, b) => b.portGroup.length - a.portGroup.length)[0];
  if (network === undefined)
    throw invalid(`${option} '${text}' does not begin with a port group that --container-network names`);
  return [network, text.slice(network.portGroup.length + 1)];
}

type Address = Address4 | Address6;

function addressOf(text: string): Address | null {
  if (Address4.isValid(text)) return new Address4(text);
  return Address6.isValid(text) ? new Address6(text) : null;
}

function parseGateway(text: string): string {
  const address = text.includes('/') ? addressOf(text) : null;
  const most = address instanceof Address4 ? 30 : 126;
  if (address === null || address.subnetMask < 8 || address.subnetMask > most)
    throw invalid(`--container-network-gateway '${text}' is not of the form ADDRESS/PREFIX, such as 10.0.0.1/24`);
  const own = address.correctForm();
  if (
    own === address.startAddress().correctForm() ||
    (address instanceof Address4 && own === address.endAddress().address)
  )
    throw invalid(`--container-network-gateway '${text}' is the network's own address, or its broadcast address`);
  return `${own}/${address.subnetMask}`;
}

/** @returns `first-last` or CIDR */
function parseRange(network: ContainerNetworkConfig, text: string): string {
  const wrong = (why: string): Error => invalid(`--container-network-ip-range '${text}': ${why}`);
  if (network.gateway === undefined) throw wrong(`${network.portGroup} needs a --container-network-gateway too`);
  const [from = '', to] = text.split('-').map((part) => part.trim());
  const [first, last] = [addressOf(from), addressOf(to ?? from)];
  const isCidr = to === undefined && from.includes('/');
  if (first === null || last === null || (to !== undefined && text.includes('/')) || text.split('-').length > 2)
    throw wrong('it is not of the form FIRST-LAST or CIDR');
  const [begin, end] = isCidr ? [first.startAddress(), first.endAddress()] : [first, last];
  const subnet = addressOf(network.gateway)!;
  const inSubnet = (one: Address): boolean =>
    one instanceof Address4 === subnet instanceof Address4 && one.isInSubnet(subnet as never);
  if (!inSubnet(begin) || !inSubnet(end)) throw wrong(`it is not within the subnet of ${network.gateway}`);
  if (begin.bigInt() > end.bigInt()) throw wrong('it ends before it begins');
  return isCidr ? `${begin.correctForm()}/${first.subnetMask}` : `${begin.correctForm()}-${end.correctForm()}`;
}
