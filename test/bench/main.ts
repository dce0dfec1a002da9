/**
 * `npm run bench [-- case …]`: our engine and, where one is named, a reference Docker Engine in alternation.
 *
 *   BENCH_REFERENCE_HOST      DOCKER_HOST of the reference engine; without it only ours is measured
 *   BENCH_REFERENCE_PREFIX    command that runs a program in the reference engine's network namespace (default: none), so that it
 *                             reaches a registry on loopback as ours does
 *
 * Prints a Markdown table and writes it with the raw numbers to test/bench/out/.
 */
import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../src/common/errors.js';
import { exitWith, prepareMachine } from '../../src/setup/prepare.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry } from '../support/registry/registry.js';
import { freePort, startStack } from '../support/stack.js';
import { cases } from './cases.js';
import { docker, type Engine, type Outcome, runCase } from './measure.js';
import { markdown } from './report.js';

try {
  await prepareMachine({ tests: true });
} catch (error) {
  exitWith(error);
}

const wanted = process.argv.slice(2);
const chosen = cases.filter((bench) => wanted.length === 0 || wanted.some((name) => bench.name.includes(name)));
if (chosen.length === 0)
  exitWith(new Error(`no such case; there are: ${cases.map((bench) => bench.name).join(' · ')}`));

const registry = await startRegistry();
await registry.push(await testImage('busybox'), 'busybox:latest');
await registry.push(await testImage('large'), 'bench100:latest');
const stack = await startStack();
const engines: Engine[] = [{ name: 'ours', dockerHost: stack.dockerHost, registry: registry.address }];
const referenceHost = process.env.BENCH_REFERENCE_HOST;
const stopReferenceRegistry = referenceHost === undefined ? null : await addReference(referenceHost);

const outcomes: Outcome[] = [];
try {
  for (const bench of chosen) {
    process.stderr.write(`→ ${bench.name} …`);
    try {
      const outcome = await runCase(bench, engines);
      outcomes.push(outcome);
      process.stderr.write(
        ` ${outcome.ours.median.toFixed(0)} ms${outcome.ratio === null ? '' : `, ratio ${outcome.ratio.toFixed(2)}`}\n`,
      );
    } catch (error) {
      process.stderr.write(` failed: ${messageOf(error)}\n`);
      process.exitCode = 1;
    }
  }
  const version = (engine: Engine): Promise<string> =>
    docker(engine, 'version', '-f', 'Docker API {{.Server.Version}}, kernel {{.Server.KernelVersion}}');
  const [ours, reference] = await Promise.all(engines.map(version));
  const table = markdown(outcomes, { ours: ours!, reference: reference ?? null });
  const out = join(process.cwd(), 'test', 'bench', 'out');
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'results.json'), JSON.stringify(outcomes, null, 2));
  await writeFile(join(out, 'results.md'), table);
  process.stdout.write(table);
} finally {
  await stopReferenceRegistry?.();
  await stack.stop();
  await registry.stop();
}

/** The reference engine with a registry of its own over the same store. Returns what stops that. */
async function addReference(dockerHost: string): Promise<() => Promise<void>> {
  const port = await freePort();
  const directory = await mkdtemp(join(tmpdir(), 'caisson-bench-'));
  const config = join(directory, 'registry.yml');
  await writeFile(
    config,
    `version: 0.1\nstorage: {filesystem: {rootdirectory: ${registry.storeDirectory}}}\nhttp: {addr: "127.0.0.1:${port}"}\n`,
  );
  const prefix = (process.env.BENCH_REFERENCE_PREFIX ?? '').split(' ').filter((part) => part !== '');
  const [command = '', ...args] = [...prefix, 'docker-registry', 'serve', config];
  const child = spawn(command, args, { stdio: 'ignore' });
  await sleep(1500);
  engines.push({ name: 'reference', dockerHost, registry: `127.0.0.1:${port}` });
  return async () => {
    child.kill();
    await rm(directory, { recursive: true, force: true });
  };
}
