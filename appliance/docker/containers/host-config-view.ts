/** `HostConfig` as `docker inspect` shows it. */
import type { ContainerSpec } from '../../../port-layer/index.js';
import { atLeast } from '../http/api-version.js';
import { DEFAULT_LOG_DRIVER, logDriver } from '../logging/log-options.js';
import type { HostConfig } from './config/container-config.js';
import type { ContainerRecord } from './container-record.js';

/** What the CLI expects of every HostConfig, beneath what was given. */
export const HOST_CONFIG_DEFAULTS = {
  Binds: null,
  ContainerIDFile: '',
  LogConfig: { Type: DEFAULT_LOG_DRIVER, Config: {} },
  NetworkMode: 'bridge',
  PortBindings: null,
  RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  AutoRemove: false,
  VolumeDriver: '',
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: 'private',
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: 'private',
  Cgroup: '',
  Links: null,
  OomScoreAdj: 0,
  PidMode: '',
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: '',
  UsernsMode: '',
  ShmSize: 67108864,
  Runtime: 'vm',
  Isolation: '',
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: '',
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: '',
  CpusetMems: '',
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: false,
  PidsLimit: null,
  Ulimits: null,
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
};

/** What was asked for over the defaults, and what Docker makes of some of it. */
export function hostConfigView({ hostConfig }: ContainerRecord, spec: ContainerSpec, apiVersion: string): object {
  const { Umask, ...host } = hostConfig;
  return {
    ...HOST_CONFIG_DEFAULTS,
    ...definedOnly(host),
    RestartPolicy: {
      Name: host.RestartPolicy?.Name || 'no',
      MaximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    LogConfig: { Type: logDriver(host.LogConfig), Config: host.LogConfig?.Config ?? {} },
    ...bindingsView(host.PortBindings),
    ...(atLeast(apiVersion, '1.56') && typeof Umask === 'number' ? { Umask } : {}),
    ...(host.MemorySwappiness === -1 ? { MemorySwappiness: null } : {}),
    ...(spec.privileged === true
      ? {
          MaskedPaths: host.MaskedPaths ?? null,
          ReadonlyPaths: host.ReadonlyPaths ?? null,
          SecurityOpt: privilegedOptions(host.SecurityOpt ?? []),
        }
      : { MaskedPaths: spec.maskedPaths ?? [], ReadonlyPaths: spec.readOnlyPaths ?? [] }),
  };
}

/** As Docker completes the options of a privileged container: what was said of labels stays. */
const privilegedOptions = (given: string[]): string[] =>
  given.some((one) => one.split('=', 1)[0] === 'label') ? given : [...given, 'label=disable'];

/** Published ports as they were asked for, each with both of its fields. */
function bindingsView(given: HostConfig['PortBindings']): object {
  if (!given) return {};
  const bindings = Object.entries(given).map(([port, list]) => [
    port,
    list?.map(({ HostIp = '', HostPort = '' }) => ({ HostIp, HostPort })) ?? null,
  ]);
  return { PortBindings: Object.fromEntries(bindings) };
}

/** As Go writes fields with `omitempty`. */
const OMITTED_WHEN_EMPTY = new Set(['Annotations', 'Mounts', 'StorageOpt', 'Sysctls', 'Tmpfs']);

function definedOnly(value: object): object {
  return Object.fromEntries(
    Object.entries(value).filter(
      ([key, one]) =>
        one !== null &&
        !(OMITTED_WHEN_EMPTY.has(key) && Object.keys(one).length === 0) &&
        !(one === '' && key !== 'ContainerIDFile') &&
        !(key === 'NetworkMode' && one === 'default') &&
        !(key === 'ShmSize' && one === 0),
    ),
  );
}
