/**
 * Which options of HostConfig are there: one table. An option that is not done is refused when it asks for anything; none is ignored.
 */
import { unsupported } from '../../src/common/errors.js';
import type { CreateBody } from './container-config.js';

/** Done: read in `container-spec.ts` or `published-ports.ts`. */
const DONE = new Set([
  'NetworkMode',
  'PortBindings',
  'PublishAllPorts',
  'AutoRemove',
  'Memory',
  'NanoCpus',
  'CpusetCpus',
  'Dns',
  'DnsOptions',
  'DnsSearch',
  'ExtraHosts',
  'GroupAdd',
  'ShmSize',
  'Sysctls',
  'Ulimits',
  'ReadonlyRootfs',
  'RestartPolicy',
  'LogConfig',
  'ConsoleSize',
]);

/** Nothing to do for these in a VM of one's own, whatever they say: a file the CLI writes, and scheduling between namespaces. */
const MOOT = new Set(['ContainerIDFile', 'OomScoreAdj']);

/** Values that ask for nothing, besides empty ones. */
const HARMLESS: Record<string, unknown[]> = {
  IpcMode: ['private', 'shareable'],
  CgroupnsMode: ['private', 'host'],
  Isolation: ['default'],
  Runtime: ['runc', 'io.containerd.runc.v2'],
  MemorySwappiness: [-1],
  PidsLimit: [-1],
  Init: [false],
};

function asksForNothing(name: string, value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === 'object') return Object.keys(value).length === 0;
  return HARMLESS[name]?.includes(value) === true;
}

/** @throws unsupported naming the first option that asks for what is not done */
export function checkHostOptions(create: CreateBody): void {
  const host = create.HostConfig ?? {};
  for (const [name, value] of Object.entries(host)) {
    if (DONE.has(name) || MOOT.has(name) || asksForNothing(name, value)) continue;
    if (name === 'Binds')
      throw unsupported(
        `HostConfig.Binds is not implemented: volumes are not available yet, and directories of the host cannot be mounted into a virtual machine`,
      );
    throw unsupported(`HostConfig.${name} is not implemented`);
  }
  const policy = host.RestartPolicy?.Name ?? '';
  if (policy !== '' && policy !== 'no') throw unsupported(`HostConfig.RestartPolicy '${policy}' is not implemented`);
  const driver = host.LogConfig?.Type ?? '';
  if (driver !== '' && driver !== 'json-file')
    throw unsupported(`HostConfig.LogConfig: log driver '${driver}' is not implemented`);
  if (Object.keys(host.LogConfig?.Config ?? {}).length > 0)
    throw unsupported('HostConfig.LogConfig: log options are not implemented');
  if ((create.MacAddress ?? '') !== '') throw unsupported('MacAddress is not implemented');
  const check = create.Healthcheck?.Test ?? [];
  if (check.length > 0 && check[0] !== 'NONE') throw unsupported('Healthcheck is not implemented');
}
