/** Output and input. */
import { readFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { type BenchCase, docker, dockerWith, type Engine, type Figure } from '../measure.js';
import { busybox, havePulled, removeNamed } from './common.js';

const MEGABYTES = 200;
const BYTES = MEGABYTES * 1_000_000;
const BLOCK = 64_000;
const INPUT = Buffer.alloc(BYTES, 'input ');
/** A program that reads all its input; busybox's `wc -c` reads byte by byte. */
const SWALLOW = ['sh', '-c', 'cat > /dev/null'];
const LINE = 'a line of the log, sixty-four bytes long with its line feed...';

export const streamCases: BenchCase[] = [
  {
    name: `logs of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: async (engine) => {
      await havePulled(engine);
      const script = `yes "${LINE}" | head -c ${BYTES}`;
      await docker(engine, 'run', '-d', '--name', 'bench-logs', busybox(engine), 'sh', '-c', script);
      await docker(engine, 'wait', 'bench-logs');
    },
    run: (engine) => docker(engine, 'logs', 'bench-logs'),
    clean: (engine) => removeNamed(engine, 'bench-logs'),
  },
  {
    name: `attached output of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: havePulled,
    run: (engine) => docker(engine, 'run', '--rm', busybox(engine), ...zeros(BYTES)),
  },
  {
    name: `attached input of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: havePulled,
    run: (engine) => dockerWith(engine, { input: INPUT }, 'run', '-i', '--rm', busybox(engine), ...SWALLOW),
  },
  {
    name: `exec output of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: (engine) => runs(engine, 'bench-out'),
    run: (engine) => docker(engine, 'exec', 'bench-out', ...zeros(BYTES)),
    clean: (engine) => removeNamed(engine, 'bench-out'),
  },
  {
    name: `exec input of ${MEGABYTES} MB`,
    runs: 2,
    cold: true,
    prepare: (engine) => runs(engine, 'bench-in'),
    run: (engine) => dockerWith(engine, { input: INPUT }, 'exec', '-i', 'bench-in', ...SWALLOW),
    clean: (engine) => removeNamed(engine, 'bench-in'),
  },
  {
    name: '1 GB through attach, out',
    runs: 1,
    cold: true,
    prepare: havePulled,
    run: (engine) => withGrowth(engine, () => docker(engine, 'run', '--rm', busybox(engine), ...zeros(5 * BYTES))),
  },
  {
    name: '1 GB through attach, in',
    runs: 1,
    cold: true,
    prepare: havePulled,
    run: (engine) =>
      withGrowth(engine, () =>
        dockerWith(engine, { input: INPUT, times: 5 }, 'run', '-i', '--rm', busybox(engine), ...SWALLOW),
      ),
  },
];

/** Writes so many bytes in large blocks: an emulated busybox `head -c` spends most of its time on single bytes. */
function zeros(bytes: number): string[] {
  return ['dd', 'if=/dev/zero', `bs=${BLOCK}`, `count=${bytes / BLOCK}`, 'status=none'];
}

async function runs(engine: Engine, name: string): Promise<void> {
  await havePulled(engine);
  await docker(engine, 'run', '-d', '--name', name, busybox(engine), 'sleep', '100000');
}

/** The time that something takes, and the peak growth of the engine's own processes meanwhile. */
async function withGrowth(engine: Engine, body: () => Promise<unknown>): Promise<Record<string, Figure>> {
  const resident = (): number => engine.processes().reduce((sum, pid) => sum + residentMegabytes(pid), 0);
  const before = resident();
  let most = before;
  const timer = setInterval(() => {
    most = Math.max(most, resident());
  }, 200);
  const began = performance.now();
  try {
    await body();
  } finally {
    clearInterval(timer);
  }
  return {
    '': { value: performance.now() - began, unit: 'ms' },
    'growth of the engine’s processes': { value: most - before, unit: 'MB' },
  };
}

function residentMegabytes(pid: number): number {
  try {
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1000;
  } catch {
    // It has ended.
    return 0;
  }
}
