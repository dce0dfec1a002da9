/**
 * The options of a network (`docker network create -o`), checked in Docker's words (moby `libnetwork/drivers/bridge`). Options that this
 * engine cannot carry out are refused, unless they ask for what it does anyway; of those that mean less than in Docker, the answer warns.
 */
import type { NetworkInfo } from '../../../port-layer/index.js';
import { invalid, unavailable, unsupported } from '../../../src/common/errors.js';
import { parseBool } from '../values/parse-bool.js';
import { parseAddress } from './addresses.js';
import { checkNetworkRate } from './egress-rate.js';

const BRIDGE = 'com.docker.network.bridge.';
const NETWORK = 'com.docker.network.';
const BRIDGE_NAME = `${BRIDGE}name`;
/** Which of the two ways out a network has. */
export const EGRESS_OPTION = 'caisson.egress';

/** What options come to. */
export interface DriverOptions {
  icc: boolean;
  /** Undefined: the virtual container host's. */
  egress?: 'relay' | 'none';
  /** 0: the default. */
  mtu: number;
  interfacePrefix?: string;
  segmentName?: string;
}

/** What Docker's bridge driver takes from a network's options; those about addresses are read before. */
const KNOWN = [
  ...['enable_icc', 'enable_ip_masquerade', 'host_binding_ipv4', 'gateway_mode_ipv4', 'gateway_mode_ipv6'],
  ...['inhibit_ipv4', 'default_bridge', 'trusted_host_interfaces'],
].map((name) => `${BRIDGE}${name}`);
const KNOWN_TO_ALL = [
  'driver.mtu',
  'host_ipv4',
  'host_ipv6',
  'container_iface_prefix',
  'enable_ipv4',
  'enable_ipv6',
].map((name) => `${NETWORK}${name}`);

/** What an answer warns of: options without the effect that their names promise. '' for none. */
export function optionWarning({
  options,
  portGroup,
  kind,
}: Pick<NetworkInfo, 'options' | 'portGroup' | 'kind'>): string {
  // Nothing is made from it yet.
  if (kind === 'config') return '';
  return Object.entries(options)
    .flatMap(([name, value]) => {
      if (name === BRIDGE_NAME && value !== '')
        return `${name}=${value}: no interface of this machine has that name; the network is the port group '${portGroup}'`;
      const means = !name.startsWith(NETWORK) || [BRIDGE_NAME, ...KNOWN, ...KNOWN_TO_ALL].includes(name);
      return means ? [] : `${name}: there is no such option, so it has no effect`;
    })
    .join('\n');
}

/** @throws invalid in Docker's words; unsupported naming the option and why */
export function driverOptions(options: Record<string, string>, internal: boolean): DriverOptions {
  const result: DriverOptions = { icc: true, mtu: 0 };
  for (const [name, value] of Object.entries(options)) apply(result, name, value);
  checkNetworkRate(options, internal);
  const modes = [options[`${BRIDGE}gateway_mode_ipv4`], options[`${BRIDGE}gateway_mode_ipv6`]];
  if (modes.includes('isolated') && !internal)
    throw unavailable("gateway mode 'isolated' can only be used for an internal network");
  return result;
}

/** Checked after a network's subnets, as in Docker. @throws invalid */
export function checkMtu({ mtu }: DriverOptions): void {
  if (mtu < 0) throw invalid(`invalid MTU number: ${mtu}`);
  if (mtu !== 0 && (mtu < 68 || mtu > 65_535)) throw invalid(`invalid MTU number: ${mtu}: it is from 68 to 65535`);
}

function apply(result: DriverOptions, name: string, value: string): void {
  switch (name) {
    case `${BRIDGE}enable_icc`:
      result.icc = flag(name, value);
      break;
    case `${BRIDGE}enable_ip_masquerade`:
      // Without translation nothing outside could answer: such a network has no way out.
      if (!flag(name, value)) result.egress = 'none';
      break;
    case `${NETWORK}driver.mtu`:
      result.mtu = wholeNumber(name, value);
      break;
    case `${BRIDGE}host_binding_ipv4`:
      address(name, value);
      break;
    case `${BRIDGE}gateway_mode_ipv4`:
    case `${BRIDGE}gateway_mode_ipv6`:
      gatewayMode(name, value);
      break;
    case `${BRIDGE}inhibit_ipv4`:
    case `${BRIDGE}default_bridge`:
      if (flag(name, value)) throw refused(name, value, 'a network is no bridge of the machine');
      break;
    case `${BRIDGE}trusted_host_interfaces`:
      if (value !== '') throw refused(name, value, "the machine's interfaces lead to no container");
      break;
    case `${NETWORK}host_ipv4`:
    case `${NETWORK}host_ipv6`:
      address(name, value);
      throw refused(name, value, 'the way out has the address that the machine chooses');
    case `${NETWORK}container_iface_prefix`:
      if (!/^[^/:\s]{0,13}$/.test(value)) throw unparsed(name, value, 'no interface can be called so');
      if (value !== '' && value !== 'eth') result.interfacePrefix = value;
      break;
    case EGRESS_OPTION:
      if (value !== 'relay' && value !== 'none')
        throw invalid(`failed to parse ${name} value: ${value} (it is relay or none)`);
      result.egress = value;
      break;
    case BRIDGE_NAME:
      if (value !== '') result.segmentName = bridgeName(value);
      break;
    // Any other is kept and shown.
  }
}

/** @throws unavailable in the kernel's words, as Docker */
function bridgeName(name: string): string {
  if (Buffer.byteLength(name) > 15) throw unavailable('numerical result out of range');
  if (!/^[^/:\s]+$/.test(name) || name === '.' || name === '..') throw unavailable('invalid argument');
  return name;
}

function gatewayMode(name: string, value: string): void {
  if (!['nat', 'nat-unprotected', 'routed', 'isolated'].includes(value))
    throw unparsed(name, value, `unknown gateway mode ${value}`);
  // An internal network has no way to the machine in any mode.
  if (value === 'nat' || value === 'isolated') return;
  throw refused(name, value, "the machine's routing and firewall are not changed");
}

function flag(name: string, value: string): boolean {
  const read = parseBool(value);
  if (read === null) throw unparsed(name, value, `strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
  return read;
}

function wholeNumber(name: string, value: string): number {
  if (!/^[+-]?\d+$/.test(value))
    throw unparsed(name, value, `strconv.Atoi: parsing ${JSON.stringify(value)}: invalid syntax`);
  if (!Number.isSafeInteger(Number(value)))
    throw unparsed(name, value, `strconv.Atoi: parsing ${JSON.stringify(value)}: value out of range`);
  return Number(value);
}

function address(name: string, value: string): void {
  if (parseAddress(value) === null) throw unparsed(name, value, 'nil ip');
}

const unparsed = (name: string, value: string, why: string): Error =>
  invalid(`failed to parse ${name} value: ${value} (${why})`);

const refused = (name: string, value: string, why: string): Error =>
  unsupported(`the network option ${name}=${value} is not implemented: ${why}`);
