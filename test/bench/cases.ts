/** What is measured, with the docker CLI from end to end. */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchCase, docker, type Engine } from './measure.js';

const busybox = (engine: Engine): string => `${engine.registry}/busybox:latest`;
const large = (engine: Engine): string => `${engine.registry}/bench100:latest`;
const PS_CONTAINERS = 50;
const LOG_MEGABYTES = 20;
const COPY_MEGABYTES = 200;

/** Files to copy, made once and removed at the end of the process. */
let copied: string | null = null;
function filesToCopy(): string {
  if (copied !== null && existsSync(copied)) return copied;
  const directory = mkdtempSync(join(tmpdir(), 'caisson-bench-copy-'));
  process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
  writeFileSync(join(directory, 'large'), Buffer.alloc(COPY_MEGABYTES * 1_000_000, 'what is copied '));
  copied = directory;
  return directory;
}

/** Copies in and out, and a commit, of a container that runs or not. */
function copyCases(what: 'running' | 'stopped'): BenchCase[] {
  const name = `bench-copy-${what}`;
  const prepare = async (engine: Engine): Promise<void> => {
    await havePulled(engine);
    await removeNamed(engine, name);
    const start = what === 'running' ? ['run', '-d'] : ['create'];
    await docker(engine, ...start, '--name', name, busybox(engine), 'sleep', '600');
    await docker(engine, 'cp', join(filesToCopy(), 'large'), `${name}:/large`);
  };
  const one = (title: string, run: (engine: Engine) => Promise<string>): BenchCase => ({
    name: `${title}, ${what}`,
    runs: 3,
    prepare,
    run,
    clean: (engine) => removeNamed(engine, name),
  });
  return [
    one(`cp ${COPY_MEGABYTES} MB in`, (engine) => docker(engine, 'cp', join(filesToCopy(), 'large'), `${name}:/large`)),
    one(`cp ${COPY_MEGABYTES} MB out`, (engine) =>
      docker(engine, 'cp', `${name}:/large`, join(filesToCopy(), `out-${engine.name}`)),
    ),
    one('diff', (engine) => docker(engine, 'diff', name)),
    one(`commit of ${COPY_MEGABYTES} MB`, async (engine) => {
      const id = await docker(engine, 'commit', name);
      await docker(engine, 'rmi', id);
      return id;
    }),
  ];
}

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
  ...copyCases('running'),
  ...copyCases('stopped'),
];
