/**
 * The options of a network (`docker network create -o`), checked in Docker's words (moby `libnetwork/drivers/bridge`). Options that this
 * engine cannot carry out are refused, unless they ask for what it does anyway; those that Docker does not know mean nothing to either.
 */
import { invalid, unavailable, unsupported } from '../../../src/common/errors.js';
import { parseBool } from '../values/parse-bool.js';
import { parseAddress } from './addresses.js';
import { checkNetworkRate } from './egress-rate.js';

const BRIDGE = 'com.docker.network.bridge.';
const NETWORK = 'com.docker.network.';
/** Which of the two ways out a network has. */
export const EGRESS_OPTION = 'caisson.egress';

/** What options come to. */
export interface DriverOptions {
  icc: boolean;
  /** Undefined: the virtual container host's. */
  egress?: 'relay' | 'none';
  /** 0: the default. */
  mtu: number;
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
      if (value !== '' && value !== 'eth') throw refused(name, value, 'the interfaces of a machine are eth0, eth1, …');
      break;
    case EGRESS_OPTION:
      if (value !== 'relay' && value !== 'none')
        throw invalid(`failed to parse ${name} value: ${value} (it is relay or none)`);
      result.egress = value;
      break;
    // Any other is kept and shown. `bridge.name` among them: there is no bridge of the machine that could have the name.
  }
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
