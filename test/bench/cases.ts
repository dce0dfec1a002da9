/** What is measured, with the docker CLI from end to end. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchCase, docker, type Engine } from './measure.js';

const busybox = (engine: Engine): string => `${engine.registry}/busybox:latest`;
const large = (engine: Engine): string => `${engine.registry}/bench100:latest`;
const PS_CONTAINERS = 50;
const LOG_MEGABYTES = 20;

async function havePulled(engine: Engine): Promise<void> {
  await docker(engine, 'pull', '-q', busybox(engine));
}

async function removeNamed(engine: Engine, prefix: string): Promise<void> {
  const ids = await docker(engine, 'ps', '-aq', '--filter', `name=${prefix}`);
  if (ids !== '') await docker(engine, 'rm', '-f', ...ids.split('\n'));
}

export const cases: BenchCase[] = [
  {
    name: 'run --rm true',
    runs: 7,
    prepare: havePulled,
    run: (engine) => docker(engine, 'run', '--rm', busybox(engine), 'true'),
  },
  {
    name: 'create',
    runs: 7,
    prepare: havePulled,
    run: (engine) =>
      docker(engine, 'create', '--name', `bench-create-${process.hrtime.bigint()}`, busybox(engine), 'true'),
    clean: (engine) => removeNamed(engine, 'bench-create'),
  },
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
  {
    name: 'stop (obeys SIGTERM)',
    runs: 5,
    prepare: havePulled,
    before: async (engine) => {
      await removeNamed(engine, 'bench-stop');
      await docker(
        engine,
        'run',
        '-d',
        '--name',
        'bench-stop',
        busybox(engine),
        'sh',
        '-c',
        'trap "exit 0" TERM; echo ready; while :; do sleep 0.05; done',
      );
      // Before the trap is set the signal would be ignored, as for any process 1.
      while ((await docker(engine, 'logs', 'bench-stop')) !== 'ready') await sleep(20);
    },
    run: (engine) => docker(engine, 'stop', 'bench-stop'),
    clean: (engine) => removeNamed(engine, 'bench-stop'),
  },
  {
    name: 'pull, 3 layers, 100 MB',
    runs: 3,
    before: async (engine) => {
      await docker(engine, 'rmi', large(engine)).catch(() => '');
    },
    run: (engine) => docker(engine, 'pull', '-q', large(engine)),
    clean: async (engine) => {
      await docker(engine, 'rmi', large(engine));
    },
  },
  {
    name: `ps -a, ${PS_CONTAINERS} containers`,
    runs: 9,
    prepare: async (engine) => {
      await havePulled(engine);
      for (let i = 0; i < PS_CONTAINERS; i++)
        await docker(engine, 'create', '--name', `bench-ps-${i}`, busybox(engine), 'true');
    },
    run: (engine) => docker(engine, 'ps', '-a'),
    clean: (engine) => removeNamed(engine, 'bench-ps'),
  },
  {
    name: `logs of ${LOG_MEGABYTES} MB`,
    runs: 3,
    prepare: async (engine) => {
      await havePulled(engine);
      const script = `yes "a line of the log, sixty-four bytes long with its line feed..." | head -c ${LOG_MEGABYTES * 1_000_000}`;
      await docker(engine, 'run', '--name', 'bench-logs', busybox(engine), 'sh', '-c', script);
    },
    run: (engine) => docker(engine, 'logs', 'bench-logs'),
    clean: (engine) => removeNamed(engine, 'bench-logs'),
  },
];
