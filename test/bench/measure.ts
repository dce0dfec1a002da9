/** Timing two engines in alternation, and summing up. */
import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';

/** An engine under test: what `DOCKER_HOST` names. */
export interface Engine {
  name: string;
  dockerHost: string;
  /** Registry with the benchmark's images, as this engine reaches it (`host:port`). */
  registry: string;
}

/** Times of one case on one engine, in ms. */
export interface Sample {
  median: number;
  min: number;
  max: number;
  runs: number;
}

/** A case's outcome; `ratio` is ours over the reference's median. */
export interface Outcome {
  name: string;
  unit: string;
  ours: Sample;
  reference: Sample | null;
  ratio: number | null;
}

/** Runs the docker CLI against an engine. @throws Error with its output when it fails */
export function docker(engine: Engine, ...args: string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('docker', args, {
      env: { ...process.env, DOCKER_HOST: engine.dockerHost },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let out = '';
    let err = '';
    child.stdout.on('data', (data: Buffer) => {
      // Only the beginning is looked at; `logs` benchmarks print a lot.
      if (out.length < 100_000) out += data.toString();
    });
    child.stderr.on('data', (data: Buffer) => {
      err = (err + data.toString()).slice(-4000);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(out.trim());
      else reject(new Error(`docker ${args.join(' ')} on ${engine.name}: exit ${code}: ${err.trim()}`));
    });
  });
}

/** Median, minimum and maximum. */
export function summarise(times: number[]): Sample {
  const sorted = [...times].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted[sorted.length - 1]!, runs: sorted.length };
}

/** A benchmark: prepared once per engine, run several times in alternation, cleaned up. */
export interface BenchCase {
  name: string;
  /** Counted runs (after one that is not counted). */
  runs: number;
  prepare?(engine: Engine): Promise<void>;
  /** Before each run, not timed. */
  before?(engine: Engine): Promise<void>;
  run(engine: Engine): Promise<unknown>;
  clean?(engine: Engine): Promise<void>;
}

/** Runs one case on all engines in turn (A B A B …), so that a drifting machine hits both alike. */
export async function runCase(bench: BenchCase, engines: Engine[]): Promise<Outcome> {
  const times = new Map<Engine, number[]>(engines.map((engine) => [engine, []]));
  try {
    for (const engine of engines) await bench.prepare?.(engine);
    for (let run = 0; run <= bench.runs; run++) {
      for (const engine of engines) {
        await bench.before?.(engine);
        const started = performance.now();
        await bench.run(engine);
        if (run > 0) times.get(engine)!.push(performance.now() - started);
      }
    }
  } finally {
    for (const engine of engines) await bench.clean?.(engine).catch(() => undefined);
  }
  const [ours, reference] = engines.map((engine) => summarise(times.get(engine)!));
  return {
    name: bench.name,
    unit: 'ms',
    ours: ours!,
    reference: reference ?? null,
    ratio: reference === undefined ? null : ours!.median / reference.median,
  };
}
