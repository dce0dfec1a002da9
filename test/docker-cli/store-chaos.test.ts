/**
 * The endpoint and hostd are killed in the middle of pulls, loads, commits, removals and the like, at random moments from a fixed seed. What was
 * acknowledged is there afterwards, and a check of the store finds neither damage nor leftovers.
 */
import { mkdtempSync, rmSync } from 'node:fs';
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
