/** Many containers at once: none fails, and none waits for all others. */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startMirroredStack } from '../support/mirrored-stack.js';
import type { Stack } from '../support/stack.js';

const MANY = 30;
let stack: Stack;

beforeAll(async () => {
  stack = await startMirroredStack(['busybox']);
  await stack.docker('run', '--rm', 'busybox', 'true');
});

afterAll(() => stack?.stop());

const patient = { timeoutMs: 600_000 };
const all = <T>(body: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: MANY }, (_, index) => body(index)));

it(`${MANY} containers are created, started, queried and removed at once`, async () => {
  const created = await all((index) =>
    stack.dockerWith(patient, 'create', '--name', `many-${index}`, 'busybox', 'sleep', '1000'),
  );
  expect(created.filter(({ code }) => code !== 0)).toEqual([]);
  const began = performance.now();
  const started = await all(async (index) => {
    const { code, stderr } = await stack.dockerWith(patient, 'start', `many-${index}`);
    return { code, stderr, ms: performance.now() - began };
  });
  expect(started.filter(({ code }) => code !== 0)).toEqual([]);
  const times = started.map(({ ms }) => ms).sort((a, b) => a - b);
  console.log(
    `${((MANY / times.at(-1)!) * 1000).toFixed(1)} starts per second, the first after ${times[0]!.toFixed(0)} ms, the last after ${times.at(-1)!.toFixed(0)} ms`,
  );
  // One by one, not all of them at the end.
  expect(times[0]).toBeLessThan(times.at(-1)! * 0.6);
  const asked = await all((index) => stack.dockerWith(patient, 'exec', `many-${index}`, 'hostname', '-i'));
  expect(asked.filter(({ code }) => code !== 0)).toEqual([]);
  const addresses = asked.map(({ stdout }) => stdout.trim().split(' ')[0]);
  expect(new Set(addresses).size).toBe(MANY);
  const removed = await all((index) => stack.dockerWith(patient, 'rm', '-f', `many-${index}`));
  expect(removed.filter(({ code }) => code !== 0)).toEqual([]);
  expect((await stack.docker('ps', '-aq')).stdout).toBe('');
}, 900_000);
