/**
 * Which options of HostConfig are there: one table. An option that is not done is refused when it asks for anything; none is ignored.
 */

import type { SyslogGrants } from '../../../../port-layer/config.js';
import type { ExecService } from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import { checkHealthConfig } from '../../health/health-check.js';
import { checkLogConfig } from '../../logging/log-options.js';
import { checkEndpoints } from '../../networks/network-endpoints.js';
import { dockerMessage } from '../../words/docker-message.js';
import type { CreateBody, HostConfig } from './container-config.js';

/** Done: read in `container-spec.ts`, `privileges.ts`, `resources.ts`, `tmpfs.ts`, `volumes/` or `published-ports.ts`. */
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
  'Init',
  'Privileged',
  'CapAdd',
  'CapDrop',
  'SecurityOpt',
  'MaskedPaths',
  'ReadonlyPaths',
  'Tmpfs',
  'Binds',
  'Mounts',
  'VolumesFrom',
  'VolumeDriver',
  'CpuShares',
  'BlkioWeight',
  'BlkioWeightDevice',
  'CpusetMems',
  'MemorySwappiness',
  'OomKillDisable',
  'OomScoreAdj',
  'StorageOpt',
  'Annotations',
  'Umask',
  'Links',
  'CpuPercent',
]);

/** Nothing to do for these, whatever they say: a file that the CLI writes. */
const MOOT = new Set(['ContainerIDFile']);

/** Values that ask for nothing, besides empty ones. */
const HARMLESS: Record<string, unknown[]> = {
  IpcMode: ['private', 'shareable', 'none'],
  CgroupnsMode: ['private', 'host'],
  Isolation: ['default'],
  Runtime: ['vm', 'runc', 'io.containerd.runc.v2'],
};

const OWN_KERNEL = 'a virtual machine has a kernel of its own';
const NO_DEVICES = "a virtual machine has no devices of its host's";

/** Why an option is not done, where that can be said. */
const REASONS: Record<string, string> = {
  IpcMode: OWN_KERNEL,
  PidMode: OWN_KERNEL,
  UTSMode: OWN_KERNEL,
  UsernsMode: OWN_KERNEL,
  Devices: NO_DEVICES,
  DeviceCgroupRules: NO_DEVICES,
  CgroupParent: OWN_KERNEL,
  CpuRealtimePeriod: OWN_KERNEL,
  CpuRealtimeRuntime: OWN_KERNEL,
  BlkioDeviceReadBps: NO_DEVICES,
  BlkioDeviceWriteBps: NO_DEVICES,
  BlkioDeviceReadIOps: NO_DEVICES,
  BlkioDeviceWriteIOps: NO_DEVICES,
};

function asksForNothing(name: string, value: unknown): boolean {
  if (value === null || value === undefined || value === '' || value === 0 || value === false) return true;
  if (Array.isArray(value)) return value.length === 0;
  if (typeof value === 'object') return Object.keys(value).length === 0;
  return HARMLESS[name]?.includes(value) === true;
}

/** @throws unsupported naming the first option that asks for what is not done */
export function checkHostOptions(create: CreateBody, syslog?: SyslogGrants): void {
  const host = create.HostConfig ?? {};
  checkModes(host);
  if (host.IOMaximumBandwidth)
    throw invalid('invalid option: QoS maximum bandwidth configuration is not supported on linux');
  if (host.IOMaximumIOps) throw invalid('invalid option: QoS maximum IOPs configuration is not supported on linux');
  for (const [name, value] of Object.entries(host)) {
    if (DONE.has(name) || MOOT.has(name) || asksForNothing(name, value)) continue;
    const [text, reason] = [typeof value === 'string' ? ` '${value}'` : '', REASONS[name]];
    throw unsupported(`HostConfig.${name}${text} is not implemented${reason === undefined ? '' : `: ${reason}`}`);
  }
  checkRestartPolicy(host);
  if ((host.ShmSize ?? 0) < 0) throw invalid('SHM size can not be less than 0');
  const score = host.OomScoreAdj;
  if (typeof score === 'number' && Math.abs(score) > 1000)
    throw invalid(`Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
  checkLogConfig(host.LogConfig, syslog);
  checkEndpoints(create);
  checkHealthConfig(create.Healthcheck);
}

/** What is nothing that Docker knows, in its words. @throws invalid, unsupported */
function checkModes(host: HostConfig): void {
  const [ipc, pid, uts, cgroup] = [host.IpcMode ?? '', host.PidMode ?? '', host.UTSMode ?? '', host.CgroupnsMode ?? ''];
  if (!/^(|none|host|private|shareable|container:.+)$/.test(ipc)) throw invalid(`invalid IPC mode: ${ipc}`);
  if (!/^(|host|container:.+)$/.test(pid)) throw invalid(`invalid PID mode: ${pid}`);
  if (!/^(|host)$/.test(uts)) throw invalid(`invalid UTS mode: ${uts}`);
  if (!/^(|host|private)$/.test(cgroup)) throw invalid(`invalid cgroup namespace mode: ${cgroup}`);
  const isolation = host.Isolation ?? '';
  if (isolation !== '' && isolation.toLowerCase() !== 'default')
    throw invalid(`invalid isolation (${isolation}): linux only supports 'default'`);
  const runtime = host.Runtime ?? '';
  if (runtime !== '' && !HARMLESS.Runtime!.includes(runtime))
    throw invalid(`unknown or invalid runtime name: ${runtime}`);
  if (Object.hasOwn(host.Annotations ?? {}, ''))
    throw invalid('invalid Annotations: the empty string is not permitted as an annotation key');
  for (const { Driver: driver, Capabilities: wanted } of host.DeviceRequests ?? [])
    throw unsupported(
      `HostConfig.DeviceRequests is not implemented: could not select device driver "${driver ?? ''}" with capabilities: [${(wanted ?? []).map((all) => `[${all.join(' ')}]`).join(' ')}]`,
    );
}

/** A container whose namespace is asked for has to be there. @throws invalid in Docker's words */
export function checkNamespaceOwners({ HostConfig: host }: CreateBody, exec: Pick<ExecService, 'resolve'>): void {
  for (const mode of [host?.IpcMode ?? '', host?.PidMode ?? '']) {
    const [, owner] = /^container:(.+)$/.exec(mode) ?? [];
    if (owner === undefined) continue;
    try {
      exec.resolve(owner);
    } catch (error) {
      throw invalid(dockerMessage(error));
    }
  }
}

/** What is wrong in itself is told before what is not done. @throws invalid in Docker's words */
export function checkRestartPolicy(host: HostConfig): void {
  const { Name: name = '', MaximumRetryCount: retries = 0 } = host.RestartPolicy ?? {};
  if (!['', 'no', 'always', 'on-failure', 'unless-stopped'].includes(name))
    throw invalid(
      `invalid restart policy: unknown policy '${name}'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'`,
    );
  if (retries !== 0 && name !== 'on-failure')
    throw invalid(
      `invalid restart policy: maximum retry count can only be used with 'on-failure'${retries < 0 ? ' and cannot be negative' : ''}`,
    );
  if (retries < 0) throw invalid('invalid restart policy: maximum retry count cannot be negative');
  if (host.AutoRemove === true && name !== '' && name !== 'no')
    throw invalid("can't create 'AutoRemove' container with restart policy");
}
