/** From `docker create` to `docker rm`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchCase, docker, dockerWith, type Engine } from '../measure.js';
import { atOnce, busybox, havePulled, OBEDIENT, removeNamed } from './common.js';

const PARALLEL_RUNS = 20;
const PARALLEL_STARTS = 50;

/** A case with a new container for each run, created by `docker …make`. */
function onFresh(name: string, title: string, make: string[], run: string[]): BenchCase {
  const container = `bench-${name}`;
  return {
    name: title,
    runs: 7,
    prepare: havePulled,
    before: async (engine) => {
      await removeNamed(engine, container);
      const [command = '', ...options] = make;
      await docker(engine, command, ...options, '--name', container, busybox(engine), 'sh', '-c', OBEDIENT);
      // Before the trap is set the signal would be ignored, as for any process 1.
      if (command === 'run') while ((await docker(engine, 'logs', container)) !== 'ready') await sleep(20);
      if (name === 'rm') await docker(engine, 'stop', container);
    },
    run: (engine) => docker(engine, ...run, container),
    clean: (engine) => removeNamed(engine, container),
  };
}

const run: BenchCase = {
  name: 'run --rm true',
  runs: 15,
  prepare: havePulled,
  run: (engine) => docker(engine, 'run', '--rm', busybox(engine), 'true'),
};

export const runCases: BenchCase[] = [
  run,
  { ...run, name: 'run --rm true, warm pool off', warmPool: 0 },
  {
    name: 'first output byte of run',
    runs: 9,
    prepare: havePulled,
    run: async (engine) => {
      const began = performance.now();
      let first = Number.NaN;
      const onOutput = (): void => {
        if (Number.isNaN(first)) first = performance.now() - began;
      };
      await dockerWith(engine, { onOutput }, 'run', '--rm', busybox(engine), 'echo', 'first');
      return { '': { value: first, unit: 'ms' } };
    },
  },
  {
    name: 'create',
    runs: 9,
    prepare: havePulled,
    run: (engine) =>
      docker(engine, 'create', '--name', `bench-create-${process.hrtime.bigint()}`, busybox(engine), 'true'),
    clean: (engine) => removeNamed(engine, 'bench-create'),
  },
  onFresh('start', 'start', ['create'], ['start']),
  {
    name: 'exec true',
    runs: 9,
    prepare: async (engine) => {
      await havePulled(engine);
      await docker(engine, 'run', '-d', '--name', 'bench-exec', busybox(engine), 'sleep', '600');
    },
    run: (engine) => docker(engine, 'exec', 'bench-exec', 'true'),
    clean: (engine) => removeNamed(engine, 'bench-exec'),
  },
  onFresh('stop', 'stop (obeys SIGTERM)', ['run', '-d'], ['stop']),
  onFresh('rm', 'rm', ['run', '-d'], ['rm']),
  {
    name: `${PARALLEL_RUNS} parallel run --rm true`,
    runs: 3,
    prepare: havePulled,
    run: async (engine) => {
      await atOnce(PARALLEL_RUNS, () => docker(engine, 'run', '--rm', busybox(engine), 'true'));
      return undefined;
    },
  },
  {
    name: `${PARALLEL_STARTS} parallel starts`,
    runs: 1,
    prepare: havePulled,
    before: async (engine) => {
      await removeNamed(engine, 'bench-many');
      for (let i = 0; i < PARALLEL_STARTS; i++)
        await docker(engine, 'create', '--name', `bench-many-${i}`, busybox(engine), 'sleep', '600');
    },
    run: parallelStarts,
    clean: (engine) => removeNamed(engine, 'bench-many'),
  },
];

async function parallelStarts(engine: Engine): ReturnType<BenchCase['run']> {
  const began = performance.now();
  const times = await atOnce(PARALLEL_STARTS, async (index) => {
    await docker(engine, 'start', `bench-many-${index}`);
    return performance.now() - began;
  });
  const all = Math.max(...times);
  return {
    '': { value: all, unit: 'ms' },
    'starts per second': { value: (PARALLEL_STARTS / all) * 1000, unit: '/s' },
    'the last after the first': { value: all - Math.min(...times), unit: 'ms' },
  };
}
