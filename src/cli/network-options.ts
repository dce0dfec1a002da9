/** Options of `npm start` and `vic-machine create` about the networks of a virtual container host, its way out, and proxies. */
import { type Command, Option } from 'commander';
import { Address4, Address6 } from 'ip-address';
import { type AddressPoolConfig, type Egress, MOST_HOST_PORTS, type VchConfig } from '../../port-layer/config.js';
import { parseBitRate } from '../common/bit-rate.js';
import { invalid, unsupported } from '../common/errors.js';
import { collect } from './config-file.js';
import { type ContainerNetworkOptions, containerNetworkOptions, containerNetworks } from './container-networks.js';

/** The value that puts an option back to what holds when it was never given. */
const NONE = 'none';
const DEFAULT = 'default';
const DNS_PORT = 53;

/** As commander returns them; empty or undefined if not given. */
export interface NetworkOptions extends ContainerNetworkOptions {
  egress?: Egress;
  egressRate?: string;
  allowHostPorts: string[];
  defaultAddressPool: string[];
  allowNetworkCreate?: boolean;
  networkVlans?: string;
  httpProxy?: string;
  httpsProxy?: string;
  noProxy?: string;
}

/** The part of a configuration that these options determine. */
export type NetworkSettings = Pick<
  VchConfig,
  | 'egress'
  | 'egressRate'
  | 'hostPorts'
  | 'addressPools'
  | 'allowNetworkCreate'
  | 'networkVlans'
  | 'proxies'
  | 'containerNetworks'
>;

/** Adds the options to a command. */
export function networkOptions(command: Command): Command {
  return containerNetworkOptions(command)
    .option(
      '--egress <relay|none>',
      'whether containers reach what this machine reaches, or nothing outside; with relay, a network can do without: docker network create -o caisson.egress=none (default: relay)',
      parseEgress,
    )
    .option(
      '--egress-rate <rate|none>',
      'how fast each container may send and receive through its gateway (the way out, published ports), such as 10mbit; networks can say otherwise: docker network create -o caisson.egress-rate=1gbit (default: none)',
    )
    .option(
      '--allow-host-ports <port[-port],…|none>',
      "ports of this machine that containers reach at their gateway's address, which --add-host NAME:host-gateway names (may be repeated; default: none)",
      collect,
      [],
    )
    .option(
      '--default-address-pool <base=CIDR,size=N|default>',
      'where new networks get their subnets from (may be repeated; default: as in Docker)',
      collect,
      [],
    )
    .option('--allow-network-create <yes|no>', 'on a vCenter: make a port group for each new network', yesOrNo)
    .option(
      '--network-vlans <first-last|none>',
      "on a vCenter, with --allow-network-create: VLANs, one for each new network (default: all in that of the bridge network's port group)",
    )
    .option('--http-proxy <url|none>', 'proxy for pulls; also HTTP_PROXY in the environment of new containers')
    .option('--https-proxy <url|none>', 'proxy for pulls; also HTTPS_PROXY in the environment of new containers')
    .addOption(noProxyOption());
}

/** Commander takes `--no-…` for a switch that turns something off. */
function noProxyOption(): Option {
  const option = new Option(
    '--no-proxy <list|none>',
    'hosts that pulls reach without a proxy; also NO_PROXY in the environment of new containers',
  );
  option.negate = false;
  return option;
}

/**
 * What the options say.
 * @param before the current values, which stay where an option is not given
 * @param bridges port groups of its bridge networks
 * @throws invalid
 */
export function networkSettings(
  options: NetworkOptions,
  before: NetworkSettings = {},
  bridges: readonly string[] = [],
): NetworkSettings {
  const egress = options.egress ?? before.egress;
  const egressRate = options.egressRate === undefined ? before.egressRate : parseRate(options.egressRate);
  const hostPorts = said(options.allowHostPorts, NONE, parseHostPorts) ?? before.hostPorts ?? [];
  const addressPools = said(options.defaultAddressPool, DEFAULT, parseAddressPools) ?? before.addressPools ?? [];
  const allowNetworkCreate = options.allowNetworkCreate ?? before.allowNetworkCreate ?? false;
  const networkVlans =
    options.networkVlans === undefined ? before.networkVlans : parseNetworkVlans(options.networkVlans);
  if (networkVlans !== undefined && !allowNetworkCreate)
    throw invalid('--network-vlans needs --allow-network-create yes: without it, no port group is made');
  const external = containerNetworks(options, bridges) ?? before.containerNetworks ?? [];
  const { http, https, no } = before.proxies ?? {};
  const proxies = withoutEmpty({
    http: options.httpProxy === undefined ? http : parseProxy('--http-proxy', options.httpProxy),
    https: options.httpsProxy === undefined ? https : parseProxy('--https-proxy', options.httpsProxy),
    no: options.noProxy === undefined ? no : parseNoProxy(options.noProxy),
  });
  return {
    ...(egress === undefined ? {} : { egress }),
    ...(egressRate === undefined ? {} : { egressRate }),
    ...(hostPorts.length > 0 ? { hostPorts } : {}),
    ...(addressPools.length > 0 ? { addressPools } : {}),
    ...(allowNetworkCreate ? { allowNetworkCreate } : {}),
    ...(networkVlans === undefined ? {} : { networkVlans }),
    ...(Object.keys(proxies).length > 0 ? { proxies } : {}),
    ...(external.length > 0 ? { containerNetworks: external } : {}),
  };
}

/** Undefined if the option was not given; empty if it was given to empty it. @throws invalid for both at once */
function said<T>(given: string[], nothing: string, parse: (given: string[]) => T[]): T[] | undefined {
  if (given.length === 0) return undefined;
  return given.length === 1 && given[0] === nothing ? [] : parse(given);
}

function parseEgress(text: string): Egress {
  if (text !== 'relay' && text !== 'none') throw invalid(`--egress '${text}' is neither relay nor none`);
  return text;
}

const parseRate = (text: string): number | undefined =>
  text === NONE ? undefined : parseBitRate('--egress-rate', text);

function yesOrNo(text: string): boolean {
  if (text !== 'yes' && text !== 'no') throw invalid(`--allow-network-create '${text}' is neither yes nor no`);
  return text === 'yes';
}

/** `100-199`. Undefined for none. @throws invalid */
function parseNetworkVlans(text: string): NetworkSettings['networkVlans'] {
  if (text === NONE) return undefined;
  const match = /^(\d{1,4})(?:-(\d{1,4}))?$/.exec(text);
  const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
  if (match === null || first < 1 || last > 4094 || first > last)
    throw invalid(`--network-vlans '${text}' is not a range of VLANs, such as 100-199`);
  return { first, last };
}

/**
 * Refuses what the host below cannot do. On hosts of others, this engine is neither the gateway nor the switch.
 * @param embedded whether it is the embedded host
 * @throws unsupported
 */
export function checkHostSettings(
  embedded: boolean,
  { hostPorts = [], egress, egressRate, networkVlans }: NetworkSettings,
): void {
  if (embedded && networkVlans !== undefined)
    throw unsupported(
      '--network-vlans is for hosts with VLANs: on the embedded host each network is a segment of its own',
    );
  if (!embedded && hostPorts.length > 0)
    throw unsupported('--allow-host-ports needs the embedded host, whose gateway leads to the machine');
  if (!embedded && egressRate !== undefined)
    throw unsupported('--egress-rate needs the embedded host, whose gateway carries what containers send');
  if (!embedded && egress === 'relay')
    throw unsupported(
      '--egress relay needs the embedded host: on this target, what containers reach is up to the gateway of their network',
    );
}

/** `8080,9000-9010`. @throws invalid */
export function parseHostPorts(lists: string[]): number[] {
  const ports = new Set<number>();
  for (const part of lists.flatMap((list) => list.split(','))) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (match === null || first < 1 || last > 65_535 || first > last)
      throw invalid(`--allow-host-ports '${part}' is neither a port nor a range of ports`);
    // Names are looked up at the gateway's address: it has that port for itself.
    if (first <= DNS_PORT && DNS_PORT <= last)
      throw invalid(`--allow-host-ports '${part}': port ${DNS_PORT} of the gateway answers DNS`);
    if (last - first >= MOST_HOST_PORTS) throw tooManyPorts();
    for (let port = first; port <= last; port++) ports.add(port);
  }
  if (ports.size > MOST_HOST_PORTS) throw tooManyPorts();
  return [...ports].sort((a, b) => a - b);
}

const tooManyPorts = (): Error => invalid(`--allow-host-ports: at most ${MOST_HOST_PORTS} ports can be listed`);

/** `base=CIDR,size=N`, each as Docker takes it. @throws invalid */
export function parseAddressPools(texts: string[]): AddressPoolConfig[] {
  const pools = texts.map(parseAddressPool);
  for (const [i, pool] of pools.entries())
    for (const other of pools.slice(0, i))
      if (overlaps(pool.base, other.base))
        throw invalid(`--default-address-pool: ${other.base} and ${pool.base} overlap`);
  return pools;
}

function parseAddressPool(text: string): AddressPoolConfig {
  const wrong = (why: string): Error => invalid(`--default-address-pool '${text}': ${why}`);
  const fields = new Map(
    text.split(',').map((part): [string, string] => {
      const [name = '', ...value] = part.split('=');
      return [name.trim().toLowerCase(), value.join('=').trim()];
    }),
  );
  for (const name of fields.keys())
    if (name !== 'base' && name !== 'size') throw wrong('it is not of the form base=CIDR,size=N');
  const [base = '', size = ''] = [fields.get('base'), fields.get('size')];
  const network = networkOf(base);
  if (network === null) throw wrong(`base '${base}' is not a network such as 172.80.0.0/16`);
  if (!/^\d{1,3}$/.test(size)) throw wrong(`size '${size}' is not the length of a prefix, such as 24`);
  const number = Number(size);
  const [least, most] = [network.subnetMask, network.v4 ? 29 : 112];
  if (number < least || number > most) throw wrong(`size ${number} is not between ${least} and ${most}`);
  return { base: `${network.startAddress().correctForm()}/${network.subnetMask}`, size: number };
}

function networkOf(text: string): Address4 | Address6 | null {
  if (!text.includes('/')) return null;
  if (Address4.isValid(text)) return new Address4(text);
  return Address6.isValid(text) ? new Address6(text) : null;
}

function overlaps(one: string, other: string): boolean {
  const [a, b] = [networkOf(one)!, networkOf(other)!];
  if (a instanceof Address4 !== b instanceof Address4) return false;
  return a.isInSubnet(b as never) || b.isInSubnet(a as never);
}

/** '' for none. @throws invalid */
function parseProxy(option: string, text: string): string {
  if (text === NONE || text === '') return '';
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:') || url.hostname === '')
    throw invalid(`${option} '${withoutPassword(text)}' is not of the form http://host:port`);
  return text;
}

/** A proxy's URL may have a password, which is not to be shown again. */
const withoutPassword = (text: string): string => text.replace(/\/\/[^@/]*@/, '//…@');

/** '' for none. @throws invalid */
function parseNoProxy(text: string): string {
  if (text === NONE) return '';
  if (!/^[^\s\0=]*$/.test(text))
    throw invalid(`--no-proxy '${text}' is not a list of hosts, such as localhost,.example.org`);
  return text;
}

function withoutEmpty(values: Record<'http' | 'https' | 'no', string | undefined>): NonNullable<VchConfig['proxies']> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined && value !== ''));
}
