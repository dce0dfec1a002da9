/**
 * A walk through the engine on the machine it runs on, as `npm run test:releases` and `npm run test:kvm` do it on others: start, pull,
 * run, a boot snapshot and a VM that goes on from it, the warm pool, exec, logs, stop and start of the engine with a container that
 * goes on, removal. Says each step; ends with 1 at the first that goes wrong.
 *
 *   node dist/test/releases/walk.js [kvm|tcg|auto]
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { instancePaths } from '../../src/common/paths.js';
import { testImage } from '../support/registry/images.js';
import { startRegistry } from '../support/registry/registry.js';
import { freePort } from '../support/stack.js';

/** Longest wait for what the engine does in the background, on a machine that is emulated itself. */
const PATIENCE_MS = 1_800_000;
const accel = process.argv[2] ?? 'auto';
const cli = (name: string): string => fileURLToPath(new URL(`../../src/cli/${name}.js`, import.meta.url));
const paths = instancePaths(mkdtempSync(join(tmpdir(), 'caisson-walk-')));
const socket = `unix://${join(paths.runDir, 'vch/default/docker.sock')}`;
const began = Date.now();

function say(text: string): void {
  process.stdout.write(`[${((Date.now() - began) / 1000).toFixed(1).padStart(6)} s] ${text}\n`);
}

/** Runs a command that must succeed. */
function run(command: string, args: string[], shown = false): string {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: 'utf8',
    env: { ...process.env, DOCKER_HOST: socket, DOCKER_CONFIG: paths.stateDir },
    stdio: ['ignore', 'pipe', shown ? 'inherit' : 'pipe'],
    timeout: PATIENCE_MS,
  });
  if (status !== 0)
    throw new Error(
      `'${command} ${args.join(' ')}' ended with ${status}: ${error ?? ''}${stderr ?? ''}${stdout ?? ''}`,
    );
  return stdout;
}

/** What the container writes when it starts, as soon as it is there. */
const FILE = 'until grep -q kept /file; do sleep 1; done 2>/dev/null; cat /file';

const docker = (...args: string[]): string => run('docker', args);

function expect(what: string, seen: string, wanted: RegExp): void {
  if (!wanted.test(seen)) throw new Error(`${what}: '${seen.trim()}' is not ${wanted}`);
  const line = seen.split('\n').find((one) => wanted.test(one)) ?? seen;
  say(`${what}: ${line.trim()}`);
}

/** What hostd has logged, one object a line. */
function hostdLog(): Record<string, unknown>[] {
  return readFileSync(join(paths.stateDir, 'hostd.log'), 'utf8')
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}

async function until(what: string, condition: () => boolean): Promise<void> {
  for (const deadline = Date.now() + PATIENCE_MS; !condition(); await sleep(200))
    if (Date.now() > deadline) throw new Error(`${what}: not within ${PATIENCE_MS / 1000} s`);
  say(what);
}

/** How the latest VM was started. */
function latest(): Record<string, unknown> {
  return hostdLog().findLast(({ msg }) => msg === 'VM started') ?? {};
}

/** How many VMs were started. */
const starts = (): number => hostdLog().filter(({ msg }) => msg === 'VM started').length;

const registry = await startRegistry();
let status = 0;
try {
  await registry.push(await testImage('busybox'), 'library/busybox:latest');
  const ports = [await freePort(), await freePort()];
  const start = (...more: string[]): string =>
    run(
      process.execPath,
      [
        cli('start'),
        ...['--state-dir', paths.stateDir, '--accel', accel, '--registry-mirror', `http://${registry.address}`],
        ...['--docker-address', `127.0.0.1:${ports[0]}`, '--hostd-address', `127.0.0.1:${ports[1]}`, ...more],
      ],
      true,
    );
  expect('start', start('--warm-pool', '0'), /Acceleration of the virtual machines: (kvm|tcg)/);
  expect('docker info', docker('info'), /Acceleration: (kvm|tcg)/);
  expect('docker info', docker('info'), /Cage: .*seccomp/);
  expect('run', docker('run', '--rm', 'busybox', 'echo', 'hello'), /^hello$/m);
  expect('kernel', docker('run', '--rm', 'busybox', 'uname', '-r'), /^\d+\.\d+/);
  await until('a boot snapshot was made', () => hostdLog().some(({ msg }) => msg === 'a boot snapshot was made'));
  expect('run again', docker('run', '--rm', 'busybox', 'echo', 'again'), /^again$/m);
  if (latest().resumed !== true) throw new Error(`the VM did not go on from the snapshot: ${JSON.stringify(latest())}`);
  docker('run', '-d', '--name', 'kept', 'busybox', 'sh', '-c', 'echo kept > /file; while :; do sleep 1; done');
  expect('exec', docker('exec', 'kept', 'sh', '-c', FILE), /^kept$/m);
  docker('pause', 'kept');
  docker('unpause', 'kept');
  expect('exec after a pause', docker('exec', 'kept', 'echo', 'on'), /^on$/m);
  const before = starts();
  run(process.execPath, [cli('stop'), '--state-dir', paths.stateDir], true);
  say('stopped; the container goes on');
  start('--warm-pool', '1');
  if (starts() !== before) throw new Error('the container was started anew');
  expect('exec after a restart of the engine', docker('exec', 'kept', 'sh', '-c', FILE), /^kept$/m);
  await until('a spare VM waits', () => readdirSync(join(paths.runDir, 'pool')).some((name) => name.endsWith('.rpc')));
  await until('the container of a spare VM', () => {
    docker('run', '--rm', 'busybox', 'true');
    return latest().spare === true;
  });
  docker('run', '-d', '--name', 'logged', 'busybox', 'echo', 'logged');
  docker('wait', 'logged');
  expect('logs', docker('logs', 'logged'), /^logged$/m);
  docker('restart', '-t', '0', 'kept');
  expect('exec after a restart of the container', docker('exec', 'kept', 'sh', '-c', FILE), /^kept$/m);
  docker('stop', '-t', '0', 'kept');
  const refused = hostdLog().filter(({ msg }) => msg === 'QEMU was refused system calls');
  if (refused.length > 0) throw new Error(`QEMU needs more of its cage: ${JSON.stringify(refused)}`);
  say('everything works');
} catch (error) {
  status = 1;
  process.stderr.write(`FAILED: ${error instanceof Error ? error.message : String(error)}\n`);
  for (const log of [join(paths.stateDir, 'hostd.log'), join(paths.datastoreDir, 'default', 'endpoint.log')])
    if (existsSync(log)) process.stderr.write(`${readFileSync(log, 'utf8').split('\n').slice(-30).join('\n')}\n`);
} finally {
  try {
    run(process.execPath, [cli('stop'), '--state-dir', paths.stateDir, '--remove']);
  } catch (error) {
    status = 1;
    process.stderr.write(`FAILED: ${error instanceof Error ? error.message : String(error)}\n`);
  }
  await registry.stop();
}
process.exit(status);
