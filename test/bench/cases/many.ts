/** Many containers at once. */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BenchCase, docker, type Engine, type Figure } from '../measure.js';
import { busybox, havePulled, removeNamed } from './common.js';

const LISTED = 500;
/** Number of concurrent starts. */
const AT_A_TIME = 8;
const SETTLE_MS = 10_000;
const WATCH_MS = 20_000;

/** @throws Error naming what is missing */
function field(text: string, pattern: RegExp): number {
  const found = pattern.exec(text)?.[1];
  if (found === undefined) throw new Error(`no ${pattern.source}`);
  return Number(found);
}

const availableMB = (): number => field(readFileSync('/proc/meminfo', 'utf8'), /^MemAvailable:\s+(\d+)/m) / 1000;

/** Busy time of the machine's processors, in seconds. */
function busySeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] = readFileSync('/proc/stat', 'utf8')
    .split('\n', 1)[0]!
    .split(/\s+/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq) / 100;
}

/** Proportional set size of processes, in MB. */
function memoryOf(processes: number[]): number {
  return processes.reduce((sum, pid) => {
    try {
      return sum + field(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'), /^Pss:\s+(\d+)/m) / 1000;
    } catch {
      return sum;
    }
  }, 0);
}

/** Runs `body` for each index, a few at a time. */
async function forAll(count: number, body: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < count) await body(next++);
  };
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
}

async function idle(engine: Engine, count: number): Promise<Record<string, Figure>> {
  const before = availableMB();
  const began = performance.now();
  await forAll(count, (index) =>
    docker(engine, 'run', '-d', '--name', `bench-idle-${index}`, busybox(engine), 'sleep', '100000'),
  );
  const took = performance.now() - began;
  await sleep(SETTLE_MS);
  const busy = busySeconds();
  await sleep(WATCH_MS);
  const cpu = ((busySeconds() - busy) / (WATCH_MS / 1000)) * 100;
  const memory = (before - availableMB()) / count;
  const engineMemory = memoryOf(engine.processes());
  let answered = 0;
  await forAll(count, async (index) => {
    if ((await docker(engine, 'exec', `bench-idle-${index}`, 'echo', `alive ${index}`)) === `alive ${index}`)
      answered++;
  });
  return {
    'memory of each': { value: memory, unit: 'MB' },
    'CPU of each': { value: cpu / count, unit: '% of a core' },
    'answer exec': { value: answered, unit: 'containers' },
    "the engine's processes": { value: engineMemory, unit: 'MB' },
    'runs per second': { value: (count / took) * 1000, unit: '/s' },
  };
}

const idleCase = (count: number): BenchCase => ({
  name: `${count} idle containers`,
  runs: 1,
  cold: true,
  prepare: havePulled,
  run: async (engine) => {
    try {
      return await idle(engine, count);
    } finally {
      // Before the other engine's turn: the figures are those of the whole machine.
      await removeNamed(engine, 'bench-idle');
      await sleep(SETTLE_MS);
    }
  },
  clean: (engine) => removeNamed(engine, 'bench-idle'),
});

export const manyCases: BenchCase[] = [
  {
    name: `ps -a, ${LISTED} containers`,
    runs: 9,
    prepare: async (engine) => {
      await havePulled(engine);
      await forAll(LISTED, (index) => docker(engine, 'create', '--name', `bench-ps-${index}`, busybox(engine), 'true'));
    },
    run: (engine) => docker(engine, 'ps', '-a'),
    clean: (engine) => removeNamed(engine, 'bench-ps'),
  },
  idleCase(10),
  idleCase(50),
  idleCase(200),
];
