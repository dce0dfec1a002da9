/** Measures two engines in alternation, and summarises. */
import { spawn } from 'node:child_process';
import { performance } from 'node:perf_hooks';
import { Readable } from 'node:stream';

/** An engine under test: what `DOCKER_HOST` names. */
export interface Engine {
  name: string;
  dockerHost: string;
  /** Address of the registry with the benchmark's images for this engine (`host:port`). */
  registry: string;
  /** What runs a program where the engine publishes its ports; empty: this machine. */
  prefix: string[];
  /** A tar of 100,000 small files. */
  manyFiles: string;
  /** Where it keeps images and containers. */
  root: string;
  /** Process ids of the engine itself, without its containers. */
  processes(): number[];
}

/** Figures of one case on one engine. */
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

/** A figure other than the time of a run. */
export interface Figure {
  value: number;
  unit: string;
}

/** A benchmark: prepared once per engine, run several times in alternation, cleaned up. */
export interface BenchCase {
  name: string;
  /** Counted runs (after an uncounted one, unless `cold`). */
  runs: number;
  /** No uncounted first run. */
  cold?: boolean;
  /** There is nothing to compare it with. */
  oursOnly?: boolean;
  /** Size of our warm pool, if not the default. */
  warmPool?: number;
  /** Options that our virtual container host is made with. */
  createOptions?: string[];
  prepare?(engine: Engine): Promise<void>;
  /** Before each run, not timed. */
  before?(engine: Engine): Promise<void>;
  /** @returns figures by name ('': the case's own); for anything else, the time it took in ms is the figure */
  run(engine: Engine): Promise<Record<string, Figure> | string | undefined>;
  clean?(engine: Engine): Promise<void>;
}

/** Runs the docker CLI against an engine. @throws Error with its output when it fails */
export function docker(engine: Engine, ...args: string[]): Promise<string> {
  return dockerWith(engine, {}, ...args);
}

/**
 * The same.
 * @param options.input its standard input, repeated `times` times
 * @param options.onOutput called for each piece of output
 */
export function dockerWith(
  engine: Engine,
  options: { input?: Buffer; times?: number; onOutput?: (bytes: number) => void },
  ...args: string[]
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('docker', args, {
      env: { ...process.env, DOCKER_HOST: engine.dockerHost },
      stdio: [options.input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    const beginning: Buffer[] = [];
    let kept = 0;
    let err = '';
    child.stdout?.on('data', (data: Buffer) => {
      options.onOutput?.(data.length);
      // Only the beginning is kept; some commands print a lot.
      if (kept > 100_000) return;
      kept += data.length;
      beginning.push(data);
    });
    child.stderr?.on('data', (data: Buffer) => {
      err = (err + data.toString()).slice(-4000);
    });
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(beginning).toString().trim());
      else reject(new Error(`docker ${args.join(' ')} on ${engine.name}: exit ${code}: ${err.trim()}`));
    });
    child.stdin?.on('error', () => undefined);
    if (child.stdin !== null) Readable.from(repeat(options.input, options.times ?? 1)).pipe(child.stdin);
  });
}

function* repeat(input: Buffer | undefined, times: number): Generator<Buffer> {
  for (let i = 0; i < times && input !== undefined; i++) yield input;
}

/** Median, minimum and maximum. */
export function summarise(figures: number[]): Sample {
  const sorted = [...figures].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { median, min: sorted[0]!, max: sorted[sorted.length - 1]!, runs: sorted.length };
}

/** Runs one case on all engines in turn (A B A B …), so that a drifting machine affects both alike. */
export async function runCase(bench: BenchCase, all: Engine[]): Promise<Outcome[]> {
  const engines = bench.oursOnly === true ? all.slice(0, 1) : all;
  const figures = new Map<string, { unit: string; values: Map<Engine, number[]> }>();
  const note = (engine: Engine, name: string, { value, unit }: Figure): void => {
    const known = figures.get(name) ?? { unit, values: new Map<Engine, number[]>() };
    figures.set(name, known);
    known.values.set(engine, [...(known.values.get(engine) ?? []), value]);
  };
  try {
    for (const engine of engines) await bench.prepare?.(engine);
    for (let run = bench.cold === true ? 1 : 0; run <= bench.runs; run++) {
      for (const engine of engines) {
        await bench.before?.(engine);
        const started = performance.now();
        const result = await bench.run(engine);
        const took = performance.now() - started;
        if (run === 0) continue;
        const measured = typeof result === 'object' ? result : { '': { value: took, unit: 'ms' } };
        for (const [name, figure] of Object.entries(measured)) note(engine, name, figure);
      }
    }
  } finally {
    for (const engine of engines) await bench.clean?.(engine).catch(() => undefined);
  }
  return [...figures].map(([name, { unit, values }]) => {
    const [ours, reference] = engines.map((engine) => summarise(values.get(engine) ?? [Number.NaN]));
    return {
      name: name === '' ? bench.name : `${bench.name}: ${name}`,
      unit,
      ours: ours!,
      reference: reference ?? null,
      ratio: reference === undefined || reference.median === 0 ? null : ours!.median / reference.median,
    };
  });
}
