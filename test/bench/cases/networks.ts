/** Published ports, throughput, and what networks cost. */
import { execFile, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { type BenchCase, docker, type Engine } from '../measure.js';
import { IPERF, netPrograms, SMALL_HTTP } from '../net/image.js';
import { busybox, havePulled, removeNamed } from './common.js';

const run = promisify(execFile);
const REQUESTS = '500';
const IPERF_PORT = 5201;
const OWN = ['--network', 'bench-own'];
const SETTLE_MS = 1500;
/** Engines whose next run begins with the network of its own. */
const ownFirst = new Set<string>();
const SECONDS = '5';
const image = (engine: Engine): string => `${engine.registry}/bench-net:latest`;

/** Runs a program where the engine's published ports are. */
async function beside(engine: Engine, ...command: string[]): Promise<string> {
  const [program = '', ...args] = [...engine.prefix, ...command];
  return (await run(program, args, { maxBuffer: 2 ** 24 })).stdout;
}

const published = async (engine: Engine, name: string, port: number): Promise<string> =>
  (await docker(engine, 'port', name, `${port}/tcp`)).split('\n')[0]!.split(':').at(-1)!;

const addressOf = (engine: Engine, name: string): Promise<string> =>
  docker(engine, 'inspect', '-f', '{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}', name);

/** What the receiver got, from iperf3's JSON. */
function gigabits(json: string): { value: number; unit: string } {
  const { end, error } = JSON.parse(json) as { error?: string; end: { sum_received: { bits_per_second: number } } };
  if (error !== undefined) throw new Error(`iperf3: ${error}`);
  return { value: end.sum_received.bits_per_second / 1e9, unit: 'Gb/s' };
}

/** An iperf3 server in a container. */
async function iperfServer(engine: Engine, name: string, ...options: string[]): Promise<void> {
  await removeNamed(engine, name);
  await docker(engine, 'run', '-d', '--name', name, ...options, image(engine), ...IPERF, '-s', '--forceflush');
  while (!(await docker(engine, 'logs', name)).includes('Server listening')) await sleep(100);
}

const client = (host: string, port: string | number, more: string[] = []): string[] => [
  ...['-c', host, '-p', String(port), '-t', SECONDS, '-J', ...more],
];

const microseconds = (line: string) => ({ value: Number(line.trim().split(' ')[0]), unit: 'µs' });

async function haveNetwork(engine: Engine, name: string): Promise<void> {
  await docker(engine, 'network', 'rm', name).catch(() => '');
  await docker(engine, 'network', 'create', name);
}

export const networkCases: BenchCase[] = [
  {
    name: 'small HTTP request by a published port, one connection',
    runs: 5,
    prepare: async (engine) => {
      await removeNamed(engine, 'bench-http');
      await docker(engine, 'run', '-d', '--name', 'bench-http', '-p', '127.0.0.1::80', image(engine));
      await sleep(500);
    },
    run: async (engine) => {
      const { smallHttp } = await netPrograms();
      const port = await published(engine, 'bench-http', 80);
      const outside = await beside(engine, smallHttp, 'ask', '127.0.0.1', port, REQUESTS);
      const inside = await docker(engine, 'exec', 'bench-http', SMALL_HTTP, 'ask', '127.0.0.1', '80', REQUESTS);
      return { '': microseconds(outside), 'asked from inside the container': microseconds(inside) };
    },
    clean: (engine) => removeNamed(engine, 'bench-http'),
  },
  {
    name: 'throughput host → container',
    runs: 3,
    prepare: (engine) => iperfServer(engine, 'bench-iperf', '-p', `127.0.0.1::${IPERF_PORT}`),
    run: async (engine) => {
      const { iperf } = await netPrograms();
      const port = await published(engine, 'bench-iperf', IPERF_PORT);
      return {
        '': gigabits(await beside(engine, ...iperf, ...client('127.0.0.1', port))),
        'and back': gigabits(await beside(engine, ...iperf, ...client('127.0.0.1', port, ['-R']))),
      };
    },
    clean: (engine) => removeNamed(engine, 'bench-iperf'),
  },
  {
    name: 'throughput container → container',
    runs: 3,
    prepare: async (engine) => {
      await removeNamed(engine, 'bench-iperf');
      await haveNetwork(engine, 'bench-between');
      await iperfServer(engine, 'bench-iperf', '--network', 'bench-between');
    },
    run: async (engine) => {
      const to = await addressOf(engine, 'bench-iperf');
      const options = ['run', '--rm', '--network', 'bench-between', image(engine), ...IPERF];
      return { '': gigabits(await docker(engine, ...options, ...client(to, IPERF_PORT))) };
    },
    clean: async (engine) => {
      await removeNamed(engine, 'bench-iperf');
      await docker(engine, 'network', 'rm', 'bench-between');
    },
  },
  {
    // Through the same relay as all that leaves; a machine that tests run on need not have another one to talk to.
    name: 'throughput container → machine',
    runs: 3,
    createOptions: ['--allow-host-ports', String(IPERF_PORT)],
    run: async (engine) => {
      const [program = '', ...args] = [
        ...engine.prefix,
        ...(await netPrograms()).iperf,
        '-s',
        '-p',
        String(IPERF_PORT),
      ];
      const server = spawn(program, args, { stdio: 'ignore', detached: true });
      try {
        await sleep(1000);
        const options = ['run', '--rm', '--add-host', 'machine:host-gateway', image(engine), ...IPERF];
        return { '': gigabits(await docker(engine, ...options, ...client('machine', IPERF_PORT))) };
      } finally {
        // The prefix may have started it as a child of its own.
        if (server.pid !== undefined) process.kill(-server.pid, 'SIGKILL');
      }
    },
  },
  {
    name: 'network create + rm',
    runs: 7,
    run: async (engine) => {
      await docker(engine, 'network', 'create', 'bench-made');
      return docker(engine, 'network', 'rm', 'bench-made');
    },
  },
  {
    name: 'network connect of a running container',
    runs: 5,
    prepare: async (engine) => {
      await havePulled(engine);
      await removeNamed(engine, 'bench-connected');
      await haveNetwork(engine, 'bench-joined');
      await docker(engine, 'run', '-d', '--name', 'bench-connected', busybox(engine), 'sleep', '600');
    },
    before: async (engine) => {
      await docker(engine, 'network', 'disconnect', 'bench-joined', 'bench-connected').catch(() => '');
    },
    run: (engine) => docker(engine, 'network', 'connect', 'bench-joined', 'bench-connected'),
    clean: async (engine) => {
      await removeNamed(engine, 'bench-connected');
      await docker(engine, 'network', 'rm', 'bench-joined');
    },
  },
  {
    name: 'run --rm true with a network of its own',
    runs: 9,
    prepare: async (engine) => {
      await havePulled(engine);
      await haveNetwork(engine, 'bench-own');
    },
    run: async (engine) => {
      const timed = async (...options: string[]) => {
        // What the last run left to be done behind it is not part of the next.
        await sleep(SETTLE_MS);
        const began = performance.now();
        await docker(engine, 'run', '--rm', ...options, busybox(engine), 'true');
        return { value: performance.now() - began, unit: 'ms' };
      };
      // In turns: neither is always the first.
      const ownNow = ownFirst.delete(engine.name);
      if (!ownNow) ownFirst.add(engine.name);
      const [first, second] = ownNow ? [OWN, []] : [[], OWN];
      const took = [await timed(...first), await timed(...second)];
      const [own, plain] = ownNow ? took : took.reverse();
      return { '': own!, 'on the default one': plain! };
    },
    clean: async (engine) => {
      await docker(engine, 'network', 'rm', 'bench-own');
    },
  },
];
