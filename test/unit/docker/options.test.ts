/** Options of a container that its VM's guest carries out, from the request to the guest's instructions. */
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { containerSpec } from '../../../appliance/docker/containers/config/container-spec.js';
import { createSchema } from '../../../appliance/docker/containers/config/create-body.js';
import { hostConfigSchema } from '../../../appliance/docker/containers/config/host-options.js';
import { MASKED_PATHS, READ_ONLY_PATHS } from '../../../appliance/docker/containers/config/privileges.js';
import { allLimits } from '../../../appliance/docker/containers/config/resources.js';
import { tmpfsMounts } from '../../../appliance/docker/containers/config/tmpfs.js';
import { programSpec } from '../../../port-layer/exec/program-spec.js';
import { containerVmSpec } from '../../../port-layer/exec/vm-spec.js';
import type { ContainerSpec } from '../../../port-layer/index.js';
import { kindOf } from '../../../src/common/errors.js';
import { capabilityBits } from '../../../tether/program/capabilities.js';
import { compileProgram, encodeProcess } from '../../../tether/program/compile.js';
import { fakeImage } from '../../support/fake-image-service.js';

const DEFAULTS = { cpus: 2, memoryMiB: 2048, baseImageSizeGiB: 32 };
const MIB = 2 ** 20;

const spec = (HostConfig: object, request: object = {}): ContainerSpec =>
  containerSpec(
    createSchema.parse({ Image: 'busybox', HostConfig, ...request }),
    fakeImage('busybox:latest', { Cmd: ['sh'] }),
    'name',
    { defaults: DEFAULTS, hostCpus: 4 },
  );

const refusal = (HostConfig: object, request: object = {}): [string, string] => {
  try {
    spec(HostConfig, request);
  } catch (error) {
    return [kindOf(error), (error as Error).message];
  }
  return ['none', ''];
};

/** In the form of /proc/self/status. */
const effective = (HostConfig: object): string =>
  capabilityBits(spec(HostConfig).process.capabilities ?? [])
    .toString(16)
    .padStart(16, '0');

describe('capabilities', () => {
  // CapEff of the reference engine's processes, on a kernel with all capabilities.
  it.each([
    [{}, '00000000a80425fb'],
    [{ CapAdd: ['net_admin', 'CAP_SYS_TIME'], CapDrop: ['chown'] }, '00000000aa0435fa'],
    [{ CapDrop: ['ALL'], CapAdd: ['CHOWN'] }, '0000000000000001'],
    [{ CapDrop: ['all'] }, '0000000000000000'],
    [{ CapAdd: ['ALL'] }, '000001ffffffffff'],
    [{ CapAdd: ['ALL'], CapDrop: ['CHOWN'] }, '000001fffffffffe'],
    [{ CapAdd: ['ALL'], CapDrop: ['ALL'] }, '000001ffffffffff'],
    [{ CapAdd: ['CHOWN'], CapDrop: ['CHOWN'] }, '00000000a80425fb'],
    [{ Privileged: true }, '000001ffffffffff'],
    [{ Privileged: true, CapDrop: ['CHOWN'] }, '000001ffffffffff'],
  ])('%j is %s', (host, bits) => {
    expect(effective(host)).toBe(bits);
  });

  it.each([
    [{ CapAdd: ['BOGUS'] }, 'invalid CapAdd: unknown capability: "CAP_BOGUS"'],
    [{ CapDrop: ['cap_x'] }, 'invalid CapDrop: unknown capability: "CAP_X"'],
    [{ CapAdd: ['CAP_ALL'] }, 'invalid CapAdd: unknown capability: "CAP_ALL"'],
    [{ CapAdd: [''], Privileged: true }, 'invalid CapAdd: unknown capability: "CAP_"'],
  ])('%j is refused with Docker’s message', (host, message) => {
    expect(refusal(host)).toEqual(['invalid', message]);
  });
});

describe('security options', () => {
  it('are kept, or have no effect here', () => {
    expect(spec({ SecurityOpt: ['no-new-privileges'] }).process.noNewPrivileges).toBe(true);
    expect(spec({ SecurityOpt: ['no-new-privileges=true'] }).process.noNewPrivileges).toBe(true);
    expect(spec({ SecurityOpt: ['no-new-privileges:false'] }).process.noNewPrivileges).toBe(false);
    expect(spec({}).process.noNewPrivileges).toBe(false);
    const moot = ['seccomp=unconfined', 'apparmor=unconfined', 'label=disable', 'label:user:x', 'disable'];
    expect(spec({ SecurityOpt: moot })).toMatchObject({ userNamespaces: true, process: { noNewPrivileges: false } });
    expect(spec({ SecurityOpt: ['seccomp=builtin'] }).userNamespaces).toBe(false);
  });

  it.each([
    ['bogus', 'invalid --security-opt 1: "bogus"'],
    ['bogus=1', 'invalid --security-opt 2: "bogus=1"'],
    ['no-new-privileges:bogus', 'invalid --security-opt 2: "no-new-privileges:bogus"'],
  ])('%s is refused with Docker’s message', (option, message) => {
    expect(refusal({ SecurityOpt: [option] })).toEqual(['invalid', message]);
  });

  it('hide what Docker hides, unless the request says otherwise', () => {
    expect(spec({})).toMatchObject({ maskedPaths: MASKED_PATHS, readOnlyPaths: READ_ONLY_PATHS, privileged: false });
    expect(spec({ MaskedPaths: [], ReadonlyPaths: ['/proc/y'] })).toMatchObject({
      maskedPaths: [],
      readOnlyPaths: ['/proc/y'],
    });
    expect(spec({ Privileged: true })).toMatchObject({ maskedPaths: [], readOnlyPaths: [], privileged: true });
    expect(refusal({ MaskedPaths: ['proc'] })[0]).toBe('invalid');
  });
});

describe('tmpfs', () => {
  it.each([
    ['', 14, ''],
    ['rw', 14, ''],
    ['ro', 15, ''],
    ['exec', 6, ''],
    ['exec,suid,dev', 0, ''],
    ['exec,noexec', 14, ''],
    ['size=1m,mode=700,uid=5,gid=6,noexec', 14, 'size=1m,mode=700,uid=5,gid=6'],
    ['size=1m,size=2m', 14, 'size=2m'],
    ['noatime,nr_inodes=5', 14 | 1024, 'nr_inodes=5'],
  ])('with %j is mounted so', (options, flags, data) => {
    expect(tmpfsMounts({ '/t': options })).toEqual([{ path: '/t', flags, options: data }]);
  });

  it('is refused with Docker’s message', () => {
    expect(refusal({ Tmpfs: { '/u': 'bogus' } })).toEqual(['invalid', 'invalid tmpfs option "bogus"']);
    expect(refusal({ Tmpfs: { '/u': 'size' } })).toEqual(['invalid', 'invalid tmpfs option "size"']);
    expect(refusal({ Tmpfs: { '/u': 'constructor' } })[0]).toBe('invalid');
    expect(refusal({ Tmpfs: { u: '' } })).toEqual(['invalid', "invalid mount path: 'u' mount path must be absolute"]);
    expect(refusal({ Tmpfs: { '/': '' } })).toEqual(['invalid', "invalid specification: destination can't be '/'"]);
    expect(refusal({ Tmpfs: { '/a/..': '' } })[0]).toBe('invalid');
  });

  it('is mounted from the outside in', () => {
    expect(tmpfsMounts({ '/s': 'shared,exec,rslave' })).toEqual([
      { path: '/s', flags: 2 + 4 + 2 ** 19 + 2 ** 14, options: '' },
    ]);
    expect(tmpfsMounts({ '/a/b/c': '', '/a': '', '/b/': '' }).map(({ path }) => path)).toEqual(['/a', '/b', '/a/b/c']);
  });
});

describe('limits', () => {
  it('without the OOM killer stay within the machine’s memory', () => {
    expect(spec({ OomKillDisable: true, OomScoreAdj: 5 }).process.oomScoreAdj).toBe(-1000);
    expect(spec({ OomKillDisable: true, Memory: 64 * MIB }).memoryMiB).toBe(2048);
    expect(spec({ OomKillDisable: true, Memory: 4096 * MIB }).memoryMiB).toBe(4096 + 96);
    expect(allLimits({ OomKillDisable: true, Memory: 4096 * MIB }, 2048)['memory.max']).toBe(String(1952 * MIB));
  });

  it.each([
    [{}, {}],
    [{ NanoCpus: 5e8 }, { 'cpu.max': '50000 100000' }],
    [{ NanoCpus: 15e8 }, { 'cpu.max': '150000 100000' }],
    [{ CpuQuota: 50000 }, { 'cpu.max': '50000 100000' }],
    [{ CpuQuota: 50000, CpuPeriod: 25000 }, { 'cpu.max': '50000 25000' }],
    [{ CpuPeriod: 50000 }, { 'cpu.max': 'max 50000' }],
    [{ CpuQuota: -1 }, {}],
    [{ CpuShares: 1024 }, { 'cpu.weight': '39' }],
    [{ CpuShares: 2 }, { 'cpu.weight': '1' }],
    [{ CpuShares: 262144 }, { 'cpu.weight': '10000' }],
    [
      { Memory: 64 * MIB, MemoryReservation: 32 * MIB },
      { 'memory.max': '67108864', 'memory.low': '33554432' },
    ],
    [{ PidsLimit: 7 }, { 'pids.max': '7' }],
    [{ PidsLimit: 0 }, {}],
    [{ PidsLimit: -7 }, {}],
    // The machine keeps some memory for its kernel, whatever is asked for.
    [{ OomKillDisable: true }, { 'memory.max': String((2048 - 96) * MIB) }],
    [{ OomKillDisable: true, Memory: 64 * MIB }, { 'memory.max': String(64 * MIB) }],
    [{ OomKillDisable: true, Memory: 4096 * MIB }, { 'memory.max': String(4096 * MIB) }],
  ])('of %j', (host, limits) => {
    expect(spec(host).limits).toEqual(limits);
  });

  it('in shares apply to the VM too', () => {
    expect(spec({}).cpuShares).toBeUndefined();
    expect(spec({ CpuShares: 1024 }).cpuShares).toBe(2000);
    expect(spec({ CpuShares: 512, NanoCpus: 1e9 }).cpuShares).toBe(500);
    expect(spec({ CpuShares: 2 ** 18 }).cpuShares).toBe(512_000);
  });

  it('round processors up', () => {
    expect(spec({ CpuQuota: 50000 }).cpus).toBe(1);
    expect(spec({ CpuQuota: 250000 }).cpus).toBe(3);
    expect(spec({ CpuQuota: 9000000 }).cpus).toBe(4);
    expect(spec({ NanoCpus: 3e9, CpusetCpus: '0-1' }).cpus).toBe(2);
  });

  it.each([
    [{ CpuShares: -1 }, 'invalid CPU shares (-1): value must be a positive integer'],
    [{ CpuQuota: 500 }, 'CPU cfs quota can not be less than 1ms (i.e. 1000)'],
    [
      { CpuQuota: 5000, CpuPeriod: 10 },
      'CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)',
    ],
    [{ NanoCpus: 1e9, CpuQuota: 5000 }, 'Conflicting options: Nano CPUs and CPU Quota cannot both be set'],
    [{ NanoCpus: 1e9, CpuPeriod: 5000 }, 'Conflicting options: Nano CPUs and CPU Period cannot both be set'],
    [{ MemoryReservation: MIB }, 'Minimum memory reservation allowed is 6MB'],
    [
      { Memory: 32 * MIB, MemoryReservation: 64 * MIB },
      'Minimum memory limit can not be less than memory reservation limit, see usage',
    ],
    [{ MemorySwappiness: 200 }, 'Invalid value: 200, valid memory swappiness range is 0-100'],
    [{ MemorySwappiness: -5 }, 'Invalid value: -5, valid memory swappiness range is 0-100'],
    [{ CpusetMems: '9' }, 'Requested memory nodes are not available - requested 9, available: 0'],
    [{ CpusetMems: 'x' }, 'Invalid value x for cpuset mems: invalid format: x'],
    [{ StorageOpt: { bogus: '1G' } }, 'Unknown option bogus'],
    [{ StorageOpt: { size: 'x' } }, "invalid size: 'x'"],
    [{ StorageOpt: { size: '33G' } }, '--storage-opt size=: the disks of the image store have 32 GiB'],
    [{ IpcMode: 'bogus' }, 'invalid IPC mode: bogus'],
    [{ PidMode: 'bogus' }, 'invalid PID mode: bogus'],
    [{ UTSMode: 'bogus' }, 'invalid UTS mode: bogus'],
    [{ CgroupnsMode: 'bogus' }, 'invalid cgroup namespace mode: bogus'],
    [{ Isolation: 'bogus' }, "invalid isolation (bogus): linux only supports 'default'"],
    [{ Runtime: 'bogus' }, 'unknown or invalid runtime name: bogus'],
    [{ Annotations: { '': 'x' } }, 'invalid Annotations: the empty string is not permitted as an annotation key'],
  ])('%j is refused with Docker’s message', (host, message) => {
    expect(refusal(host)).toEqual(['invalid', message]);
  });

  it('of the disk, and of filesystems in memory', () => {
    expect(spec({ StorageOpt: { size: '1.5g' } }).rootSize).toBe(1.5 * 2 ** 30);
    expect(spec({ StorageOpt: { size: '10MiB' } }).rootSize).toBe(10 * MIB);
    expect(spec({}).rootSize).toBeUndefined();
    expect(spec({ IpcMode: 'none' }).shmSize).toBe(0);
    expect(spec({ MemorySwappiness: 5, Sysctls: { 'net.core.somaxconn': '9' } }).sysctls).toEqual({
      'vm.swappiness': '5',
      'net.core.somaxconn': '9',
    });
  });
});

describe('the card’s address', () => {
  const endpoint = (MacAddress: string) => ({ NetworkingConfig: { EndpointsConfig: { bridge: { MacAddress } } } });
  it('comes with the container or its network', () => {
    const made = spec({}, { MacAddress: '02:42:AC:11:00:98' });
    expect(made.networks).toEqual([{ network: 'bridge', aliases: [], mac: '02:42:ac:11:00:98' }]);
    expect(spec({}, endpoint('02-42-ac-11-00-99')).networks[0]?.mac).toBe('02:42:ac:11:00:99');
    const networks = [{ name: 'bridge', portGroup: 'pg' }];
    const config = { networks, imageStore: { datastore: 'd', path: '' }, channelDir: '/c', id: 'i' };
    const cards = containerVmSpec(config as never, made, 'parent.vmdk', () => ({ portGroup: 'pg' })).deviceChange!.map(
      ({ device }) => device,
    );
    expect(cards).toContainEqual(expect.objectContaining({ addressType: 'manual', macAddress: '02:42:ac:11:00:98' }));
  });

  it('is refused when it is not a valid address', () => {
    const bad = 'invalid config for network bridge: invalid MAC address bogus';
    expect(refusal({}, { MacAddress: 'bogus' })).toEqual(['invalid', bad]);
    expect(refusal({}, endpoint('bogus'))).toEqual(['invalid', bad]);
    expect(refusal({}, endpoint('01:42:ac:11:00:78'))[0]).toBe('invalid');
    expect(refusal({}, { MacAddress: '02:00:00:00:00:01', ...endpoint('02:00:00:00:00:02') })).toEqual([
      'invalid',
      'the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty',
    ]);
  });
});

describe('the program', () => {
  it('has all of them, and the init before the command', () => {
    const made = spec(
      { Init: true, Privileged: true, Tmpfs: { '/t': 'size=1m' }, PidsLimit: 5, StorageOpt: { size: '1g' } },
      { Cmd: ['a', 'b'] },
    );
    const program = programSpec(made, [], true);
    expect(program).toMatchObject({
      init: true,
      privileged: true,
      userNamespaces: true,
      rootSize: 2 ** 30,
      tmpfs: [{ path: '/t', flags: 14, options: 'size=1m' }],
      limits: { 'pids.max': '5' },
      process: { args: ['/sbin/docker-init', '--', 'a', 'b'] },
    });
    expect(made.process.args).toEqual(['a', 'b']);
    const bytes = compileProgram(program).toString('latin1');
    for (const text of ['pids.max', 'size=1m', '/sbin/docker-init']) expect(bytes).toContain(text);
  });

  it('is built for containers from before these options existed', () => {
    const { capabilities, noNewPrivileges, oomScoreAdj, ...process } = spec({}).process;
    expect(encodeProcess(process)).toEqual(
      encodeProcess({ ...process, capabilities, noNewPrivileges, oomScoreAdj } as never),
    );
    const { init, privileged, userNamespaces, tmpfs, maskedPaths, readOnlyPaths, limits, ...old } = spec({});
    expect(compileProgram(programSpec(old as ContainerSpec, [], false)).length).toBeGreaterThan(0);
    expect([init, privileged, userNamespaces, tmpfs?.length, limits]).toEqual([false, false, false, 0, {}]);
    expect([maskedPaths?.length, readOnlyPaths?.length]).toEqual([12, 5]);
  });
});

describe('the table of options', () => {
  const table = readFileSync(new URL('../../../docs/OPTIONS.md', import.meta.url), 'utf8');
  const told = (field: string): boolean =>
    table.includes(`\`${field}\``) ||
    [...table.matchAll(/`(\w+)\*`/g)].some(([, beginning]) => field.startsWith(beginning!));

  it('documents every field', () => {
    const fields = [...Object.keys(createSchema.shape), ...Object.keys(hostConfigSchema.shape)].filter(
      (field) => !['HostConfig', 'NetworkingConfig', 'Cgroup', 'Capabilities'].includes(field),
    );
    expect(fields.filter((field) => !told(field))).toEqual([]);
  });
});
