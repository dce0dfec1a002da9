import { describe, expect, it } from 'vitest';
import { checkContainerName, containerSpec } from '../../../appliance/docker/containers/config/container-spec.js';
import { createSchema } from '../../../appliance/docker/containers/config/create-body.js';
import { mergeConfig, mergeEnv } from '../../../appliance/docker/containers/config/docker-config.js';
import { randomName } from '../../../appliance/docker/containers/config/names.js';
import { replaceEnv } from '../../../appliance/docker/containers/config/process-env.js';
import { parseSignal } from '../../../appliance/docker/containers/config/signals.js';
import type { ImageConfig } from '../../../appliance/image/types.js';
import { kindOf } from '../../../src/common/errors.js';
import { fakeImage } from '../../support/fake-image-service.js';

const DEFAULTS = { cpus: 2, memoryMiB: 2048, baseImageSizeGiB: 32 };
const PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

const spec = (request: object, config: ImageConfig['config'] = { Cmd: ['sh'] }) =>
  containerSpec(createSchema.parse({ Image: 'busybox', ...request }), fakeImage('busybox:latest', config), 'name', {
    defaults: DEFAULTS,
    hostCpus: 4,
  });

const refusal = (request: object): [string, string] => {
  try {
    spec(request);
  } catch (error) {
    return [kindOf(error), (error as Error).message];
  }
  return ['none', ''];
};

describe('a request and its image', () => {
  const image = { Entrypoint: ['/entry'], Cmd: ['default'] };
  it.each([
    [{}, ['/entry', 'default']],
    [{ Cmd: ['mine'] }, ['/entry', 'mine']],
    [{ Cmd: [] }, ['/entry', 'default']],
    [{ Cmd: 'text' }, ['/entry', 'text']],
    [{ Entrypoint: ['/own'] }, ['/own']],
    [{ Entrypoint: '/own' }, ['/own']],
    [{ Entrypoint: ['/own'], Cmd: ['x'] }, ['/own', 'x']],
    [{ Entrypoint: [''], Cmd: ['x'] }, ['x']],
    [{ Entrypoint: [] }, ['default']],
    [{ Entrypoint: [], Cmd: ['x'] }, ['x']],
  ])('%j runs %j', (request, args) => {
    expect(spec(request, image).process.args).toEqual(args);
  });

  it('has a command', () => {
    expect(refusal({ Entrypoint: [''] })).toEqual(['invalid', 'no command specified']);
    expect(() => spec({}, {})).toThrow('no command specified');
  });

  it('merges the rest', () => {
    const config = mergeConfig(
      createSchema.parse({
        Image: 'i',
        Env: ['B=2', 'C=3'],
        Labels: { b: 'own' },
        ExposedPorts: { '81/tcp': {} },
        WorkingDir: '',
        User: 'u',
      }),
      fakeImage('i', {
        Env: ['A=1', 'B=1'],
        Labels: { a: '1', b: '1' },
        ExposedPorts: { '80/tcp': {} },
        WorkingDir: '/w',
        User: 'image',
        StopSignal: 'SIGINT',
        Volumes: { '/data': {} },
      }),
      'f'.repeat(64),
    );
    expect(config).toMatchObject({
      Hostname: 'f'.repeat(12),
      Env: ['B=2', 'C=3', 'A=1'],
      Labels: { a: '1', b: 'own' },
      ExposedPorts: { '80/tcp': {}, '81/tcp': {} },
      WorkingDir: '/w',
      User: 'u',
      StopSignal: 'SIGINT',
      Volumes: { '/data': {} },
    });
  });

  it('gives a process Docker’s environment under the configured one', () => {
    expect(spec({ Hostname: 'h', Env: ['A=1', 'HOSTNAME=own'] }).process.env).toEqual([PATH, 'HOSTNAME=own', 'A=1']);
    expect(spec({ Hostname: 'h', Tty: true }).process.env).toEqual([PATH, 'HOSTNAME=h', 'TERM=xterm']);
    expect(spec({ Hostname: 'h', Env: ['PATH'] }, { Cmd: ['x'], Env: ['PATH=/img'] }).process.env).toEqual([
      'HOSTNAME=h',
    ]);
  });

  it('sets variables in place', () => {
    expect(replaceEnv(['A=1', 'B=2'], ['A=x', 'C=3', 'B'])).toEqual(['A=x', 'C=3']);
    expect(mergeEnv(['A'], ['A=1', 'B=2=3'])).toEqual(['A', 'B=2=3']);
    for (const bad of ['', '=x']) expect(() => mergeEnv([bad], [])).toThrow(`invalid environment variable: ${bad}`);
  });
});

describe('the machine', () => {
  it.each([
    [{}, 2, 2048],
    [{ Memory: 256 * 2 ** 20, NanoCpus: 1.5e9 }, 2, 320],
    [{ Memory: 256 * 2 ** 20, MemorySwap: -1 }, 2, 320],
    [{ Memory: 6 * 2 ** 20, MemorySwap: 12 * 2 ** 20 }, 2, 72],
    [{ NanoCpus: 1e7 }, 1, 2048],
    [{ CpusetCpus: '0,2-3' }, 3, 2048],
    [{ CpusetCpus: '0-3', NanoCpus: 2e9 }, 2, 2048],
  ])('%j: %i processors, %i MiB', (HostConfig, cpus, memoryMiB) => {
    expect(spec({ HostConfig })).toMatchObject({ cpus, memoryMiB });
  });

  it.each([
    [{ Memory: 1000 }, 'Minimum memory limit allowed is 6MB'],
    [{ Memory: -1 }, 'Minimum memory limit allowed is 6MB'],
    [{ MemoryReservation: 5 }, 'Minimum memory reservation allowed is 6MB'],
    [
      { Memory: 1e7, MemoryReservation: 2e7 },
      'Minimum memory limit can not be less than memory reservation limit, see usage',
    ],
    [{ NanoCpus: 1e9, CpuQuota: 5000 }, 'Conflicting options: Nano CPUs and CPU Quota cannot both be set'],
    [{ NanoCpus: 1e9, CpuPeriod: 5000 }, 'Conflicting options: Nano CPUs and CPU Period cannot both be set'],
    [{ CpuPeriod: 10 }, 'CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)'],
    [{ CpuQuota: 10 }, 'CPU cfs quota can not be less than 1ms (i.e. 1000)'],
    [{ MemorySwap: 10 }, 'You should always set the Memory limit when using Memoryswap limit, see usage'],
    [{ Memory: 2 ** 30, MemorySwap: 5 }, 'Minimum memoryswap limit should be larger than memory limit, see usage'],
    [{ NanoCpus: 5e9 }, 'range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available'],
    [{ NanoCpus: -1 }, 'range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available'],
    [{ CpusetCpus: 'abc' }, 'Invalid value abc for cpuset cpus: invalid format: abc'],
    [{ CpusetCpus: '3-1' }, 'Invalid value 3-1 for cpuset cpus: invalid format: 3-1'],
    [{ CpusetCpus: '0-99' }, 'Requested CPUs are not available - requested 0-99, available: 0-3'],
    [{ ShmSize: -1 }, 'SHM size can not be less than 0'],
    [{ OomScoreAdj: 2000 }, 'Invalid value 2000, range for oom score adj is [-1000, 1000]'],
    [{ ExtraHosts: ['bad'] }, 'bad format for add-host: "bad"'],
    [{ ExtraHosts: ['a:nowhere'] }, 'invalid IP address in add-host: "nowhere"'],
    [
      { RestartPolicy: { Name: 'foo' } },
      "invalid restart policy: unknown policy 'foo'; use one of 'no', 'always', 'on-failure', or 'unless-stopped'",
    ],
    [
      { RestartPolicy: { Name: 'no', MaximumRetryCount: 3 } },
      "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    ],
    [
      { RestartPolicy: { Name: 'always' }, AutoRemove: true },
      "can't create 'AutoRemove' container with restart policy",
    ],
  ])('%j is wrong', (HostConfig, message) => {
    expect(refusal({ HostConfig })).toEqual(['invalid', message]);
  });
});

describe('options', () => {
  /** What `docker run` sends for options that were not given. */
  const ZERO = {
    Binds: null,
    ContainerIDFile: '',
    LogConfig: { Type: '', Config: {} },
    NetworkMode: 'default',
    PortBindings: {},
    RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
    AutoRemove: false,
    VolumeDriver: '',
    VolumesFrom: null,
    ConsoleSize: [24, 80],
    CapAdd: null,
    CapDrop: null,
    CgroupnsMode: '',
    Dns: [],
    DnsOptions: [],
    DnsSearch: [],
    ExtraHosts: null,
    GroupAdd: null,
    IpcMode: '',
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
    ShmSize: 0,
    Isolation: '',
    CpuShares: 0,
    Memory: 0,
    NanoCpus: 0,
    CgroupParent: '',
    BlkioWeight: 0,
    BlkioWeightDevice: [],
    BlkioDeviceReadBps: [],
    BlkioDeviceWriteBps: [],
    BlkioDeviceReadIOps: [],
    BlkioDeviceWriteIOps: [],
    CpuPeriod: 0,
    CpuQuota: 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: '',
    CpusetMems: '',
    Devices: [],
    DeviceCgroupRules: null,
    DeviceRequests: null,
    MemoryReservation: 0,
    MemorySwap: 0,
    MemorySwappiness: -1,
    OomKillDisable: false,
    PidsLimit: 0,
    Ulimits: [],
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    MaskedPaths: null,
    ReadonlyPaths: null,
  };

  it('that were not given are accepted', () => {
    const endpoint = {
      IPAMConfig: { IPv4Address: '' },
      Links: null,
      Aliases: null,
      MacAddress: '',
      DriverOpts: null,
      GwPriority: 0,
      NetworkID: '',
      EndpointID: '',
      Gateway: '',
      IPAddress: '',
      IPPrefixLen: 0,
      DNSNames: null,
    };
    const made = spec({
      Volumes: {},
      OnBuild: null,
      HostConfig: ZERO,
      NetworkingConfig: { EndpointsConfig: { default: endpoint } },
    });
    expect(made).toMatchObject({ networks: [{ network: 'bridge', aliases: [] }], shmSize: 64 * 2 ** 20 });
  });

  it.each([
    [{ Devices: [{ PathOnHost: '/dev/null' }] }, 'Devices'],
    [{ DeviceRequests: [{ Count: -1 }] }, 'DeviceRequests'],
    [{ PidMode: 'host' }, 'PidMode'],
    [{ IpcMode: 'host' }, 'IpcMode'],
    [{ UTSMode: 'host' }, 'UTSMode'],
    [{ UsernsMode: 'host' }, 'UsernsMode'],
    [{ DeviceCgroupRules: ['c 1:3 mr'] }, 'DeviceCgroupRules'],
    [{ CpuRealtimeRuntime: 5 }, 'CpuRealtimeRuntime'],
    [{ CgroupParent: 'x' }, 'CgroupParent'],
    [{ IpcMode: 'container:x' }, "IpcMode 'container:x'"],
    [{ SecurityOpt: ['seccomp={}'] }, 'SecurityOpt'],
    [{ SecurityOpt: ['apparmor=mine'] }, 'SecurityOpt'],
    [{ NetworkMode: 'host' }, "NetworkMode 'host'"],
    [{ NetworkMode: 'container:x' }, "NetworkMode 'container:x'"],
  ])('%j is refused by name', (HostConfig, name) => {
    const [kind, message] = refusal({ HostConfig });
    expect(kind).toBe('unsupported');
    expect(message).toContain(`HostConfig.${name}`);
    expect(message).toMatch(/ not implemented/);
  });

  it.each([
    [{ NetworkingConfig: { EndpointsConfig: { bridge: { Links: ['a:b'] } } } }, 'Links'],
    [
      { NetworkingConfig: { EndpointsConfig: { one: { IPAMConfig: { LinkLocalIPs: ['169.254.1.1'] } } } } },
      'LinkLocalIPs',
    ],
  ])('%j is refused by name', (request, name) => {
    const [kind, message] = refusal(request);
    expect(kind).toBe('unsupported');
    expect(message).toContain(name);
  });

  it('that are supported arrive', () => {
    const made = spec({
      Domainname: 'example.org',
      StopSignal: 'SIGUSR1',
      StopTimeout: 3,
      WorkingDir: '/w',
      User: '5:6',
      OpenStdin: true,
      HostConfig: {
        Dns: ['9.9.9.9'],
        DnsSearch: ['a.b'],
        DnsOptions: ['ndots:2'],
        ExtraHosts: ['h:1.2.3.4', 'six:::1'],
        GroupAdd: ['audio'],
        ShmSize: 4096,
        Sysctls: { 'net.core.somaxconn': '9' },
        Ulimits: [{ Name: 'nofile', Soft: 5, Hard: -1 }],
        ReadonlyRootfs: true,
        AutoRemove: true,
        NetworkMode: 'none',
        ConsoleSize: [10, 20],
      },
    });
    expect(made).toMatchObject({
      domainname: 'example.org',
      stopSignal: 10,
      stopTimeoutSeconds: 3,
      readOnlyRoot: true,
      autoRemove: true,
      networks: [],
      shmSize: 4096,
      sysctls: { 'net.core.somaxconn': '9' },
      dns: { servers: ['9.9.9.9'], search: ['a.b'], options: ['ndots:2'] },
      extraHosts: [
        { host: 'h', address: '1.2.3.4' },
        { host: 'six', address: '::1' },
      ],
      process: {
        cwd: '/w',
        user: '5:6',
        openStdin: true,
        additionalGroups: ['audio'],
        terminalSize: { rows: 10, cols: 20 },
        rlimits: [{ name: 'nofile', soft: 5, hard: -1 }],
      },
    });
    expect(refusal({ WorkingDir: 'rel' })[1]).toBe(
      "the working directory 'rel' is invalid, it needs to be an absolute path",
    );
  });
});

describe('names and signals', () => {
  it('are checked', () => {
    expect(checkContainerName('/a.b-c_9')).toBe('a.b-c_9');
    for (const bad of ['', 'x', '/', '!x', 'a/b', '-ab', 'é9'])
      expect(() => checkContainerName(bad)).toThrow(
        `Invalid container name (${bad}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`,
      );
    expect(parseSignal('KILL')).toBe(9);
    expect(parseSignal('sigterm')).toBe(15);
    expect(parseSignal('10')).toBe(10);
    expect(parseSignal('RTMIN+2')).toBe(36);
    for (const bad of ['FOO', '0', '', 'RTMIN+99']) expect(() => parseSignal(bad)).toThrow('invalid signal');
    for (const bad of ['99', '-1'])
      expect(() => parseSignal(bad)).toThrow(`the linux daemon does not support signal ${bad}`);
  });

  it('random names are not taken yet', () => {
    const seen = new Set<string>();
    const name = randomName((one) => seen.size < 5 && seen.add(one).size > 0);
    expect(name).toMatch(/^[a-z]+_[a-z]+\d*$/);
    expect(seen.size).toBe(5);
  });
});
