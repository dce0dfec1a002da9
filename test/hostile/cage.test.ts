/** The cage in which each QEMU runs: what a QEMU that was taken over could still do, and whether every one is in it. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { mkdtemp, open, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { isRunning } from '../../src/hostd/process-id.js';
import type { CageContents } from '../../src/hostd/qemu/cage.js';
import { prepareBootImage } from '../../src/setup/boot-image.js';
import { prepareLauncher } from '../../src/setup/launcher.js';
import { until, VmLab } from '../support/vm-lab.js';

let directory: string;
let lab: VmLab;
let probe: string;

beforeAll(async () => {
  await prepareBootImage({ strict: true });
  await prepareLauncher({ strict: true });
  directory = await mkdtemp(join(tmpdir(), 'caisson-cage-'));
  // The probe's user passes through it.
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
/** Runs the probe where QEMU would run, until it has ended; what it printed. */
async function inCage(args: string[], contents: Partial<CageContents> = {}): Promise<string[]> {
  const { cages, virtualSwitch } = lab.runtime;
  const name = `probe${++count}`;
  const log = join(directory, `${name}.log`);
  const whole = { name, uid: 64_900, cpus: 1, memoryMiB: 16, listeners: [], taps: [], files: [], inherited: [] };
  const started = await cages.start([probe, ...args], virtualSwitch.path, log, { ...whole, ...contents });
  await until(async () => (await readFile(log, 'utf8')).startsWith('up '), 'the probe runs');
  await started.enclose();
  await until(() => !isRunning(started), 'the probe ends');
  await cages.groups.remove(name);
  return (await readFile(log, 'utf8')).trim().split('\n');
}

describe('a QEMU that was taken over', () => {
  it('can make no system call that leads anywhere, open no path, reach no network', async () => {
    const [up, ...lines] = await inCage([]);
    expect(up).toBe('up 1 64900');
    expect(lines.at(-1)).toBe('end');
    const results = new Map(lines.map((line) => line.split(' ') as [string, string]));
    const allowed = [...results].filter(([, result]) => result === 'allowed').map(([what]) => what);
    // A unix socket that was not connected by hostd can be connected to nothing: its root is empty.
    expect(allowed).toEqual(['socket:AF_UNIX']);
    const refused = new Set([...results.values()].filter((result) => /^[A-Z]/.test(result)));
    expect([...refused].sort()).toEqual(['EAFNOSUPPORT', 'EINVAL', 'ENOENT', 'ENOSYS', 'ENOTTY', 'EPERM', 'EROFS']);
    expect(results.size).toBeGreaterThan(90);
    // Its streams, and the one it could make.
    expect(results.get('descriptors')).toBe('4');
    expect(Number(results.get('threads'))).toBeLessThan(128);
  });

  it.each(['x32', 'i386'])('is ended when it makes calls of another kind (%s)', async (kind) => {
    expect(await inCage([kind])).toEqual(['up 1 64900']);
  });

  it('cannot take more memory than its machine has, and some for itself', async (context) => {
    if (!lab.runtime.cages.groups.limits.includes('cgroup-memory')) context.skip();
    expect(await inCage(['eat'])).toEqual(['up 1 64900']);
  });

  it('punches no hole into what it shares with others', async () => {
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
    const servers = [await listen('own', 64_900), await listen('other', 64_901)];
    try {
      expect(await inCage(['connect', join(sockets, 'own')], { connects: [sockets] })).toContain('connect allowed');
      expect(await inCage(['connect', join(sockets, 'other')], { connects: [sockets] })).toContain('connect EACCES');
      expect(await inCage(['connect', join(sockets, 'own')])).toContain('connect ENOENT');
    } finally {
      for (const server of servers) server.close();
    }
  });

  it('that cannot be started says why, and leaves nothing', async () => {
    const { cages, virtualSwitch } = lab.runtime;
    const contents = { name: 'none', uid: 64_900, cpus: 1, memoryMiB: 16, listeners: [], files: [], inherited: [] };
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

/** Fails where a process is not in its cage. */
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
  // QEMU's own sandbox makes it two at least.
  expect(Number(status.get('Seccomp_filters') ?? 2)).toBeGreaterThan(1);
  for (const namespace of ['mnt', 'pid', 'ipc', 'uts', 'net', 'cgroup'])
    expect(readlinkSync(proc(`ns/${namespace}`))).not.toBe(readlinkSync(`/proc/self/ns/${namespace}`));
  expect(status.get('NSpid')!.split('\t').at(-1)).toBe('1');
  const mounts = readFileSync(proc('mounts'), 'utf8').trim().split('\n');
  expect(mounts[0]).toMatch(/^empty \/ tmpfs ro,nosuid,nodev,noexec/);
  for (const mount of mounts) expect(mount.split(' ')[3]).toMatch(/^ro,nosuid,nodev/);
  expect(readdirSync(proc('root')).filter((name) => name !== 'run')).toEqual([]);
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

  it('booted, resumed, waiting, taken from the pool, and found again', async () => {
    const booted = await lab.define({ script, address: '10.9.0.2/24' });
    const first = await lab.powerOn(booted);
    await booted.printed(/up/);
    await audit(first.pid, false);
    const spares = (): number[] => qemus(`${lab.paths.runDir}/pool/`);
    await until(() => spares().length > 0, 'a machine waits');
    const [waiting] = spares();
    await until(() => readdirSync(`/proc/${waiting}/root`).every((name) => name === 'run'), 'it has its root');
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
