/**
 * The endpoint, hostd and a container's QEMU are killed in the middle of pulls, loads, commits, removals and the like, at random moments from a fixed seed. What was
 * acknowledged is there afterwards, and a check of the store finds neither damage nor leftovers.
 */
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runningHostd } from '../../src/cli/hostd-process.js';
import { checkStore } from '../../src/fsck/index.js';
import { dockerOk } from '../support/docker-ok.js';
import { type MirroredStack, startMirroredStack } from '../support/mirrored-stack.js';
import { randomOf } from '../support/random.js';
import { endpointPid } from '../support/started.js';

const SEED = Number(process.env.CAISSON_CHAOS_SEED ?? 14);
const ROUNDS = Number(process.env.CAISSON_CHAOS_ROUNDS ?? 4);

let stack: MirroredStack;
let directory: string;
const ok = (...args: string[]): Promise<string> => dockerOk(stack, ...args).then((text) => text.trim());

beforeAll(async () => {
  stack = await startMirroredStack(['busybox', 'large']);
  directory = mkdtempSync(join(tmpdir(), 'caisson-store-chaos-'));
  await ok('pull', 'busybox');
  await ok('tag', 'busybox', 'saved:1');
  await ok('save', '-o', join(directory, 'saved.tar'), 'saved:1');
  await ok('create', '--name', 'base', 'busybox', 'true');
});
afterAll(async () => {
  await stack?.stop();
  rmSync(directory, { recursive: true, force: true });
});

/** What there is, as a user sees it: `image x:y`, `volume x`, `container x`. */
async function seen(): Promise<Set<string>> {
  const [images, volumes, containers] = await Promise.all([
    ok('images', '--format', '{{.Repository}}:{{.Tag}}'),
    ok('volume', 'ls', '-q'),
    ok('ps', '-a', '--format', '{{.Names}}'),
  ]);
  const named = (kind: string, text: string): string[] =>
    text.split('\n').flatMap((one) => (one ? `${kind} ${one}` : []));
  return new Set([...named('image', images), ...named('volume', volumes), ...named('container', containers)]);
}

/** A command, and what it makes or takes away. */
interface Step {
  args: string[];
  makes?: string;
  takes?: string;
}

const steps = (round: number): Step[] => [
  { args: ['pull', 'large'], makes: 'image large:latest' },
  { args: ['rmi', 'large'], takes: 'image large:latest' },
  { args: ['load', '-i', join(directory, 'saved.tar')], makes: 'image saved:1' },
  { args: ['rmi', 'saved:1'], takes: 'image saved:1' },
  { args: ['commit', 'base', `made:${round}`], makes: `image made:${round}` },
  { args: ['volume', 'create', `v${round}`], makes: `volume v${round}` },
  { args: ['volume', 'rm', `v${round - 1}`], takes: `volume v${round - 1}` },
  { args: ['create', '--name', `c${round}`, 'busybox', 'true'], makes: `container c${round}` },
  { args: ['rm', `c${round - 1}`], takes: `container c${round - 1}` },
];

/** Process of the QEMU that has a file below a directory of the datastore open. */
function qemuOf(directory: string): number {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, 'utf8').startsWith('qemu-system')) continue;
      for (const fd of readdirSync(`/proc/${pid}/fd`))
        if (readlinkSync(`/proc/${pid}/fd/${fd}`).includes(`/${directory}/`)) return Number(pid);
    } catch {
      // It has ended, or the descriptor is closed.
    }
  throw new Error(`no QEMU has a file below ${directory}`);
}

it('keeps what a container has synced when its QEMU is killed, also amid snapshots of its volume', async () => {
  const random = randomOf(SEED + 1);
  const api = (method: string, path: string, body?: object): Promise<number> =>
    fetch(`http://127.0.0.1:${stack.port}/caisson/volumes/synced${path}`, {
      method,
      headers: { 'Content-Type': 'application/json' },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }).then(({ status }) => status);
  // What is on standard output was synced before, on the container's own disk and on the volume.
  const write =
    'touch /log; i=$(wc -l < /log); while true; do i=$((i+1)); echo $i >> /log; echo $i >> /v/log; sync; echo $i; done';
  const id = await ok('run', '-d', '--name', 'synced', '-v', 'synced:/v', 'busybox', 'sh', '-c', write);
  let acknowledged = 0;
  for (let round = 1; round <= 2; round++) {
    const said = async (): Promise<number> => Number((await ok('logs', '--tail', '1', 'synced')) || 0);
    await expect.poll(said).toBeGreaterThan(acknowledged);
    const moment = random(2000);
    let over = false;
    const cycles = (async () => {
      for (let n = 0; !over; n++) {
        await api('POST', '/snapshots', { Name: `s${n}` });
        await api('DELETE', `/snapshots/s${n}`);
      }
    })();
    await sleep(moment);
    process.kill(qemuOf(id), 'SIGKILL');
    await ok('wait', 'synced');
    over = true;
    await cycles;
    const what = `seed ${SEED}, round ${round}: QEMU killed after ${moment} ms`;
    acknowledged = await said();
    const last = async (...from: string[]): Promise<number> =>
      Number((await ok('run', '--rm', ...from, 'tail', '-n', '1', '/v/log')).trim());
    expect(await last('-v', 'synced:/v', 'busybox'), what).toBeGreaterThanOrEqual(acknowledged);
    await ok('cp', 'synced:/log', join(directory, 'log'));
    const own = readFileSync(join(directory, 'log'), 'utf8').trim().split('\n');
    expect(Number(own.at(-1)), what).toBeGreaterThanOrEqual(acknowledged);
    // The next snapshot works, and what comes back has the disks that it is left with.
    expect(await api('POST', '/snapshots', { Name: `kept${round}` }), what).toBe(201);
    await ok('start', 'synced');
  }
  await ok('rm', '-f', 'synced');
});

it('keeps what was acknowledged, and nothing else', async () => {
  const random = randomOf(SEED);
  let there = await seen();
  for (let round = 1; round <= ROUNDS; round++) {
    const part = random(2) === 0 ? 'endpoint' : 'hostd';
    const moment = random(1500);
    const under = steps(round)
      .map((step) => ({ step, key: random(1000) }))
      .sort((one, other) => one.key - other.key)
      .map(({ step }) => step);
    // One after the other, while the clock runs.
    const acknowledged: Step[] = [];
    let open: Step | undefined;
    let killed = false;
    const work = (async () => {
      for (const step of under) {
        if (killed) return;
        open = step;
        const { code } = await stack.docker(...step.args);
        open = undefined;
        if (code === 0) acknowledged.push(step);
      }
    })();
    await sleep(moment);
    const pid = part === 'hostd' ? (runningHostd(stack.paths)?.pid ?? 0) : endpointPid(stack.paths, 'test');
    const during = open as Step | undefined;
    killed = true;
    if (pid !== 0) process.kill(pid, 'SIGKILL');
    await work;
    await expect.poll(async () => (await stack.docker('ps', '-a')).code).toBe(0);
    const what = `seed ${SEED}, round ${round}: ${part} killed after ${moment} ms, during ${during?.args.join(' ')}`;
    const now = await seen();
    const expected = new Set(there);
    for (const { makes, takes } of acknowledged) {
      if (makes !== undefined) expected.add(makes);
      if (takes !== undefined) expected.delete(takes);
    }
    // What was under way when it was killed is there or not.
    for (const set of [now, expected]) for (const one of [during?.makes, during?.takes]) if (one) set.delete(one);
    expect([...now].sort(), what).toEqual([...expected].sort());
    there = await seen();
  }
  expect(await ok('run', '--rm', 'busybox', 'echo', 'runs')).toBe('runs');
  // The next start clears up.
  await stack.restart();
  await expect.poll(async () => (await stack.docker('ps', '-a')).code).toBe(0);
  const { findings } = await checkStore(stack.paths.stateDir, { e2fsck: false });
  expect(findings).toEqual([]);
});
