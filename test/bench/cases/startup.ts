/** `npm start` after set-up, until the first container has run. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, run } from '../../support/stack.js';
import { type BenchCase, docker, type Engine } from '../measure.js';

interface Started {
  directory: string;
  engine: Engine;
  start: string[];
}

let started: Started | null = null;

/** One of `npm start`'s programs. @throws Error with what it printed */
async function npm(...args: string[]): Promise<void> {
  const outcome = await run(process.execPath, ['src/setup/bootstrap.mjs', ...args], { timeoutMs: 300_000 });
  if (outcome.code !== 0) throw new Error(`npm ${args[0]}: ${outcome.stderr}${outcome.stdout}`);
}

export const startupCases: BenchCase[] = [
  {
    name: 'npm start, second time, to the end of the first container',
    runs: 3,
    cold: true,
    oursOnly: true,
    prepare: async (engine) => {
      const directory = await mkdtemp(join(tmpdir(), 'caisson-bench-start-'));
      const [port, hostd] = [await freePort(), await freePort()];
      const addresses = ['--docker-address', `127.0.0.1:${port}`, '--hostd-address', `127.0.0.1:${hostd}`];
      const here = ['--state-dir', directory];
      started = {
        directory,
        engine: { ...engine, dockerHost: `tcp://127.0.0.1:${port}` },
        start: ['start', ...here, ...addresses, '--name', 'bench', '--bridge-network-range', '172.29.0.0/16'],
      };
      await npm(...started.start);
      await docker(started.engine, 'run', '--rm', `${engine.registry}/busybox:latest`, 'true');
    },
    before: () => npm('stop', '--state-dir', started!.directory),
    run: async (engine) => {
      await npm(...started!.start);
      await docker(started!.engine, 'run', '--rm', `${engine.registry}/busybox:latest`, 'true');
      return undefined;
    },
    clean: async () => {
      if (started === null) return;
      await npm('stop', '--state-dir', started.directory, '--remove');
      await rm(started.directory, { recursive: true, force: true });
      started = null;
    },
  },
];
