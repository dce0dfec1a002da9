/** The cage in which each QEMU runs: what a compromised QEMU could still do, and whether every QEMU is in its cage. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { launcherPath } from '../../src/common/paths.js';
import { isRunning, parentOf, signal } from '../../src/common/process-id.js';
import { type CageContents, type Caged, Cages } from '../../src/hostd/qemu/cage.js';
import { freeUsers, inOrder } from '../../src/hostd/qemu/cage-users.js';
import { prepareBootImage } from '../../src/setup/boot-image.js';
import { prepareLauncher } from '../../src/setup/host-programs.js';
import { until, VmLab } from '../support/vm-lab.js';

let directory: string;
let lab: VmLab;
let probe: string;

beforeAll(async () => {
  await prepareBootImage({ strict: true });
  await prepareLauncher({ strict: true });
  directory = await mkdtemp(join(tmpdir(), 'caisson-cage-'));
  // The probe's user must be able to traverse it.
  chmodSync(directory, 0o711);
  probe = join(directory, 'probe');
  const source = new URL('cage-probe.c', import.meta.url).pathname;
  execFileSync('gcc', ['-static', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-o', probe, source]);
  lab = await VmLab.open(join(directory, 'snapshots'), 1);
});

afterAll(async () => {
  await lab?.close();
  await rm(directory, { recursive: true, force: true });
});

let count = 0;
/** The launcher's reports. */
let said: string[] = [];
/**
 * Runs the probe in QEMU's place until it ends. @returns its output, with its user as `<user>`
 * @param before called before it continues without a root
 */
async function inCage(
  args: string[],
  contents: Partial<CageContents> = {},
  before: (started: Caged) => void = () => undefined,
): Promise<string[]> {
  const { cages, virtualSwitch } = lab.runtime;
  const name = `probe${++count}`;
  const log = join(directory, `${name}.log`);
  const whole = { name, cpus: 1, memoryMiB: 16, listeners: [], taps: [], files: [], inherited: [] };
  const started = await cages.start([probe, ...args], virtualSwitch.path, log, { ...whole, ...contents });
  await until(async () => (await readFile(log, 'utf8')).startsWith('up '), 'the probe runs');
  before(started);
  const launcher = parentOf(started.pid);
  await started.enclose();
  await until(() => !isRunning(started) && !isRunning(launcher!), 'the probe ends');
  await cages.groups.remove(name);
  const lines = (await readFile(log, 'utf8')).trim().replace(`up 1 ${started.uid}`, 'up 1 <user>').split('\n');
  said = lines.filter((line) => line.startsWith('caisson-cage: '));
  return lines.filter((line) => !said.includes(line));
}

describe('a compromised QEMU', () => {
  it('can make no useful system call, open no path and reach no network', async () => {
    const [up, ...lines] = await inCage([]);
    expect(up).toBe('up 1 <user>');
    expect(lines.at(-1)).toBe('end');
    const results = new Map(lines.map((line) => line.split(' ') as [string, string]));
    const allowed = [...results].filter(([, result]) => result === 'allowed').map(([what]) => what);
    // A unix socket that hostd did not connect cannot be connected to anything: the root is empty.
    expect(allowed).toEqual(['socket:AF_UNIX']);
    const refused = new Set([...results.values()].filter((result) => /^[A-Z]/.test(result)));
    expect([...refused].sort()).toEqual(['EAFNOSUPPORT', 'EINVAL', 'ENOENT', 'ENOSYS', 'ENOTTY', 'EPERM', 'EROFS']);
    expect(results.size).toBeGreaterThan(90);
    // Its standard streams, and the socket that it could create.
    expect(results.get('descriptors')).toBe('4');
    expect(Number(results.get('threads'))).toBeLessThan(128);
    if (!lab.runtime.cages.parts.missing.some((part) => part.startsWith('a log'))) {
      // Each is reported once, with its details, but not those that any QEMU tries.
      for (const call of ['ptrace (101)', 'keyctl (250)', 'landlock_create_ruleset (444)', 'ioctl (16) of 0x5412'])
        expect(said.filter((line) => line.includes(`was refused the system call ${call}: `))).toHaveLength(1);
      expect(said.filter((line) => / (clone3|io_uring_setup|memfd_create) /.test(line))).toEqual([]);
    }
  });

  it('is reported a limited number of times, and still refused', async () => {
    expect(await inCage(['many'])).toEqual(['up 1 <user>', 'many ENOTTY', 'end']);
    expect(said.length).toBeLessThanOrEqual(100);
    if (said.length > 0) expect(said.at(-1)).toMatch(/further ones are not told of$/);
  });

  it.each(['x32', 'i386'])('is killed when it makes calls of another ABI (%s)', async (kind) => {
    expect(await inCage([kind])).toEqual(['up 1 <user>']);
    expect(said.join()).toMatch(/QEMU was ended by signal 31 \(Bad system call\): it made a system call/);
  });

  it('dies with its launcher, which holds its user id', async () => {
    const end = inCage(['sleep'], {}, (started) => {
      setTimeout(() => signal(parentOf(started.pid)!, 'SIGKILL'), 500);
    });
    expect(await end).toEqual(['up 1 <user>']);
  });

  it('cannot take more memory than its machine has, plus some for itself', async (context) => {
    if (!lab.runtime.cages.groups.limits.includes('cgroup-memory')) context.skip();
    expect(await inCage(['eat'])).toEqual(['up 1 <user>']);
    expect(said.join()).toMatch(/QEMU was ended by signal 9 \(Killed\)/);
  });

  it('cannot punch holes into files that it shares with others', async () => {
    const path = join(directory, 'shared');
    await writeFile(path, 'x'.repeat(65_536));
    const file = await open(path, 'r+');
    try {
      const lines = await inCage(['punch'], { inherited: [file], sharesMemory: true });
      expect(lines.slice(1)).toEqual(['punch allowed', 'content xxx', 'end']);
    } finally {
      await file.close();
    }
  });

  it('cannot connect to a socket of another machine', async () => {
    const sockets = join(directory, 'sockets');
    mkdirSync(sockets, { mode: 0o711 });
    const listen = async (name: string, gid: number): Promise<Server> => {
      const server = createServer((socket) => socket.destroy()).listen(join(sockets, name));
      await new Promise((resolve) => server.once('listening', resolve));
      chownSync(join(sockets, name), 0, gid);
      chmodSync(join(sockets, name), 0o660);
      return server;
    };
    const servers = [await listen('own', 0), await listen('other', 0)];
    const give = ({ uid }: Caged): void => {
      chownSync(join(sockets, 'own'), 0, uid);
      chownSync(join(sockets, 'other'), 0, uid + 1);
    };
    const tries = (name: string, connects: string[]): Promise<string[]> =>
      inCage(['connect', join(sockets, name)], { connects }, give);
    try {
      expect(await tries('own', [sockets])).toContain('connect allowed');
      expect(await tries('other', [sockets])).toContain('connect EACCES');
      expect(await tries('own', [])).toContain('connect ENOENT');
    } finally {
      for (const server of servers) server.close();
    }
  });

  it('that cannot be started says why, and leaves nothing behind', async () => {
    const { cages, virtualSwitch } = lab.runtime;
    const contents = { name: 'none', cpus: 1, memoryMiB: 16, listeners: [], files: [], inherited: [] };
    const log = join(directory, 'none.log');
    const start = (program: string, more: Partial<CageContents> = {}, netns = virtualSwitch.path) =>
      cages.start([program], netns, log, { ...contents, taps: [], ...more });
    await expect(start('/no/such/program')).rejects.toThrow('/no/such/program: No such file or directory');
    await expect(start(probe, {}, '/run/netns/none')).rejects.toThrow('/run/netns/none: No such file or directory');
    await expect(start(probe, { taps: [{ fd: 7, name: 'none' }] })).rejects.toThrow(/attaching to the tap/);
    const listeners = [{ fd: 4, path: '/no/such/socket' }];
    await expect(start(probe, { listeners })).rejects.toThrow('binding the socket /no/such/socket: No such file');
  });
});

describe('a machine that does not support the whole cage', () => {
  it.each([
    ['namespaces', ['a mount', 'a PID', 'an IPC', 'a UTS', 'a control group'].map((name) => `${name} namespace (`)],
    ['filters', ['a list of system calls (']],
    ['told', ['a log of refused system calls (']],
    ['devices', []],
  ])('uses what is available, and reports what is missing (%s)', async (part, missing) => {
    const without = join(directory, 'without');
    const source = new URL('cage-without.c', import.meta.url).pathname;
    execFileSync('gcc', ['-static', '-D_GNU_SOURCE', '-Wall', '-Wextra', '-Werror', '-o', without, source]);
    const launcher = join(directory, `launcher-${part}`);
    await writeFile(launcher, `#!/bin/sh\nexec ${without} ${part} ${launcherPath()} "$@"\n`, { mode: 0o755 });
    const cages = await Cages.open(join(directory, part), `${lab.paths.instance}-${part}`, launcher);
    const { groups } = lab.runtime.cages;
    const expected = [...missing, ...groups.missing];
    expect(cages.parts.missing.map((one) => expected.some((word) => one.startsWith(word)))).toEqual(
      expected.map(() => true),
    );
    expect(cages.filters).toBe(part !== 'filters');
    expect(cages.parts.present.includes('empty-root')).toBe(part !== 'namespaces');
    const log = join(directory, `${part}.log`);
    const gate = join(directory, 'gate');
    await writeFile(gate, '');
    const contents = { name: part, cpus: 1, memoryMiB: 64, listeners: [], taps: [], files: [], inherited: [] };
    const started = await cages.start(
      [probe, 'rights', ...(part === 'namespaces' ? [gate] : [])],
      lab.runtime.virtualSwitch.path,
      log,
      contents,
    );
    await started.enclose();
    await rm(gate);
    await until(() => !isRunning(started), 'the probe ends');
    await cages.groups.remove(part);
    await cages.groups.close();
    const pid = part === 'namespaces' ? String(started.pid) : '1';
    expect((await readFile(log, 'utf8')).split('\n').filter((line) => !line.startsWith('caisson-cage: '))).toEqual([
      `up ${pid} ${started.uid}`,
      'setuid EPERM',
      'open:/etc/shadow EACCES'.replace('EACCES', part === 'namespaces' ? 'EACCES' : 'ENOENT'),
      part === 'filters' ? 'ptrace ESRCH' : 'ptrace ENOSYS',
      'end',
      '',
    ]);
  });
});

describe('users', () => {
  it('are never shared, within an instance, between two instances, and after a restart', async () => {
    const { cages, virtualSwitch } = lab.runtime;
    const others = await Promise.all(
      ['one', 'two'].map((name) => Cages.open(join(directory, name), `${lab.paths.instance}-${name}`)),
    );
    const running: Caged[] = [];
    const start = async (by: Cages, name: string): Promise<void> => {
      const contents = { name, cpus: 1, memoryMiB: 16, listeners: [], taps: [], files: [], inherited: [] };
      const log = join(directory, `${name}.log`);
      running.push(await by.start([probe, 'sleep'], virtualSwitch.path, log, contents));
    };
    try {
      // Ids a thousand apart, the same for both instances, and all at once.
      const names = ['vm-7', 'vm-1007', 'vm-2007', 'vm-pool7', 'vm-snapshot'];
      await Promise.all([cages, ...others].flatMap((by, i) => names.map((name) => start(by, `${name}-${i}`))));
      // A restarted hostd does not know about these yet.
      const anew = await Cages.open(join(directory, 'one'), `${lab.paths.instance}-one`);
      await start(anew, 'vm-8');
      const users = running.map(({ pid }) =>
        Number(/^Uid:\t(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]),
      );
      expect(users).toEqual(running.map(({ uid }) => uid));
      expect(new Set(users).size).toBe(running.length);
      // With a single user id, which nobody else here uses: it is reused once its program has ended.
      const only = 69_000 + Math.floor(Math.random() * 999);
      Object.assign(anew, { users: [[only, only]] });
      await start(anew, 'vm-9');
      await expect(start(anew, 'vm-10')).rejects.toThrow('all users for machines are taken');
      const last = running.at(-1)!;
      const launcher = parentOf(last.pid)!;
      signal(last, 'SIGKILL');
      await until(() => !isRunning(launcher), 'it ends');
      await start(anew, 'vm-11');
      expect([last.uid, running.at(-1)!.uid]).toEqual([only, only]);
    } finally {
      for (const one of running) signal(one, 'SIGKILL');
      await until(() => running.every((one) => !isRunning(one)), 'all have ended');
      for (const by of [cages, ...others]) await by.groups.sweep();
      for (const by of others) await by.groups.close();
    }
  });

  it('leave out ids known to the machine, and ids that containers’ user namespaces lack', () => {
    const all = freeUsers(new Set());
    expect(freeUsers(new Set([64_101, 64_200, 64_201, 65_533]))).toEqual([
      [64_102, 64_199],
      [64_202, 65_100],
      [65_101, 65_532],
      ...all.slice(2),
    ]);
    // Both kinds can use every id that is left.
    for (const spare of [false, true]) expect([...inOrder(all, spare)].sort((a, b) => a[0] - b[0])).toEqual(all);
    for (const [first, last] of all) {
      expect(first).toBeGreaterThan(64_100);
      for (const never of [65_534, 65_535]) expect(never < first || never > last).toBe(true);
    }
    expect(freeUsers(new Set(Array.from({ length: 500 }, (_, i) => 64_102 + 2 * i))).length).toBeLessThanOrEqual(64);
  });
});

/** Fails if a process is not in its cage. */
async function audit(pid: number, spare: boolean): Promise<void> {
  const proc = (file: string): string => `/proc/${pid}/${file}`;
  const status = new Map(
    readFileSync(proc('status'), 'utf8')
      .split('\n')
      .map((line) => line.split(':\t') as [string, string]),
  );
  const uid = status.get('Uid')!.split('\t')[0]!;
  expect(Number(uid)).toBeGreaterThan(64_000);
  expect(status.get('Uid')).toBe(Array(4).fill(uid).join('\t'));
  expect(status.get('Gid')).toBe(Array(4).fill(uid).join('\t'));
  for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb']) expect(status.get(set)).toMatch(/^0+$/);
  expect(status.get('NoNewPrivs')).toBe('1');
  expect(status.get('Seccomp')).toBe('2');
  // With QEMU's own sandbox there are at least two.
  expect(Number(status.get('Seccomp_filters') ?? 2)).toBeGreaterThan(1);
  for (const namespace of ['mnt', 'pid', 'ipc', 'uts', 'net', 'cgroup'])
    expect(readlinkSync(proc(`ns/${namespace}`))).not.toBe(readlinkSync(`/proc/self/ns/${namespace}`));
  expect(status.get('NSpid')!.split('\t').at(-1)).toBe('1');
  const mounts = readFileSync(proc('mounts'), 'utf8').trim().split('\n');
  expect(mounts[0]).toMatch(/^empty \/ tmpfs ro,nosuid,nodev,noexec/);
  for (const mount of mounts) expect(mount.split(' ')[3]).toMatch(/^ro,nosuid,nodev/);
  expect(readdirSync(proc('root'))).toEqual([]);
  const limits = readFileSync(proc('limits'), 'utf8');
  expect(limits).toMatch(/^Max core file size\s+0\s+0/m);
  expect(limits).toMatch(/^Max processes\s+(\d{2,3})\s+\1 /m);
  expect(limits).toMatch(/^Max locked memory\s+65536\s+65536/m);
  expect(readFileSync(proc('oom_score_adj'), 'utf8').trim()).toBe(spare ? '500' : '300');
  if (lab.runtime.cages.parts.missing.length === 0)
    expect(readFileSync(proc('cgroup'), 'utf8')).toMatch(new RegExp(`/caisson-${lab.paths.instance}/vm-`));
  const kinds = new Set<string>();
  for (const fd of readdirSync(proc('fd'))) {
    const target = readlinkSync(proc(`fd/${fd}`));
    const flags = Number.parseInt(/^flags:\s*(\d+)/m.exec(readFileSync(proc(`fdinfo/${fd}`), 'utf8'))![1]!, 8);
    const kind = kindOf(target);
    kinds.add(kind);
    if (kind === 'layer' || kind === 'snapshot') expect([target, flags & 3]).toEqual([target, 0]);
  }
  const known = ['anon', 'disk', 'layer', 'log', 'null', 'placeholder', 'snapshot', 'socket', 'tap'];
  expect([...kinds].filter((kind) => !known.includes(kind))).toEqual([]);
}

function kindOf(target: string): string {
  if (target.startsWith('anon_inode:')) return 'anon';
  if (target.startsWith('socket:')) return 'socket';
  if (target === '/dev/null') return 'null';
  if (target === '/dev/net/tun') return 'tap';
  if (target.startsWith(join(lab.paths.stateDir, 'pool'))) return target.endsWith('.log') ? 'log' : 'placeholder';
  if (target.startsWith(join(directory, 'snapshots'))) return 'snapshot';
  if (target === join(lab.paths.datastoreDir, 'base', 'base.vmdk')) return 'layer';
  if (target.startsWith(lab.paths.datastoreDir)) return target.endsWith('.log') ? 'log' : 'disk';
  return target;
}

function qemus(part: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith(`qemu-system-x86_64\0-name\0guest=${part}`);
      } catch {
        return false;
      }
    })
    .map(Number);
}

describe('every QEMU is in its cage', () => {
  const script = 'trap "exit 0" TERM; echo up; while :; do sleep 0.1; done';

  it('whether booted, resumed, waiting, taken from the pool, or found again', async () => {
    const booted = await lab.define({ script, address: '10.9.0.2/24' });
    const first = await lab.powerOn(booted);
    await booted.printed(/up/);
    await audit(first.pid, false);
    const spares = (): number[] => qemus(`${lab.paths.runDir}/pool/`);
    await until(() => spares().length > 0, 'a machine waits');
    const [waiting] = spares();
    await until(() => readdirSync(`/proc/${waiting}/root`).length === 0, 'it has its root');
    await audit(waiting!, true);
    const guests = await Promise.all([3, 4].map((host) => lab.define({ script, address: `10.9.0.${host}/24` })));
    for (const guest of guests) {
      const vm = await lab.powerOn(guest);
      await guest.printed(/up/);
      await audit(vm.pid, false);
    }
    const found = await lab.adoptAfterRestart(first, booted);
    expect(found?.pid).toBe(first.pid);
    await audit(found!.pid, false);
    await found!.powerOff();
    const users = [...qemus(`${lab.paths.runDir}/`)].map((pid) => stat(`/proc/${pid}`).then(({ uid }) => uid));
    expect(new Set(await Promise.all(users)).size).toBe(users.length);
  });
});
