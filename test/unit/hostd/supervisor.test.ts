/** The supervisor, with small programs in hostd's place. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { InstancePaths } from '../../../src/common/paths.js';
import { identify, signal } from '../../../src/common/process-id.js';
import { Supervisor } from '../../../src/hostd/supervisor/supervisor.js';

let directory: string;
let paths: InstancePaths;
let said: string[];
let gaveUp: number[];
let supervisor: Supervisor | null;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-supervisor-'));
  paths = { runDir: directory, stateDir: directory, hostdFile: join(directory, 'hostd.json') } as InstancePaths;
  [said, gaveUp, supervisor] = [[], [], null];
});

afterEach(() => {
  const pid = supervisor?.pid ?? null;
  supervisor?.stop();
  if (pid !== null) process.kill(pid, 'SIGKILL');
  rmSync(directory, { recursive: true });
});

/** A program that reports it is up, as hostd does, keeps a list of its starts, and beats. */
const UP = `
  const fs = require('node:fs');
  const [directory, listen] = [process.argv[3], process.argv[5]];
  fs.appendFileSync(directory + '/starts', listen + '\\n');
  const port = listen.endsWith(':0') ? 4711 : listen.split(':')[1];
  fs.writeFileSync(directory + '/hostd.json', JSON.stringify({ pid: process.pid, url: 'https://127.0.0.1:' + port + '/sdk' }));
  const beat = () => fs.writeFileSync(directory + '/hostd.beat', '.');
  setTimeout(beat, 50); setInterval(beat, 100);
`;

const STANDBY = fileURLToPath(new URL('../../../dist/src/common/standby.js', import.meta.url));
/** The same, which stands by if it is asked to. */
const SPARE = `import(${JSON.stringify(STANDBY)}).then(({ standBy }) => standBy()).then(() => { ${UP} });`;

function start(program: string, hangMs = 30_000, Kind = Supervisor, standby = false): Supervisor {
  mkdirSync(join(directory, 'hostd'));
  const file = join(directory, 'hostd', 'main.js');
  writeFileSync(file, program);
  supervisor = new Kind({
    paths,
    program: file,
    args: ['--state-dir', directory, '--listen', '127.0.0.1:0'],
    log: (_level, message) => said.push(message),
    gaveUp: (code) => gaveUp.push(code),
    hangMs,
    firstBackoffMs: 20,
    standby,
  });
  supervisor.start();
  return supervisor;
}

const starts = (): string[] => {
  try {
    return readFileSync(join(directory, 'starts'), 'utf8').trim().split('\n');
  } catch {
    return [];
  }
};
/** It has come up, and beats. */
const isUp = (): boolean => existsSync(join(directory, 'hostd.beat'));
const later = { interval: 20 };

describe('hostd', () => {
  it.each(['SIGKILL', 'SIGTERM'] as const)('that ends by %s is restarted on the same address', async (how) => {
    const { pid } = start(UP);
    await expect.poll(isUp, later).toBe(true);
    process.kill(pid!, how);
    await expect.poll(starts, later).toEqual(['127.0.0.1:0', '127.0.0.1:4711']);
    expect(gaveUp).toEqual([]);
  });

  it('that is stopped is replaced', async () => {
    const { pid } = start(UP, 800);
    await expect.poll(isUp, later).toBe(true);
    process.kill(pid!, 'SIGSTOP');
    await expect.poll(starts, later).toHaveLength(2);
    expect(said.join()).toMatch(/hangs and is ended: it has been stopped/);
    expect(identify(pid!)).toBeNull();
  });

  it('that loops endlessly is replaced', async () => {
    const loop = `if (fs.readFileSync(directory + '/starts', 'utf8').split('\\n').length === 2) setTimeout(() => { for (;;); }, 300);`;
    start(UP + loop, 800);
    await expect.poll(starts, later).toHaveLength(2);
    // With little processor time it is harder to tell.
    expect(said.join()).toMatch(/hangs and is ended: it has (gone round in a circle|not got anywhere)/);
  });

  it('that keeps dying is restarted with growing pauses', async () => {
    start(`${UP}\nsetTimeout(() => process.exit(1), 20);`);
    await expect.poll(() => said.length, later).toBeGreaterThan(7);
    const pauses = said.map((text) => Number(/again in (\S+) s/.exec(text)?.[1]));
    // Twice at once, which may be chance.
    expect(pauses.slice(0, 7)).toEqual([Number.NaN, Number.NaN, 0.02, 0.04, 0.08, 0.16, 0.32]);
    expect(gaveUp).toEqual([]);
  });

  it('that never comes up is not tried again, and its starter is told', async () => {
    start('process.exit(7)');
    await expect.poll(() => gaveUp, later).toEqual([7]);
    expect(supervisor?.pid).toBeNull();
  });

  it('that ends before the supervisor looks still gives its reason', async () => {
    const { pid } = start('process.exit(7)');
    // The supervisor is delayed until its timer is due as well.
    const begun = performance.now();
    while (identify(pid!) !== null || performance.now() - begun < 1000);
    await expect.poll(() => gaveUp, later).toEqual([7]);
  });

  it('that ends before it can be identified is not waited for', async () => {
    const processId = '../../../src/hostd/process-id.js';
    vi.resetModules();
    vi.doMock(processId, async (original) => ({ ...(await original<object>()), identify: () => null }));
    const { Supervisor: Blind } = await import('../../../src/hostd/supervisor/supervisor.js');
    vi.doUnmock(processId);
    vi.resetModules();
    start('process.exit(7)', 30_000, Blind);
    await expect.poll(() => gaveUp, later).toEqual([7]);
  });

  it('that is already running is taken over', async () => {
    mkdirSync(join(directory, 'hostd'));
    writeFileSync(join(directory, 'hostd', 'main.js'), UP);
    const child = spawn(process.execPath, [
      join(directory, 'hostd', 'main.js'),
      '--state-dir',
      directory,
      '--listen',
      'h:0',
    ]);
    await expect.poll(isUp, later).toBe(true);
    rmSync(join(directory, 'hostd'), { recursive: true });
    expect(start(UP).pid).toBe(child.pid);
    signal(identify(child.pid!)!, 'SIGKILL');
    await expect.poll(starts, later).toEqual(['h:0', '127.0.0.1:4711']);
  });

  it('keeps running when the supervisor is stopped', async () => {
    const { pid } = start(UP);
    await expect.poll(isUp, later).toBe(true);
    supervisor?.stop();
    process.kill(pid!, 'SIGKILL');
    await expect.poll(() => identify(pid!), later).toBeNull();
    expect(said).toEqual([]);
    supervisor = null;
  });
});

describe('a second hostd', () => {
  const started = async (): Promise<{ hostd: number; spare: number }> => {
    const { pid } = start(SPARE, 30_000, Supervisor, true);
    await expect.poll(() => supervisor!.sparePid, later).not.toBeNull();
    return { hostd: pid!, spare: supervisor!.sparePid! };
  };
  const gone = (pid: number): Promise<void> => expect.poll(() => identify(pid), later).toBeNull();

  it('takes over when the first one has died, on the same address, and another one stands by', async () => {
    const { hostd, spare } = await started();
    process.kill(hostd, 'SIGKILL');
    await expect.poll(starts, later).toEqual(['127.0.0.1:0', '127.0.0.1:4711']);
    expect(supervisor!.pid).toBe(spare);
    await expect.poll(() => [null, spare].includes(supervisor!.sparePid), later).toBe(false);
    expect(starts()).toHaveLength(2);
  });

  it('is replaced when it dies, and the first one is left alone', async () => {
    const { hostd, spare } = await started();
    process.kill(spare, 'SIGKILL');
    await expect.poll(() => [null, spare].includes(supervisor!.sparePid), later).toBe(false);
    expect([supervisor!.pid, starts()]).toEqual([hostd, ['127.0.0.1:0']]);
    expect(said.join()).toMatch(/no second hostd stands by: it has ended/);
  });

  it('that dies together with the first one is missed by nobody: a new one is started', async () => {
    const { hostd, spare } = await started();
    process.kill(spare, 'SIGSTOP');
    process.kill(hostd, 'SIGKILL');
    process.kill(spare, 'SIGKILL');
    await expect.poll(starts, later).toEqual(['127.0.0.1:0', '127.0.0.1:4711']);
    expect(supervisor!.pid).not.toBe(spare);
  });

  it('ends with the supervisor, and the first one goes on', async () => {
    const { hostd, spare } = await started();
    supervisor!.stop();
    await gone(spare);
    expect(identify(hostd)).not.toBeNull();
  });
});
