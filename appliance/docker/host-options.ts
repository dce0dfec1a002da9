/**
 * Which options of HostConfig are there: one table. An option that is not done is refused when it asks for anything; none is ignored.
 */
import { invalid, unsupported } from '../../src/common/errors.js';
import type { CreateBody, HostConfig } from './container-config.js';
import { checkHealthConfig } from './health/health-check.js';

/** Done: read in `container-spec.ts` or `published-ports.ts`. */
const DONE = new Set([
  'NetworkMode',
  'PortBindings',
  'PublishAllPorts',
  'AutoRemove',
  'Memory',
  'MemorySwap',
  'MemoryReservation',
  'NanoCpus',
  'CpuPeriod',
  'CpuQuota',
  'PidsLimit',
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
  Init: [false],
};

function asksForNothing(name: string, value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  if (name === 'IPAMConfig') return Object.values(value).every((one) => asksForNothing('', one));
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
  checkRestartPolicy(host);
  if ((host.ShmSize ?? 0) < 0) throw invalid('SHM size can not be less than 0');
  const score = host.OomScoreAdj;
  if (typeof score === 'number' && Math.abs(score) > 1000)
    throw invalid(`Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
  const driver = host.LogConfig?.Type ?? '';
  if (driver !== '' && driver !== 'json-file')
    throw unsupported(`HostConfig.LogConfig: log driver '${driver}' is not implemented`);
  if (Object.keys(host.LogConfig?.Config ?? {}).length > 0)
    throw unsupported('HostConfig.LogConfig: log options are not implemented');
  // Directories that an image names as volumes are part of the container's own disk; those of a request would have to outlive it.
  if (Object.keys(create.Volumes ?? {}).length > 0) throw unsupported('Volumes is not implemented');
  checkEndpoints(create);
  if ((create.MacAddress ?? '') !== '') throw unsupported('MacAddress is not implemented');
  checkHealthConfig(create.Healthcheck);
}

/** What is wrong in itself is told before what is not done. */
function checkRestartPolicy(host: HostConfig): void {
  const { Name: name = '', MaximumRetryCount: retries = 0 } = host.RestartPolicy ?? {};
  if (!['', 'no', 'always', 'on-failure', 'unless-stopped'].includes(name))
    throw invalid(
      `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (retries !== 0 && name !== 'on-failure')
    throw invalid("invalid restart policy: maximum retry count can only be used with 'on-failure'");
  if (host.AutoRemove === true && name !== '' && name !== 'no')
    throw invalid("can't create 'AutoRemove' container with restart policy");
}

/** Of what can be said of a network at create, aliases are done, and one network. */
function checkEndpoints(create: CreateBody): void {
  const mode = create.HostConfig?.NetworkMode || 'default';
  const same = mode === 'default' || mode === 'bridge' ? ['default', 'bridge'] : [mode];
  for (const [network, endpoint] of Object.entries(create.NetworkingConfig?.EndpointsConfig ?? {})) {
    if (!same.includes(network))
      throw unsupported(`NetworkingConfig: a further network ('${network}' besides '${mode}') is not implemented`);
    for (const [name, value] of Object.entries(endpoint ?? {}))
      if (name !== 'Aliases' && name !== 'DNSNames' && !asksForNothing(name, value))
        throw unsupported(`NetworkingConfig.EndpointsConfig.${network}.${name} is not implemented`);
  }
}
