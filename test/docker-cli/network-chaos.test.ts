/**
 * While traffic flows, one part of the engine after the other is killed, in a random order. Connections through the relay may break; nothing
 * else does, and all of it works again soon. How soon is printed.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runningHostd, runningSupervisor } from '../../src/cli/hostd-process.js';
import { findProcesses, parentOf } from '../../src/common/process-id.js';
import { dockerOk } from '../support/docker-ok.js';
import { startMirroredStack } from '../support/mirrored-stack.js';
import { type OutsideWorld, openOutsideWorld } from '../support/outside-world.js';
import { freePort, type Stack } from '../support/stack.js';
import { endpointPid, endpointSpares, porterAndWorker } from '../support/started.js';

const SEED = Number(process.env.CAISSON_CHAOS_SEED ?? Date.now() % 1_000_000);
const ROUNDS = 2;
/** What is watched from inside of a container, and the name of the container. */
const INSIDE = ['names', 'dial', 'take'] as const;

let stack: Stack;
let world: OutsideWorld;
let directory: string;
let port: number;

const docker = (...args: string[]): Promise<string> => dockerOk(stack, ...args).then((text) => text.trim());
/** The processes that may be killed; 0 for one that is being started. */
const PARTS: Record<string, () => number> = {
  relay: () => porterAndWorker(stack.paths, 'test')?.worker ?? 0,
  names: () => porterAndWorker(stack.paths, 'test')?.names ?? 0,
  porter: () => porterAndWorker(stack.paths, 'test')?.porter ?? 0,
  endpoint: () => endpointPid(stack.paths, 'test'),
  hostd: () => runningHostd(stack.paths)?.pid ?? 0,
};

/** The processes that stand by. */
function spares(): number[] {
  const supervisor = runningSupervisor(stack.paths)?.pid ?? 0;
  const hostds = findProcesses(stack.paths.stateDir).flatMap(({ pid }) =>
    parentOf(pid)?.pid === supervisor ? [pid] : [],
  );
  return [...hostds, ...endpointSpares(stack.paths)].filter((pid) => pid !== PARTS.hostd!());
}

/** Numbers from 0 to below 1 (mulberry32): the same ones for the same seed. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function shuffled<T>(list: readonly T[], next: () => number): T[] {
  return list
    .map((value) => ({ value, key: next() }))
    .sort((one, other) => one.key - other.key)
    .map(({ value }) => value);
}

/** Tries something again and again; notes when it began and stopped to work. */
class Watch {
  readonly changes: { at: number; good: boolean }[] = [];
  private stopped = false;
  private readonly loop: Promise<void>;

  constructor(private readonly attempt: () => Promise<boolean>) {
    this.loop = this.run();
  }

  get good(): boolean {
    return this.changes.at(-1)?.good ?? false;
  }

  private async run(): Promise<void> {
    for (; !this.stopped; await sleep(25)) {
      const good = await this.attempt();
      if (good !== this.good) this.changes.push({ at: Date.now(), good });
    }
  }

  stop(): Promise<void> {
    this.stopped = true;
    return this.loop;
  }
}

/** One connection: `request` is sent, and something answered. */
function answers(at: number, request: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port: at, host: '127.0.0.1' }, () => socket.write(request));
    const end = (good: boolean): void => {
      socket.destroy();
      resolve(good);
    };
    // Nobody listening is told at once. A container on a busy machine may take seconds to answer.
    socket.setTimeout(5000, () => end(false));
    socket.on('data', () => end(true)).on('error', () => end(false));
    socket.on('close', () => end(false));
  });
}

/** What a container of {@link INSIDE} has noted. */
async function noted(name: string): Promise<Watch['changes']> {
  return (await docker('logs', name)).split('\n').map((line) => {
    const [at, word] = line.split(' ');
    return { at: Number(at), good: word === 'ok' };
  });
}

/** How long after `from` something works again that stopped to work before `to`; 0: it did not stop. */
function away(changes: Watch['changes'], from: number, to: number): number {
  const last = changes.findLastIndex(({ at, good }) => !good && at >= from && at < to);
  return last < 0 ? 0 : (changes[last + 1]?.at ?? Number.POSITIVE_INFINITY) - from;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-chaos-'));
  const source = fileURLToPath(new URL('../support/traffic.c', import.meta.url));
  execFileSync('gcc', ['-static', '-Os', '-s', '-D_GNU_SOURCE', '-o', join(directory, 'traffic'), source]);
  world = await openOutsideWorld();
  stack = await startMirroredStack(['busybox'], { hostdOptions: ['--standby'] });
  port = await freePort();
  await docker('network', 'create', 'front');
  const start = async (name: string, command: string[], ...options: string[]): Promise<void> => {
    await docker('create', '--name', name, '--network', 'front', ...options, 'busybox', ...command);
    await docker('cp', join(directory, 'traffic'), `${name}:/traffic`);
    await docker('start', name);
  };
  await start('web', ['/traffic', 'count', '80'], '-p', `127.0.0.1:${port}:80`, '-p', '80');
  await start('counter', ['/traffic', 'count', '7000']);
  const counter = await docker('inspect', '-f', '{{.NetworkSettings.Networks.front.IPAddress}}', 'counter');
  await start('follower', ['/traffic', 'follow', counter, '7000']);
  await start('names', ['/traffic', 'names', 'web']);
  for (const what of ['dial', 'take']) await start(what, ['/traffic', what, world.address, String(world.port)]);
});

afterAll(async () => {
  await stack?.stop();
  await world?.remove();
  rmSync(directory, { recursive: true, force: true });
});

it('works again after each part was killed; connections between containers do not break, and containers run on', async () => {
  const started = (): Promise<string> =>
    docker(
      'inspect',
      '-f',
      '{{.State.StartedAt}} {{.State.Status}} {{json .NetworkSettings.Ports}} {{json .NetworkSettings.Networks}}',
      'web',
      'counter',
      'follower',
      ...INSIDE,
    );
  const working = async (): Promise<boolean> =>
    (await Promise.all(INSIDE.map(noted))).every((changes) => changes.at(-1)!.good);
  await expect.poll(working).toBe(true);
  const before = await started();
  const api = new Watch(() => answers(stack.port, 'GET /_ping HTTP/1.0\r\n\r\n'));
  const published = new Watch(() => answers(port, ''));
  const hostdPort = Number(new URL(stack.login().url).port);
  const hostd = new Watch(async () => await fetchVersions(hostdPort));
  await expect.poll(() => api.good && published.good && hostd.good).toBe(true);
  const next = random(SEED);
  const kills: { part: string; at: number; by: string }[] = [];
  for (let round = 0; round < ROUNDS; round++)
    for (const part of shuffled(Object.keys(PARTS), next)) {
      await expect.poll(() => Object.values(PARTS).every((pid) => pid() !== 0)).toBe(true);
      const pid = PARTS[part]!();
      const ready = spares();
      const at = Date.now();
      process.kill(pid, 'SIGKILL');
      await sleep(500 + 1000 * next());
      await expect.poll(() => ![0, pid].includes(PARTS[part]!())).toBe(true);
      kills.push({ part, at, by: ready.includes(PARTS[part]!()) ? 'a spare' : 'a new one' });
      await expect.poll(() => api.good && published.good && hostd.good).toBe(true);
      await expect.poll(() => working().catch(() => false)).toBe(true);
    }
  expect(await started()).toBe(before);
  const changes: Record<string, Watch['changes']> = {
    api: api.changes,
    published: published.changes,
    hostd: hostd.changes,
  };
  for (const name of INSIDE) changes[name] = await noted(name);
  const table = kills.map(({ part, at, by }, index) => ({
    killed: part,
    'replaced by': by,
    ...Object.fromEntries(
      Object.entries(changes).map(([what, list]) => [what, away(list, at, kills[index + 1]?.at ?? Date.now())]),
    ),
  }));
  console.log(`back after so many ms (seed ${SEED}; 0: not interrupted)`);
  console.table(table);
  // What does not go through a part is not interrupted by its end.
  const followed = (await docker('logs', 'follower')).split('\n').map((line) => line.split(' '));
  expect(followed.map(([, word]) => word)).toEqual(followed.map(() => 'at'));
  expect(Number(followed.at(-1)![0])).toBeGreaterThan(kills.at(-1)!.at);
  for (const watch of [api, published, hostd]) await watch.stop();
  const first = 'nc web 80 | head -c 8 | od -An -tx1';
  expect(await docker('run', '--rm', '--network', 'front', 'busybox', 'sh', '-c', first)).toBe(
    '00 00 00 00 00 00 00 00',
  );
});

/** Whether hostd answers. */
async function fetchVersions(at: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port: at, host: '127.0.0.1' }, () => resolve(true));
    socket.on('error', () => resolve(false)).on('connect', () => socket.destroy());
  });
}
