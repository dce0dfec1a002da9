/**
 * The whole engine for a test: hostd in its own process on a temporary state directory, a virtual container host made
 * with vic-machine, and a registry with the test images as its mirror. Can run beside a running `npm start`.
 */
import { spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { waitForDocker } from '../../src/cli/docker-probe.js';
import { runningHostd, startHostdProcess, stopHostdProcess } from '../../src/cli/hostd-process.js';
import { removeEngine, stopEngine } from '../../src/cli/stop-engine.js';
import type { Login } from '../../src/cli/target.js';
import { listVchs, powerOnVch } from '../../src/cli/vch.js';
import { type InstancePaths, instancePaths } from '../../src/common/paths.js';
import { VimClient } from '../../src/vim25/index.js';
import { expectNoneRefused, refusedSoFar } from './refused-calls.js';

/** The compiled program, even when this file itself runs compiled (in the benchmarks). */
const dist = fileURLToPath(new URL(import.meta.url.includes('/dist/test/') ? '../..' : '../../dist', import.meta.url));

/** A command's output and exit code. */
export interface Outcome {
  stdout: string;
  stderr: string;
  code: number;
}

/** Runs a command. `input` is its standard input; without it, there is none. */
export function run(
  command: string,
  args: string[],
  options: { input?: string | Buffer; env?: NodeJS.ProcessEnv; timeoutMs?: number } = {},
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, ...options.env },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 100_000);
    let stdout = '';
    let stderr = '';
    child.stdout?.on('data', (data: Buffer) => {
      stdout += data.toString();
    });
    child.stderr?.on('data', (data: Buffer) => {
      stderr += data.toString();
    });
    child.on('error', reject);
    child.on('close', (code) => {
      clearTimeout(timer);
      resolve({ stdout, stderr, code: code ?? -1 });
    });
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(options.input);
  });
}

const lastLines = (log: string): string => log.trim().split('\n').slice(-40).join('\n');

/** Ports that no kernel takes by itself, for connections and for listeners that do not care: those begin at 32768. */
const CHOSEN_PORTS = { first: 20_000, count: 10_000 };

/** A currently free TCP port, which nobody takes until the test does. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = CHOSEN_PORTS.first + randomInt(CHOSEN_PORTS.count);
    const server = createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, () => resolve(true));
    });
    if (!free) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
}

/** A running engine. */
export interface Stack {
  paths: InstancePaths;
  dockerHost: string;
  port: number;
  login(): Login;
  /** Runs the docker CLI. */
  docker(...args: string[]): Promise<Outcome>;
  dockerWith(options: { input?: string | Buffer; timeoutMs?: number }, ...args: string[]): Promise<Outcome>;
  /** Runs vic-machine against the embedded host. */
  vicMachine(...args: string[]): Promise<Outcome>;
  /** The same as a command, for one with input or output of its own, and its environment. */
  vicMachineCommand(...args: string[]): { command: [string, ...string[]]; env: NodeJS.ProcessEnv };
  /** Restarts hostd's process; VMs and the endpoint keep running. */
  restartHostd(): Promise<void>;
  /** Stops hostd and the endpoint like `npm stop`, and restarts them. @param meanwhile run while they are stopped */
  restart(meanwhile?: () => void): Promise<void>;
  endpointLog(): string;
  stop(): Promise<void>;
}

/** Starts the engine. @param mirror registry for unqualified image names. @param stateDir a new one, removed with it */
export async function startStack(
  options: { mirror?: string; createOptions?: string[]; hostdOptions?: string[]; stateDir?: string } = {},
): Promise<Stack> {
  const paths = instancePaths(options.stateDir ?? mkdtempSync(join(tmpdir(), 'caisson-stack-')));
  const port = await freePort();
  const dockerHost = `tcp://127.0.0.1:${port}`;
  const hostdOptions = options.hostdOptions ?? [];
  await startHostdProcess(paths, '127.0.0.1:0', hostdOptions);
  const login = (): Login => {
    const running = runningHostd(paths);
    if (running === null) throw new Error('hostd does not run');
    return running;
  };
  const vicMachineCommand: Stack['vicMachineCommand'] = (...args) => {
    const { url, user, password, thumbprint } = login();
    const target = ['--target', new URL(url).host, '--user', user, '--thumbprint', thumbprint];
    return {
      command: [process.execPath, join(dist, 'src/cli/vic-machine.js'), ...args, ...target],
      env: { VIC_MACHINE_PASSWORD: password },
    };
  };
  const vicMachine = async (...args: string[]): Promise<Outcome> => {
    const { command, env } = vicMachineCommand(...args);
    const [program, ...rest] = command;
    return run(program, rest, { env });
  };
  const stack: Stack = {
    paths,
    dockerHost,
    port,
    login,
    vicMachine,
    vicMachineCommand,
    docker: (...args) => stack.dockerWith({}, ...args),
    async dockerWith(how, ...args) {
      const env = { DOCKER_HOST: dockerHost, DOCKER_CONFIG: paths.stateDir };
      const outcome = await run('docker', args, { ...how, env });
      if (outcome.code !== -1) return outcome;
      // It was killed, since it took too long: what the engine did meanwhile tells why.
      const logs = [stack.endpointLog(), readFileSync(join(paths.stateDir, 'hostd.log'), 'utf8')].map(lastLines);
      return { ...outcome, stderr: [outcome.stderr, 'it took too long', ...logs].join('\n') };
    },
    async restartHostd() {
      const { host } = new URL(login().url);
      await stopHostdProcess(paths);
      await startHostdProcess(paths, host, hostdOptions);
    },
    async restart(meanwhile) {
      const { host } = new URL(login().url);
      await stopEngine(paths);
      meanwhile?.();
      await startHostdProcess(paths, host);
      const client = await VimClient.connect(login());
      try {
        for (const vch of await listVchs(client)) await powerOnVch(client, vch);
      } finally {
        await client.close();
      }
      await waitForDocker({ host: '127.0.0.1', port }, 60_000);
    },
    endpointLog() {
      const directory = join(paths.datastoreDir, readdirSync(paths.datastoreDir).find((name) => name === 'test') ?? '');
      return readFileSync(join(directory, 'endpoint.log'), 'utf8');
    },
    async stop() {
      const refused = await refusedSoFar(paths.stateDir);
      await removeEngine(paths);
      expectNoneRefused(refused);
    },
  };
  try {
    const created = await vicMachine(
      'create',
      '--name',
      'test',
      '--image-store',
      'datastore1',
      '--bridge-network',
      'test-bridge',
      '--no-tls',
      '--docker-address',
      `127.0.0.1:${port}`,
      '--channel-dir',
      join(paths.runDir, 'vch', 'test'),
      ...(options.mirror === undefined ? [] : ['--registry-mirror', `http://${options.mirror}`]),
      ...(options.createOptions ?? []),
    );
    if (created.code !== 0) throw new Error(`vic-machine create: ${created.stderr}`);
    return stack;
  } catch (error) {
    await stack.stop();
    throw error;
  }
}
