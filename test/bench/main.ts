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
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../../src/common/errors.js';
import { exitWith, prepareMachine } from '../../src/setup/prepare.js';
import { manyFilesTar, testImage } from '../support/registry/images.js';
import { startRegistry } from '../support/registry/registry.js';
import { freePort, type Stack, startStack } from '../support/stack.js';
import { cases } from './cases/index.js';
import { networkCases } from './cases/networks.js';
import { type BenchCase, docker, type Engine, type Outcome, runCase } from './measure.js';
import { netPrograms } from './net/image.js';
import { brief, markdown } from './report.js';

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
await registry.push(await testImage('many-files'), 'bench100k:latest');
const manyFiles = (await manyFilesTar()).path;
await registry.push(await testImage('many-layers'), 'bench124:latest');
const net = chosen.some((bench) => networkCases.includes(bench)) ? await netPrograms() : null;
if (net !== null) await registry.push(net.image, 'bench-net:latest');
const referenceHost = process.env.BENCH_REFERENCE_HOST;
const reference = referenceHost === undefined ? null : await startReference(referenceHost);

/** Our running engine: only one at a time, so that an idle one does not disturb another. */
const ours: { running: { stack: Stack; how: string } | null } = { running: null };

async function engines(bench: BenchCase): Promise<Engine[]> {
  const { warmPool, createOptions = [] } = bench;
  const how = JSON.stringify([warmPool, createOptions]);
  if (ours.running?.how !== how) {
    await ours.running?.stack.stop();
    ours.running = null;
    const hostdOptions = warmPool === undefined ? [] : ['--warm-pool', String(warmPool)];
    ours.running = { stack: await startStack({ hostdOptions, createOptions }), how };
  }
  const { stack } = ours.running;
  const engine: Engine = {
    name: 'ours',
    dockerHost: stack.dockerHost,
    registry: registry.address,
    prefix: [],
    root: stack.paths.stateDir,
    manyFiles,
    processes: () => processes((args) => args[0]?.endsWith('node') === true && args.some((arg) => belongs(arg, stack))),
  };
  return reference === null ? [engine] : [engine, reference.engine];
}

const belongs = (arg: string, { paths }: Stack): boolean =>
  arg.startsWith(paths.stateDir) || arg.startsWith(paths.runDir);

const outcomes: Outcome[] = [];
try {
  for (const bench of chosen) {
    process.stderr.write(`→ ${bench.name} …`);
    try {
      const measured = await runCase(bench, await engines(bench));
      outcomes.push(...measured);
      process.stderr.write(` ${measured.map(brief).join('; ')}\n`);
    } catch (error) {
      process.stderr.write(` failed: ${messageOf(error)}\n`);
      process.exitCode = 1;
    }
  }
  const version = (engine: Engine): Promise<string> =>
    docker(
      engine,
      'version',
      '-f',
      '{{.Server.Version}} (API {{.Server.APIVersion}}), kernel {{.Server.KernelVersion}}',
    );
  const [versionOfOurs, versionOfReference] = await Promise.all((await engines(chosen.at(-1)!)).map(version));
  const table = markdown(outcomes, { ours: versionOfOurs!, reference: versionOfReference ?? null });
  const out = join(process.cwd(), 'test', 'bench', 'out');
  await mkdir(out, { recursive: true });
  await writeFile(join(out, 'results.json'), JSON.stringify(outcomes, null, 2));
  await writeFile(join(out, 'results.md'), table);
  process.stdout.write(table);
} finally {
  await reference?.stop();
  await ours.running?.stack.stop();
  await registry.stop();
  await net?.remove();
}

/** The reference engine with its own registry over the same store. */
async function startReference(dockerHost: string): Promise<{ engine: Engine; stop(): Promise<void> }> {
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
  const engine: Engine = {
    name: 'reference',
    dockerHost,
    registry: `127.0.0.1:${port}`,
    prefix,
    root: '',
    manyFiles,
    processes: () => processes(([program = '']) => /(^|\/)(dockerd|containerd)$/.test(program)),
  };
  engine.root = await docker(engine, 'info', '-f', '{{.DockerRootDir}}');
  return {
    engine,
    stop: async () => {
      child.kill();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Processes of this machine whose arguments match. */
function processes(wanted: (args: string[]) => boolean): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return pid !== process.pid && wanted(readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0'));
      } catch {
        return false;
      }
    });
}
