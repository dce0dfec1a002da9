/** An engine brought up by `npm start`, with its own state directory. */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type InstancePaths, instancePaths } from '../../src/common/paths.js';
import type { ClosedCheckout } from './closed-checkout.js';
import { freePort, type Outcome, run } from './stack.js';

const DIST = fileURLToPath(new URL('../../dist', import.meta.url));

/** What a user gets from `npm start`. */
export interface Started {
  paths: InstancePaths;
  socket: string;
  hostdPort: number;
  /** `npm start` again, with these options. */
  start(...options: string[]): Promise<Outcome>;
  stop(...options: string[]): Promise<Outcome>;
  docker(...args: string[]): Promise<Outcome>;
  /** The docker CLI as a non-root user in these groups. */
  dockerAs(groups: number[], ...args: string[]): Promise<Outcome>;
}

/** An unused user id. */
const SOMEBODY = '65533';

/** Starts it. @param options more options of `npm start`. @param checkout where to run it, by a shell with umask 077 */
export async function startEngine(
  options: string[],
  checkout?: ClosedCheckout,
): Promise<Started & { output: Outcome }> {
  const place = checkout === undefined ? {} : { CAISSON_CACHE_DIR: checkout.cache };
  const cli = (name: string, args: string[], how: { timeoutMs: number; env: NodeJS.ProcessEnv }): Promise<Outcome> => {
    const command = [process.execPath, join(checkout?.dist ?? DIST, 'src/cli', `${name}.js`), ...args];
    const script = `${checkout === undefined ? '' : 'umask 077; '}exec "$@"`;
    return run('sh', ['-c', script, 'sh', ...command], { ...how, env: { ...how.env, ...place } });
  };
  const paths = instancePaths(mkdtempSync(join(tmpdir(), 'caisson-started-')));
  const socket = join(paths.runDir, 'vch/default/docker.sock');
  const hostdPort = await freePort();
  const env = { DOCKER_HOST: `unix://${socket}`, DOCKER_CONFIG: '/nonexistent' };
  const start = (...more: string[]): Promise<Outcome> =>
    cli('start', ['--state-dir', paths.stateDir, '--hostd-address', `127.0.0.1:${hostdPort}`, ...more], {
      timeoutMs: 170_000,
      env: { SUDO_USER: 'alice', CAISSON_LOG_LEVEL: 'info' },
    });
  const output = await start('--warm-pool', '0', ...options);
  return {
    paths,
    socket,
    hostdPort,
    output,
    start,
    stop: (...more) => cli('stop', ['--state-dir', paths.stateDir, ...more], { timeoutMs: 120_000, env: {} }),
    docker: (...args) => run('docker', args, { env }),
    dockerAs: (groups, ...args) =>
      run(
        'setpriv',
        [
          ...['--reuid', SOMEBODY, '--regid', SOMEBODY, '--bounding-set=-all', '--inh-caps=-all'],
          ...(groups.length === 0 ? ['--clear-groups'] : ['--groups', groups.join()]),
          ...['docker', ...args],
        ],
        { env },
      ),
  };
}

/** TCP addresses on which a process listens. */
export async function listening(pid: number): Promise<string[]> {
  const { stdout } = await run('ss', ['-Hltnp']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(`pid=${pid},`))
    .map((line) => line.split(/\s+/)[3] ?? '');
}

/** The process of the endpoint of `default`. */
export function endpointPid(paths: InstancePaths, vch = 'default'): number {
  const file = join(paths.runDir, 'vch', vch, 'endpoint.json');
  return (JSON.parse(readFileSync(file, 'utf8')) as { pid: number }).pid;
}

/** The endpoints and porters that stand by. */
export function endpointSpares(paths: InstancePaths): number[] {
  const directory = join(paths.runDir, 'endpoint');
  return readdirSync(directory)
    .filter((name) => name.endsWith('.spare'))
    .flatMap((name) => {
      try {
        const both = JSON.parse(readFileSync(join(directory, name), 'utf8')) as Record<string, { pid: number }>;
        return Object.values(both).map(({ pid }) => pid);
      } catch {
        // They have just got their turn, or a new hostd has ended them.
        return [];
      }
    });
}

/** The porter, the relay and the server of names of an endpoint; null while they are starting. */
export function porterAndWorker(
  paths: InstancePaths,
  vch = 'default',
): { porter: number; worker: number; names: number } | null {
  try {
    const directory = join(paths.runDir, 'endpoint');
    const endpoint = endpointPid(paths, vch);
    const porter = readdirSync(directory)
      .filter((name) => name.endsWith('.pid'))
      .map(
        (name) => JSON.parse(readFileSync(join(directory, name), 'utf8')) as { pid: number; porter: { pid: number } },
      )
      .find(({ pid }) => pid === endpoint)!.porter.pid;
    const children = readFileSync(`/proc/${porter}/task/${porter}/children`, 'utf8').trim().split(' ').map(Number);
    const worker = children.find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8') === 'caisson-relay\n');
    const names = children.find((pid) =>
      readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('/gateway/names/main.js'),
    );
    return worker === undefined || names === undefined ? null : { porter, worker, names };
  } catch {
    return null;
  }
}
