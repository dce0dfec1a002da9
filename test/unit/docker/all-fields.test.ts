/**
 * Every field of Docker's request bodies (moby `api/types`, 1.40 to 1.56) takes effect or is refused by name: a
 * successful answer means that `inspect` shows what was asked for. A field that the schema does not know would be
 * dropped silently.
 */
import { describe, expect, it } from 'vitest';
import type { z } from 'zod';
import { createSchema } from '../../../appliance/docker/containers/config/create-body.js';
import { hostConfigSchema } from '../../../appliance/docker/containers/config/host-options.js';
import { updateSchema } from '../../../appliance/docker/containers/config/resource-update.js';
import { execSchema, execStartSchema } from '../../../appliance/docker/execs/exec-body.js';
import { endpointSchema } from '../../../appliance/docker/networks/endpoint-request.js';
import { sharedEngine } from '../../support/shared-engine.js';

const engine = sharedEngine();

/** The value that each field is set to. */
const CONFIG: Record<string, unknown> = {
  Hostname: 'h',
  Domainname: 'd',
  User: '7',
  AttachStdin: true,
  AttachStdout: true,
  AttachStderr: true,
  ExposedPorts: { '80/tcp': {} },
  Tty: true,
  OpenStdin: true,
  StdinOnce: true,
  Env: ['A=b'],
  Cmd: ['true'],
  Healthcheck: { Test: ['CMD', 'true'], Interval: 2e9, Timeout: 3e9, StartPeriod: 4e9, StartInterval: 5e9, Retries: 6 },
  ArgsEscaped: true,
  Volumes: { '/v': {} },
  WorkingDir: '/w',
  Entrypoint: ['sh'],
  NetworkDisabled: true,
  MacAddress: '02:42:ac:11:00:09',
  OnBuild: ['RUN true'],
  Labels: { a: 'b' },
  StopSignal: 'SIGINT',
  StopTimeout: 7,
  Shell: ['/bin/ash'],
};
const HOST: Record<string, unknown> = {
  Binds: ['vol:/v'],
  ContainerIDFile: '/file',
  LogConfig: { Type: 'local', Config: { 'max-size': '1m' } },
  NetworkMode: 'none',
  PortBindings: { '80/tcp': [{ HostIp: '127.0.0.1', HostPort: '8080' }] },
  RestartPolicy: { Name: 'on-failure', MaximumRetryCount: 3 },
  AutoRemove: true,
  VolumeDriver: 'local',
  VolumesFrom: ['other'],
  ConsoleSize: [24, 80],
  Annotations: { a: 'b' },
  CapAdd: ['CAP_NET_ADMIN'],
  CapDrop: ['CAP_CHOWN'],
  CgroupnsMode: 'host',
  Dns: ['1.1.1.1'],
  DnsOptions: ['ndots:1'],
  DnsSearch: ['d'],
  ExtraHosts: ['a:1.2.3.4'],
  GroupAdd: ['5'],
  IpcMode: 'none',
  Cgroup: 'container:other',
  Links: ['other:o'],
  OomScoreAdj: 5,
  PidMode: 'host',
  Privileged: true,
  PublishAllPorts: true,
  ReadonlyRootfs: true,
  SecurityOpt: ['no-new-privileges'],
  StorageOpt: { size: '1G' },
  Tmpfs: { '/t': 'size=1m' },
  UTSMode: 'host',
  UsernsMode: 'host',
  ShmSize: 2 ** 20,
  Sysctls: { 'net.ipv4.ip_forward': '1' },
  Runtime: 'runc',
  Isolation: 'default',
  Mounts: [{ Type: 'volume', Source: 'vol', Target: '/m', ReadOnly: true }],
  MaskedPaths: ['/proc/kcore'],
  ReadonlyPaths: ['/proc/sys'],
  Init: true,
  Umask: 0o27,
  CpuShares: 512,
  Memory: 2 ** 27,
  NanoCpus: 1e9,
  CgroupParent: '/p',
  BlkioWeight: 300,
  BlkioWeightDevice: [{ Path: '/dev/sda', Weight: 300 }],
  BlkioDeviceReadBps: [{ Path: '/dev/sda', Rate: 1 }],
  BlkioDeviceWriteBps: [{ Path: '/dev/sda', Rate: 1 }],
  BlkioDeviceReadIOps: [{ Path: '/dev/sda', Rate: 1 }],
  BlkioDeviceWriteIOps: [{ Path: '/dev/sda', Rate: 1 }],
  CpuPeriod: 50_000,
  CpuQuota: 20_000,
  CpuRealtimePeriod: 1000,
  CpuRealtimeRuntime: 1000,
  CpusetCpus: '0',
  CpusetMems: '0',
  Devices: [{ PathOnHost: '/dev/null', PathInContainer: '/dev/x', CgroupPermissions: 'r' }],
  DeviceCgroupRules: ['c 1:3 r'],
  DeviceRequests: [{ Driver: 'd', Count: 1, DeviceIDs: ['i'], Capabilities: [['gpu']], Options: { a: 'b' } }],
  MemoryReservation: 2 ** 26,
  MemorySwap: 2 ** 28,
  MemorySwappiness: 5,
  OomKillDisable: true,
  PidsLimit: 50,
  Ulimits: [{ Name: 'nofile', Soft: 100, Hard: 200 }],
  CpuCount: 1,
  CpuPercent: 1,
  IOMaximumIOps: 1,
  IOMaximumBandwidth: 1,
};
/** Fields that make sense only together with others. */
const BESIDE: Record<string, Record<string, unknown>> = {
  MemorySwap: { Memory: 2 ** 27 },
  MemorySwappiness: { Memory: 2 ** 27 },
  OomKillDisable: { Memory: 2 ** 27 },
};
const MOUNT: Record<string, unknown> = {
  Consistency: 'cached',
  BindOptions: { Propagation: 'shared' },
  VolumeOptions: {
    NoCopy: true,
    Labels: { a: 'b' },
    Subpath: 's',
    DriverConfig: { Name: 'local', Options: { size: '1G' } },
  },
  ImageOptions: { Subpath: 's' },
  TmpfsOptions: { SizeBytes: 4096, Mode: 0o700, Options: [['noexec']] },
};
const ENDPOINT: Record<string, unknown> = {
  IPAMConfig: { LinkLocalIPs: ['169.254.1.1'] },
  Links: ['other:o'],
  Aliases: ['a'],
  DriverOpts: { a: 'b' },
  GwPriority: 1,
  MacAddress: '02:42:ac:11:00:09',
};
/** Shown by running containers: Docker ignores them in requests. */
const FILLED_IN: Record<string, unknown> = {
  NetworkID: 'n',
  EndpointID: 'e',
  Gateway: '172.17.0.1',
  IPAddress: '172.17.0.9',
  IPPrefixLen: 16,
  IPv6Gateway: 'fe80::1',
  GlobalIPv6Address: 'fe80::2',
  GlobalIPv6PrefixLen: 64,
  DNSNames: ['a'],
};
const EXEC = [
  'User',
  'Privileged',
  'Tty',
  'ConsoleSize',
  'AttachStdin',
  'AttachStderr',
  'AttachStdout',
  'DetachKeys',
  'Env',
  'WorkingDir',
  'Cmd',
];

interface Sent {
  status: number;
  message: string;
  warnings: string[];
  // biome-ignore lint/suspicious/noExplicitAny: tests inspect it
  seen: any;
}

async function create(body: object, version = '1.56'): Promise<Sent> {
  await engine.call('POST', `/v${version}/containers/create?name=other`, { Image: 'busybox' });
  const answer = await engine.call('POST', `/v${version}/containers/create?name=con`, {
    Image: 'busybox',
    Cmd: ['sleep', '60'],
    ...body,
  });
  const seen = answer.status === 201 ? (await engine.call('GET', `/v${version}/containers/con/json`)).json : undefined;
  return { status: answer.status, message: answer.json.message, warnings: answer.json.Warnings, seen };
}

const fieldsOf = (schema: z.ZodObject): string[] => Object.keys(schema.shape).sort();
const known = (...lists: (object | string[])[]): string[] =>
  lists.flatMap((list) => (Array.isArray(list) ? list : Object.keys(list))).sort();

describe('schemas have the same fields as Docker', () => {
  it.each([
    ['create', createSchema, known(CONFIG, ['Image', 'HostConfig', 'NetworkingConfig'])],
    ['HostConfig', hostConfigSchema, known(HOST, ['Capabilities', 'KernelMemory', 'KernelMemoryTCP'])],
    ['EndpointSettings', endpointSchema, known(ENDPOINT, FILLED_IN)],
    ['exec', execSchema, known(EXEC)],
    ['exec start', execStartSchema, known(['Detach', 'Tty', 'ConsoleSize'])],
  ] as [string, z.ZodObject, string[]][])('%s', (_name, schema, fields) => {
    expect(fieldsOf(schema)).toEqual(fields);
  });
});

describe('a field of create takes effect, or is refused by name', () => {
  it.each(Object.keys(HOST))('HostConfig.%s', async (name) => {
    const { status, message, seen, warnings } = await create({ HostConfig: { [name]: HOST[name], ...BESIDE[name] } });
    if (/^BlkioWeight|^CpuPercent/.test(name)) expect(warnings).toEqual([expect.stringMatching(/ discarded\.$/)]);
    else if (name.startsWith('IOMaximum')) expect(message).toMatch(/^invalid option: QoS maximum (bandwidth|IOPs) /);
    else if (name === 'Links') expect(seen.HostConfig.Links).toEqual(['/other:/con/o']);
    else if (status === 201) expect(seen.HostConfig[name]).toEqual(HOST[name]);
    else expect(message).toContain(`HostConfig.${name}`);
  });

  it.each(Object.keys(CONFIG))('%s', async (name) => {
    const { status, message, seen } = await create({ [name]: CONFIG[name] }, '1.51');
    if (status === 201)
      expect(seen.Config).toMatchObject({
        [name]: name === 'Env' ? ['A=b', expect.stringMatching('^PATH=')] : CONFIG[name],
      });
    else expect(message).toContain(name);
  });

  it.each(Object.keys(ENDPOINT))('EndpointsConfig.%s', async (name) => {
    const { status, message, seen } = await create({
      NetworkingConfig: { EndpointsConfig: { bridge: { [name]: ENDPOINT[name] } } },
    });
    if (status === 201) expect(seen.NetworkSettings.Networks.bridge[name]).toEqual(ENDPOINT[name]);
    else expect(message).toMatch(new RegExp(name === 'Aliases' ? 'alias' : `bridge\\.${name}`));
  });

  it.each(Object.keys(FILLED_IN))('EndpointsConfig.%s is ignored', async (name) => {
    const { status } = await create({
      NetworkingConfig: { EndpointsConfig: { bridge: { [name]: FILLED_IN[name], NoSuchField: 'x' } } },
    });
    expect(status).toBe(201);
  });

  it.each(
    Object.entries(MOUNT).flatMap(([name, value]): [string, unknown][] =>
      typeof value === 'string'
        ? [[name, value]]
        : Object.entries(value as object).map(([field, inner]) => [name, { [field]: inner }]),
    ),
  )('Mounts.%s %j', async (name, value) => {
    const Type = name === 'TmpfsOptions' ? 'tmpfs' : 'volume';
    const mount = { Type, ...(Type === 'tmpfs' ? {} : { Source: 'vol' }), Target: '/m', [name]: value };
    const { status, message, seen } = await create({ HostConfig: { Mounts: [mount] } });
    if (status === 201) expect(seen.HostConfig.Mounts[0][name]).toEqual(value);
    else expect(message).toContain(name);
  });
});

it('empty lists and maps are left out where Docker leaves them out', async () => {
  const empty = { Annotations: {}, Mounts: [], StorageOpt: {}, Sysctls: {}, Tmpfs: {} };
  const { seen } = await create({ HostConfig: empty });
  for (const name of Object.keys(empty)) expect(seen.HostConfig).not.toHaveProperty(name);
});

it('an endpoint whose settings are null is refused, as by Docker', async () => {
  const { status, message } = await create({ NetworkingConfig: { EndpointsConfig: { bridge: null } } });
  expect([status, message]).toEqual([400, 'invalid config for network bridge: EndpointsConfig is nil']);
});

describe('update accepts what Docker accepts', () => {
  const RESOURCES = Object.keys(HOST).slice(Object.keys(HOST).indexOf('CpuShares'));
  const update = async (body: object): Promise<[number, string]> => {
    const { status, json } = await engine.call('POST', '/v1.56/containers/con/update', body);
    return [status, json.message ?? (json.Warnings ?? []).join()];
  };

  it('has its fields', () => {
    const older = ['KernelMemory', 'KernelMemoryTCP'];
    expect(fieldsOf(updateSchema)).toEqual(known(RESOURCES, ['RestartPolicy'], older));
  });

  it('also checks the fields that it does not change', async () => {
    await create({});
    expect(await update({ MemorySwappiness: 500 })).toEqual([400, expect.stringContaining('range is 0-100')]);
    expect(await update({ IOMaximumIOps: 5 })).toEqual([400, expect.stringContaining('Invalid QoS settings')]);
    expect(await update({ CpuPercent: 5 })).toEqual([200, expect.stringContaining('Percent discarded')]);
    expect(await update({ Ulimits: 'x' })).toEqual([400, expect.stringContaining('cannot unmarshal string')]);
    const before = (await engine.call('GET', '/containers/con/json')).json.HostConfig;
    const { Ulimits, Devices, CgroupParent, DeviceCgroupRules, CpuCount } = HOST;
    expect(await update({ Ulimits, Devices, CgroupParent, DeviceCgroupRules, CpuCount })).toEqual([200, '']);
    expect((await engine.call('GET', '/containers/con/json')).json.HostConfig).toEqual(before);
  });
});

describe('kernel memory, which older versions could limit', () => {
  it.each([
    ['1.41', 'KernelMemory', 201, [expect.stringMatching('Limitation discarded')]],
    ['1.42', 'KernelMemory', 201, []],
    ['1.39', 'KernelMemoryTCP', 201, []],
    ['1.40', 'KernelMemoryTCP', 501, undefined],
    ['1.51', 'KernelMemoryTCP', 501, undefined],
    ['1.52', 'KernelMemoryTCP', 201, []],
  ])('%s %s: %i', async (version, name, status, warned) => {
    const answer = await create({ HostConfig: { [name]: 2 ** 26 } }, version);
    expect(answer.status).toBe(status);
    expect(answer.warnings).toEqual(warned);
    if (status === 501) expect(answer.message).toContain(`HostConfig.${name}`);
    else expect(answer.seen.HostConfig).not.toHaveProperty(name);
  });
});
