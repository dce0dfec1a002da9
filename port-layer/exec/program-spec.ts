/** What the container's VM is told to do: its program, from the container's spec and the addresses it was given. */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { shortId } from '../../src/common/ids.js';
import {
  type FileSpec,
  INIT_PATH,
  type ProcessSpec,
  type ProgramSpec,
  type VolumeSpec,
} from '../../tether/program/spec.js';
import { HOST_GATEWAY, type NetworkEndpoint } from '../network/types.js';
import { volumeDisks } from '../storage/volume-disks.js';
import type { ContainerSpec } from './container-spec.js';

const GATE_TIMEOUT_MS = 15_000;
const DEFAULT_SERVERS = ['8.8.8.8', '8.8.4.4'];

/** The program of a container that is being started. @param first it never ran */
export function programSpec(spec: ContainerSpec, endpoints: NetworkEndpoint[], first: boolean): ProgramSpec {
  const hostname = spec.hostname === '' ? shortId(spec.id) : spec.hostname;
  return {
    containerId: spec.id,
    hostname,
    domainname: spec.domainname,
    rootDisk: { bus: 0, unit: 0 },
    readOnlyRoot: spec.readOnlyRoot,
    ...(first ? { initLayer: Math.floor(Date.parse(spec.createdAt) / 1000) } : {}),
    nics: endpoints.map((endpoint, index) => ({
      index,
      name: `eth${index}`,
      mac: endpoint.mac,
      address: `${endpoint.address}/${endpoint.prefixLength}`,
      ...(index === 0 ? { gateway: endpoint.gateway } : {}),
    })),
    files: [...networkFiles(spec, hostname, endpoints), ...spec.files],
    sysctls: spec.sysctls,
    shmSize: spec.shmSize,
    ...(spec.rootSize === undefined ? {} : { rootSize: spec.rootSize }),
    init: spec.init === true,
    privileged: spec.privileged === true,
    writableCgroups: spec.writableCgroups === true,
    userNamespaces: spec.userNamespaces === true,
    tmpfs: spec.tmpfs ?? [],
    volumes: volumeSpecs(spec),
    maskedPaths: spec.maskedPaths ?? [],
    readOnlyPaths: spec.readOnlyPaths ?? [],
    limits: spec.limits ?? {},
    keepLog: spec.log?.kept !== false,
    process: firstProcess(spec),
    stopSignal: spec.stopSignal,
    stopTimeoutSeconds: Math.max(0, spec.stopTimeoutSeconds),
    gateTimeoutMs: GATE_TIMEOUT_MS,
  };
}

function volumeSpecs(spec: ContainerSpec): VolumeSpec[] {
  const disks = new Map(volumeDisks(spec).map((disk) => [disk.volume, disk]));
  return (spec.volumes ?? []).map(({ volume, path, readOnly, subpath = '' }) => {
    const { bus, unit, readOnly: diskReadOnly } = disks.get(volume)!;
    return { disk: { bus, unit }, diskReadOnly, path, readOnly, subpath };
  });
}

function firstProcess({ process, init, links }: ContainerSpec): ProcessSpec {
  const name = (entry: string): string => entry.split('=', 1)[0]!;
  const own = new Set(process.env.map(name));
  return {
    ...process,
    args: init === true ? [INIT_PATH, '--', ...process.args] : process.args,
    env: [...process.env, ...(links?.env ?? []).filter((entry) => !own.has(name(entry)))],
  };
}

function networkFiles(spec: ContainerSpec, hostname: string, endpoints: NetworkEndpoint[]): FileSpec[] {
  const full = spec.domainname === '' ? hostname : `${hostname}.${spec.domainname}`;
  const short = full.split('.', 1)[0]!;
  const names = short === full ? full : `${full} ${short}`;
  const gateway = endpoints[0]?.gateway ?? '';
  const extra = spec.extraHosts
    .map(({ host, address }) => ({ host, address: address === HOST_GATEWAY ? gateway : address }))
    .filter(({ address }) => address !== '');
  const hosts = [
    '127.0.0.1\tlocalhost',
    '::1\tlocalhost ip6-localhost ip6-loopback',
    'fe00::\tip6-localnet',
    'ff00::\tip6-mcastprefix',
    'ff02::1\tip6-allnodes',
    'ff02::2\tip6-allrouters',
    ...extra.map(({ host, address }) => `${address}\t${host}`),
    ...(spec.links?.hosts ?? []).map((link) => `${link.address}\t${link.names.join(' ')}`),
    ...endpoints.map(({ address }) => `${address}\t${names}`),
  ];
  return [
    { path: '/etc/hostname', content: `${hostname}\n`, mode: 0o644 },
    { path: '/etc/hosts', content: `${hosts.join('\n')}\n`, mode: 0o644 },
    { path: '/etc/resolv.conf', content: resolvConf(mergeDns(spec.dns, machineDns())), mode: 0o644 },
  ];
}

interface Dns {
  servers: string[];
  search: string[];
  options: string[];
}

/** What was asked for, and the machine's own where nothing was; a search list of `.` is none. */
function mergeDns(own: Dns | null, machine: Dns): Dns {
  if (own === null) return machine;
  const chosen = (mine: string[], its: string[]): string[] => (mine.length > 0 ? mine : its);
  return {
    servers: chosen(own.servers, machine.servers),
    search: chosen(own.search, machine.search).filter((domain) => domain !== '.'),
    options: chosen(own.options, machine.options),
  };
}

function resolvConf({ servers, search, options }: Dns): string {
  const lines = servers.map((server) => `nameserver ${server}`);
  if (search.length > 0) lines.push(`search ${search.join(' ')}`);
  if (options.length > 0) lines.push(`options ${options.join(' ')}`);
  return `${lines.join('\n')}\n`;
}

/** The machine's own name servers; those on its loopback cannot be reached from a VM and are left out, as Docker does. */
export function machineDns(text = readResolvConf()): Dns {
  const dns: Dns = { servers: [], search: [], options: [] };
  for (const line of text.split('\n')) {
    const [key, ...values] = line.trim().split(/\s+/);
    if (key === 'nameserver' && values[0] !== undefined && isIP(values[0]) !== 0 && !/^(127\.|::1$)/.test(values[0]))
      dns.servers.push(values[0]);
    if (key === 'search') dns.search = values;
    if (key === 'options') dns.options = values;
  }
  return dns.servers.length === 0 ? { ...dns, servers: DEFAULT_SERVERS } : dns;
}

function readResolvConf(): string {
  try {
    return readFileSync('/etc/resolv.conf', 'utf8');
  } catch {
    return '';
  }
}
