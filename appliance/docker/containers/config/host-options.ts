/**
 * The options of a container, field by field of Docker's `HostConfig`: the type, what becomes of it, what `inspect` shows, what `update`
 * does with it, and which API version brought it. Nothing else lists these fields; requests, `inspect`, `update` and the record that is
 * kept with a container all go by this table. See `docs/internals/docker-options.md` for how to add one.
 */
import { z } from 'zod';
import { invalid } from '../../../../src/common/errors.js';
import { goType, int, uint, uint16 } from '../../../../src/common/go-json.js';
import { DEFAULT_LOG_DRIVER, logDriver, logKeeping } from '../../logging/log-options.js';
import { bool, command, named, text, texts, whole, words } from '../../values/go-fields.js';
import { applied, discarded, type HostOption, moot, refused, worksBy } from './host-option.js';
import * as part from './host-option-parts.js';
import { mountSchema } from './mount-request.js';
import { tmpfsMounts } from './tmpfs.js';

const OWN_KERNEL = 'a virtual machine has a kernel of its own';
const NO_DEVICES = "a virtual machine has no devices of its host's";
const NO_BLOCK_WEIGHT = (what: string): string =>
  `Your kernel does not support Block I/O ${what} or the cgroup is not mounted.`;
const QOS = (what: string) => (value: number) => {
  if (value) throw invalid(`invalid option: QoS maximum ${what} configuration is not supported on linux`);
};

const joined = { update: { is: 'joined' } } as const;
const checked = { update: { is: 'checked' } } as const;
const deviceRate = { shown: null, update: { is: 'refused', because: NO_DEVICES, since: '1.55' } } as const;

/** In the order in which Docker shows them. */
export const HOST_OPTIONS = {
  Binds: worksBy(texts, 'volumes', { shown: null }),
  /** A file that the CLI writes. */
  ContainerIDFile: moot(text, { shown: '' }),
  LogConfig: applied(part.logConfig, (spec, log) => (spec.log = logKeeping(log)), {
    shown: { Type: DEFAULT_LOG_DRIVER, Config: {} },
    view: (log) => ({ Type: logDriver(log), Config: log.Config ?? {} }),
  }),
  NetworkMode: worksBy(named('container.NetworkMode'), 'network', { shown: 'bridge', nothing: ['default'] }),
  PortBindings: worksBy(goType('nat.PortMap', part.portBindings).nullish(), 'ports', {
    shown: null,
    view: (ports) =>
      Object.fromEntries(
        Object.entries(ports).map(([port, list]) => [
          port,
          list?.map(({ HostIp = '', HostPort = '' }) => ({ HostIp, HostPort })) ?? null,
        ]),
      ),
  }),
  RestartPolicy: worksBy(part.restartPolicy, 'restart policy', {
    shown: { Name: 'no', MaximumRetryCount: 0 },
    view: ({ Name, MaximumRetryCount }) => ({ Name: Name || 'no', MaximumRetryCount: MaximumRetryCount ?? 0 }),
    update: { is: 'restart policy' },
  }),
  /** Clients before 1.25 remove the containers themselves. */
  AutoRemove: applied(bool, (spec, value) => (spec.autoRemove = value), { shown: false, since: '1.25' }),
  VolumeDriver: worksBy(text, 'volumes', { shown: '' }),
  VolumesFrom: worksBy(texts, 'volumes', { shown: null }),
  ConsoleSize: applied(
    z.tuple([uint, uint]).nullish(),
    ({ process }, [rows, cols]) => {
      if (rows > 0) process.terminalSize = { rows, cols };
    },
    { shown: [0, 0], since: '1.42' },
  ),
  CapAdd: worksBy(command, 'privileges', { shown: null }),
  CapDrop: worksBy(command, 'privileges', { shown: null }),
  CgroupnsMode: refused(
    named('container.CgroupnsMode'),
    { except: ['private', 'host'] },
    {
      shown: 'private',
      check: part.oneOf(/^(|host|private)$/, (mode) => `invalid cgroup namespace mode: ${mode}`),
    },
  ),
  Dns: applied(texts, (spec, servers) => part.setDns(spec, { servers }), { shown: null }),
  DnsOptions: applied(texts, (spec, options) => part.setDns(spec, { options }), {
    shown: null,
  }),
  DnsSearch: applied(texts, (spec, search) => part.setDns(spec, { search }), { shown: null }),
  ExtraHosts: applied(texts, (spec, hosts) => (spec.extraHosts = hosts.map(part.extraHost)), { shown: null }),
  GroupAdd: applied(texts, ({ process }, groups) => (process.additionalGroups = groups), { shown: null }),
  IpcMode: refused(
    named('container.IpcMode'),
    { except: ['private', 'shareable', 'none'], because: OWN_KERNEL, by: 'shared memory' },
    {
      shown: 'private',
      check: part.oneOf(/^(|none|host|private|shareable|container:.+)$/, (mode) => `invalid IPC mode: ${mode}`),
    },
  ),
  Cgroup: refused(named('container.CgroupSpec'), {}, { shown: '' }),
  Links: worksBy(texts, 'links', { shown: null }),
  OomScoreAdj: worksBy(int.nullish(), 'privileges', {
    shown: 0,
    check: (score) => {
      if (Math.abs(score) > 1000) throw invalid(`Invalid value ${score}, range for oom score adj is [-1000, 1000]`);
    },
  }),
  PidMode: refused(
    named('container.PidMode'),
    { because: OWN_KERNEL },
    { shown: '', check: part.oneOf(/^(|host|container:.+)$/, (mode) => `invalid PID mode: ${mode}`) },
  ),
  Privileged: worksBy(bool, 'privileges', { shown: false }),
  PublishAllPorts: worksBy(bool, 'ports', { shown: false }),
  ReadonlyRootfs: applied(bool, (spec, value) => (spec.readOnlyRoot = value), { shown: false }),
  SecurityOpt: worksBy(texts, 'privileges', { shown: null }),
  UTSMode: refused(
    named('container.UTSMode'),
    { because: OWN_KERNEL },
    { shown: '', check: part.oneOf(/^(|host)$/, (mode) => `invalid UTS mode: ${mode}`) },
  ),
  UsernsMode: refused(named('container.UsernsMode'), { because: OWN_KERNEL }, { shown: '' }),
  ShmSize: worksBy(whole, 'shared memory', {
    shown: part.DEFAULT_SHM,
    nothing: [0],
    check: (size) => {
      if (size < 0) throw invalid('SHM size can not be less than 0');
    },
  }),
  Runtime: refused(
    text,
    { except: ['vm', 'runc', 'io.containerd.runc.v2'] },
    {
      shown: 'vm',
      check: part.oneOf(/^(|vm|runc|io\.containerd\.runc\.v2)$/, (name) => `unknown or invalid runtime name: ${name}`),
    },
  ),
  Isolation: refused(
    named('container.Isolation'),
    { except: ['default'] },
    {
      shown: '',
      check: part.oneOf(/^(default)?$/i, (name) => `invalid isolation (${name}): linux only supports 'default'`),
    },
  ),

  // The resources: what `update` takes, with the restart policy.
  CpuShares: worksBy(whole, 'resources', { shown: 0, ...joined }),
  Memory: worksBy(whole, 'resources', { shown: 0, ...joined }),
  NanoCpus: worksBy(whole, 'resources', { shown: 0, ...joined }),
  CgroupParent: refused(text, { because: OWN_KERNEL }, { shown: '', ...checked }),
  CpuPercent: discarded(whole, 0, 'linux does not support CPU percent. Percent discarded.', { shown: 0, ...checked }),
  BlkioWeight: discarded(uint16.nullish(), 0, `${NO_BLOCK_WEIGHT('weight')} Weight discarded.`, {
    shown: 0,
    ...checked,
  }),
  BlkioWeightDevice: discarded(part.deviceWeights, [], `${NO_BLOCK_WEIGHT('weight_device')} Weight-device discarded.`, {
    shown: null,
    update: { is: 'checked', since: '1.55' },
  }),
  BlkioDeviceReadBps: refused(part.deviceRates, { because: NO_DEVICES }, deviceRate),
  BlkioDeviceWriteBps: refused(part.deviceRates, { because: NO_DEVICES }, deviceRate),
  BlkioDeviceReadIOps: refused(part.deviceRates, { because: NO_DEVICES }, deviceRate),
  BlkioDeviceWriteIOps: refused(part.deviceRates, { because: NO_DEVICES }, deviceRate),
  CpuPeriod: worksBy(whole, 'resources', { shown: 0, ...joined }),
  CpuQuota: worksBy(whole, 'resources', { shown: 0, ...joined }),
  CpuRealtimePeriod: refused(whole, { because: OWN_KERNEL }, { shown: 0, update: { is: 'refused' } }),
  CpuRealtimeRuntime: refused(whole, { because: OWN_KERNEL }, { shown: 0, update: { is: 'refused' } }),
  CpusetCpus: worksBy(text, 'resources', { shown: '', ...joined }),
  CpusetMems: worksBy(text, 'resources', { shown: '', ...joined }),
  Devices: refused(part.devices, { because: NO_DEVICES }, { shown: null, ...checked }),
  DeviceCgroupRules: refused(texts, { because: NO_DEVICES }, { shown: null, ...checked }),
  DeviceRequests: refused(part.deviceRequests, {}, { shown: null, check: part.noDeviceDriver, ...checked }),
  MemoryReservation: worksBy(whole, 'resources', { shown: 0, ...joined }),
  MemorySwap: worksBy(whole, 'resources', { shown: 0, ...joined }),
  MemorySwappiness: worksBy(whole, 'resources', { shown: null, nothing: [-1], ...checked }),
  OomKillDisable: worksBy(bool, 'resources', { shown: false, ...checked }),
  /** Docker changed the limit of processes by `update` from 1.40 on. */
  PidsLimit: worksBy(whole, 'resources', { shown: null, update: { is: 'joined', evenZero: true, since: '1.40' } }),
  Ulimits: applied(part.ulimits, ({ process }, given) => (process.rlimits = part.processLimits(given)), {
    shown: null,
    ...checked,
  }),
  CpuCount: refused(whole, {}, { shown: 0, ...checked }),
  IOMaximumIOps: refused(
    goType('uint64', z.number()).nullish(),
    {},
    { shown: 0, check: QOS('IOPs'), update: { is: 'checked' } },
  ),
  IOMaximumBandwidth: refused(
    goType('uint64', z.number()).nullish(),
    {},
    { shown: 0, check: QOS('bandwidth'), update: { is: 'checked' } },
  ),
  /** Of clients before 1.42; `older-versions.ts` warns of it and takes it away. */
  KernelMemory: refused(whole, {}, { update: { is: 'checked' } }),
  KernelMemoryTCP: refused(whole, {}, { since: '1.40', until: '1.52', update: { is: 'checked' } }),

  // What Docker leaves out when it is not set.
  Sysctls: applied(words, (spec, settings) => Object.assign(spec.sysctls, settings), { omitEmpty: true }),
  Init: applied(bool, (spec, value) => (spec.init = value)),
  /** Of 1.40 alone; `older-versions.ts` refuses it there and takes it away. */
  Capabilities: refused(texts),
  MaskedPaths: worksBy(texts, 'privileges'),
  ReadonlyPaths: worksBy(texts, 'privileges'),
  Mounts: worksBy(z.array(mountSchema).nullish(), 'volumes', { omitEmpty: true }),
  Tmpfs: applied(words, (spec, mounts) => (spec.tmpfs = tmpfsMounts(mounts)), { omitEmpty: true }),
  StorageOpt: worksBy(words, 'disk size', { omitEmpty: true }),
  Annotations: worksBy(words, 'inspect', {
    omitEmpty: true,
    since: '1.43',
    check: (annotations) => {
      if (Object.hasOwn(annotations, ''))
        throw invalid('invalid Annotations: the empty string is not permitted as an annotation key');
    },
  }),
  /** Not given, it is the usual mask, which 0 is not. */
  Umask: applied(
    goType('uint32', z.number().int().min(0).max(0xffffffff)).nullish(),
    ({ process }, mask) => (process.umask = mask),
    { since: '1.56', shownSince: '1.56' },
  ),
};

export type HostField = keyof typeof HOST_OPTIONS;

/** The table row by row, for code that treats all options alike. */
export const hostOptions = Object.entries(HOST_OPTIONS) as [HostField, HostOption][];

/** The schemas of those fields for which `of` holds. */
function schemas<K extends HostField>(names: readonly K[]): { [F in K]: (typeof HOST_OPTIONS)[F]['schema'] } {
  return Object.fromEntries(names.map((name) => [name, HOST_OPTIONS[name].schema])) as never;
}

export const hostConfigSchema = goType('container.HostConfig', z.object(schemas(hostOptions.map(([name]) => name))));

export type HostConfig = z.infer<typeof hostConfigSchema>;
