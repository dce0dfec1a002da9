import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { afterAll, afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

/** Stands in for the kernel: below the machine's directory, groups are created and removed with their files. */
const kernel = vi.hoisted(() => ({
  root: '/nonexistent',
  made: (_directory: string): void => undefined,
  /** @returns true when nothing else should be written */
  written: (_file: string, _text: string): boolean => false,
  busy: (_directory: string): boolean => false,
}));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof import('node:fs/promises')>();
  const refusal = (code: string): Error => Object.assign(new Error(code), { code });
  const ours = (path: unknown): path is string => typeof path === 'string' && path.startsWith(`${kernel.root}/`);
  return {
    ...real,
    mkdir: async (path: string, options: object) => {
      if (ours(path) && !existsSync(path)) kernel.made(path);
      return real.mkdir(path, options);
    },
    writeFile: async (path: string, text: string, options: object) => {
      if (ours(path) && kernel.written(path, text)) return;
      return real.writeFile(path, text, options);
    },
    rmdir: async (path: string) => {
      if (!ours(path)) return real.rmdir(path);
      if (!existsSync(path)) throw refusal('ENOENT');
      const groups = readdirSync(path, { withFileTypes: true }).some((entry) => entry.isDirectory());
      if (groups || kernel.busy(path)) throw refusal('EBUSY');
      return real.rm(path, { recursive: true });
    },
  };
});

// Test files share loaded modules: load it again with the mock, and let the next file load it without the mock.
vi.resetModules();
const { ControlGroups } = await import('../../../src/hostd/qemu/control-groups.js');
afterAll(() => void vi.resetModules());

const refuse = (code: string): never => {
  throw Object.assign(new Error(code), { code });
};
const NAME = 'caisson-0123';
const LIMITS = { memoryMiB: 300, processes: 97 };
let machine = '';
const at = (...path: string[]): string => join(machine, 'cgroup', ...path);
const read = (...path: string[]): string => readFileSync(at(...path), 'utf8');

/** The contents of /proc for this process. */
function proc(mounts: string[], groups: string[]): string {
  writeFileSync(join(machine, 'mountinfo'), mounts.map((line, i) => `${i} 1 0:1 ${line}\n`).join(''));
  writeFileSync(join(machine, 'cgroup-of-process'), '');
  mkdirSync(join(machine, 'self'), { recursive: true });
  writeFileSync(join(machine, 'self', 'mountinfo'), readFileSync(join(machine, 'mountinfo')));
  writeFileSync(join(machine, 'self', 'cgroup'), groups.map((line) => `${line}\n`).join(''));
  return join(machine, 'self');
}

/** A group with the files that the kernel creates in it. */
function group(path: string, files: Record<string, string>): void {
  mkdirSync(path, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
}

function version1(own = '/'): string {
  const files: Record<string, Record<string, string>> = {
    memory: { 'memory.limit_in_bytes': '', 'cgroup.procs': '' },
    pids: { 'pids.max': '', 'cgroup.procs': '' },
  };
  kernel.made = (path) => group(path, files[path.slice(at().length + 1).split('/')[0]!]!);
  for (const controller of ['memory', 'pids']) group(at(controller, own), files[controller]!);
  return proc(
    ['memory', 'pids'].map((one) => `/ ${at(one)} rw - cgroup cgroup rw,${one}`),
    [`2:memory:${own}`, `1:pids:${own}`, '0::/'],
  );
}

/** @param full groups with processes in them */
function version2(own: string, full: string[]): string {
  kernel.made = (path) => {
    const parent = readFileSync(join(dirname(path), 'cgroup.subtree_control'), 'utf8');
    const limits = ['memory', 'pids'].filter((one) => parent.includes(one)).map((one) => [`${one}.max`, '']);
    group(path, { 'cgroup.procs': '', 'cgroup.subtree_control': '', ...Object.fromEntries(limits) });
  };
  kernel.written = (file, text) => {
    if (basename(file) !== 'cgroup.subtree_control') return false;
    if (full.some((one) => at(one) === dirname(file))) refuse('EBUSY');
    writeFileSync(file, `${readFileSync(file, 'utf8')} ${text}`);
    return true;
  };
  for (const path of ['.', ...own.split('/').map((_, i, all) => all.slice(0, i + 1).join('/'))])
    group(at(path), { 'cgroup.procs': '', 'cgroup.subtree_control': path === own ? '' : 'memory pids' });
  return proc([`/ ${at()} rw - cgroup2 cgroup2 rw`], [`0::/${own}`]);
}

beforeEach(() => {
  machine = mkdtempSync(join(tmpdir(), 'caisson-groups-'));
  kernel.root = at();
  kernel.busy = () => false;
  kernel.written = () => false;
  mkdirSync(at(), { recursive: true });
});

afterEach(() => {
  kernel.root = '/nonexistent';
  rmSync(machine, { recursive: true, force: true });
});

describe('control groups of version 1', () => {
  it("are created below hostd's own, with limits, and removed", async () => {
    const groups = await ControlGroups.open(NAME, version1('/daemons'));
    expect(groups.limits).toEqual(['cgroup-memory', 'cgroup-pids']);
    expect(groups.missing).toEqual([]);
    expect(await groups.make('vm-1', LIMITS)).toEqual([
      at('memory/daemons', NAME, 'vm-1'),
      at('pids/daemons', NAME, 'vm-1'),
    ]);
    expect(read('memory/daemons', NAME, 'vm-1/memory.limit_in_bytes')).toBe(String(300 * 2 ** 20));
    expect(read('pids/daemons', NAME, 'vm-1/pids.max')).toBe('97');
    await groups.remove('vm-1');
    expect(existsSync(at('pids/daemons', NAME, 'vm-1'))).toBe(false);
    await groups.close();
    expect(existsSync(at('memory/daemons', NAME))).toBe(false);
  });

  it('that are still busy are removed along with the next one, unless they were created again', async () => {
    const groups = await ControlGroups.open(NAME, version1());
    for (const name of ['vm-1', 'vm-2', 'vm-3']) await groups.make(name, LIMITS);
    kernel.busy = (path) => path.endsWith('/vm-1') || path.endsWith('/vm-2');
    await groups.remove('vm-1');
    await groups.remove('vm-2');
    kernel.busy = () => false;
    // At once, as for a VM that is restarted.
    const removed = groups.remove('vm-3');
    await groups.make('vm-2', LIMITS);
    await removed;
    expect(
      readdirSync(at('memory', NAME), { withFileTypes: true }).flatMap((one) => (one.isDirectory() ? one.name : [])),
    ).toEqual(['vm-2']);
  });

  it('of an earlier hostd are removed, wherever it ran', async () => {
    const earlier = await ControlGroups.open(NAME, version1('/sessions/3'));
    await earlier.make('vm-1', LIMITS);
    const groups = await ControlGroups.open(NAME, version1('/sessions/4'));
    await groups.make('vm-2', LIMITS);
    await groups.sweep();
    for (const controller of ['memory', 'pids']) {
      expect(existsSync(at(controller, 'sessions/3', NAME))).toBe(false);
      expect(existsSync(at(controller, 'sessions/4', NAME, 'vm-2'))).toBe(true);
    }
  });

  it('that can be created but take no process are not used', async () => {
    const self = version1();
    kernel.written = (file) => file.includes('/memory/') && basename(file) === 'cgroup.procs' && refuse('EACCES');
    const groups = await ControlGroups.open(NAME, self);
    expect(groups.limits).toEqual(['cgroup-pids']);
    expect(groups.missing).toEqual(['a control group for memory (it is not allowed to change control groups)']);
    expect(existsSync(at('memory', NAME))).toBe(false);
    expect(await groups.make('vm-1', LIMITS)).toEqual([at('pids', NAME, 'vm-1')]);
  });

  it('whose limits can no longer be set are not left behind', async () => {
    const groups = await ControlGroups.open(NAME, version1());
    kernel.written = (file) => basename(file) === 'pids.max' && refuse('EINVAL');
    expect(await groups.make('vm-1', LIMITS)).toEqual([at('memory', NAME, 'vm-1')]);
    expect(existsSync(at('pids', NAME, 'vm-1'))).toBe(false);
  });
});

describe('control groups of version 2', () => {
  it("are created beside hostd's own, which has processes", async () => {
    const groups = await ControlGroups.open(
      NAME,
      version2('system.slice/caisson.service', ['system.slice/caisson.service']),
    );
    expect(groups.missing).toEqual([]);
    expect(groups.limits).toEqual(['cgroup-memory', 'cgroup-pids']);
    const [directory, ...more] = await groups.make('vm-1', LIMITS);
    expect(more).toEqual([]);
    expect(directory).toBe(at('system.slice', NAME, 'vm-1'));
    expect(read('system.slice', NAME, 'vm-1/memory.max')).toBe(String(300 * 2 ** 20));
    expect(read('system.slice', NAME, 'vm-1/pids.max')).toBe('97');
    await groups.remove('vm-1');
    await groups.close();
    expect(existsSync(at('system.slice', NAME))).toBe(false);
  });

  it('do not exist in a container that has only one group, or may only read them', async () => {
    const why = 'processes are in the group that hostd is in, and it has no other for groups of its own';
    const full = await ControlGroups.open(NAME, version2('.', ['.']));
    expect(full.missing).toEqual([`a control group for memory (${why})`, `a control group for pids (${why})`]);
    const self = version2('.', []);
    kernel.written = () => refuse('EROFS');
    const readOnly = await ControlGroups.open(NAME, self);
    expect(readOnly.missing[0]).toBe('a control group for memory (control groups can be read only)');
    expect(await readOnly.make('vm-1', LIMITS)).toEqual([]);
    await readOnly.close();
  });
});

describe('a machine without control groups', () => {
  it('is reported, and still starts VMs', async () => {
    const groups = await ControlGroups.open(NAME, proc(['/ / rw - ext4 /dev/sda rw'], []));
    expect(groups.limits).toEqual([]);
    expect(groups.missing).toEqual([
      'a control group for memory (there is no such controller)',
      'a control group for pids (there is no such controller)',
    ]);
    expect(await groups.make('vm-1', LIMITS)).toEqual([]);
    await groups.remove('vm-1');
    await groups.sweep();
  });
});
