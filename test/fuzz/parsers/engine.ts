/**
 * Fuzzes one parser: inputs are mutated from seeds and earlier inputs, and one that gives a new outcome is kept and
 * built on. An outcome is a coarse view of the result, or the message of the refusal. (V8's coverage would tell more,
 * but cost a hundred times as much.)
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CaissonError, messageOf } from '../../../src/common/errors.js';
import { type Random, randomOf } from '../../support/random.js';
import { MAX_INPUT, mutate } from './mutate.js';

/** A parser, and what is known about its inputs. */
export interface Target {
  name: string;
  seeds: readonly Buffer[];
  /** Typical pieces of inputs. */
  tokens: readonly (string | Buffer)[];
  /** Expected errors besides CaissonError. */
  refusals?: readonly (new (
    ...args: never[]
  ) => Error)[];
  /**
   * Parses, and checks what must hold. @returns an outcome in a few words
   * @throws what the parser throws; anything but an answer is a finding
   */
  run(input: Buffer, random: Random): string | Promise<string>;
}

/** An input that a parser failed on. */
export class Finding extends Error {
  constructor(
    readonly target: string,
    readonly input: Buffer,
    readonly why: unknown,
  ) {
    super(
      `${target}: ${why instanceof Error ? (why.stack ?? why.message) : String(why)}\ninput (base64): ${input.toString('base64')}`,
    );
  }
}

/** No parser may take this long for an input of this size, on any machine. */
const HANGS_MS = 20_000;
const MOST_KEPT = 2000;

/** How long to run, and where to start. */
export interface Limits {
  runs?: number;
  until?: number;
  seed: number;
  /** Inputs kept from earlier runs. */
  corpus?: readonly Buffer[];
}

/** @returns how many inputs were tried, and those that found something new @throws Finding */
export async function fuzz(target: Target, limits: Limits): Promise<{ runs: number; kept: Buffer[] }> {
  const random = randomOf(limits.seed);
  const outcomes = new Set<string>();
  const pool: Buffer[] = [...target.seeds, ...(limits.corpus ?? [])].map((one) =>
    Buffer.from(one.subarray(0, MAX_INPUT)),
  );
  const kept: Buffer[] = [];
  let runs = 0;
  const attempt = async (input: Buffer): Promise<boolean> => {
    runs++;
    const outcome = await outcomeOf(target, input, random);
    if (outcomes.has(outcome) || outcomes.size >= MOST_KEPT) return false;
    outcomes.add(outcome);
    return true;
  };
  for (const input of [...pool]) await attempt(input);
  while (
    runs < (limits.runs ?? Number.POSITIVE_INFINITY) &&
    (runs % 256 !== 0 || Date.now() < (limits.until ?? Number.POSITIVE_INFINITY))
  ) {
    const input = mutate(pool, target.tokens, random);
    if (!(await attempt(input))) continue;
    pool.push(input);
    kept.push(input);
  }
  return { runs, kept };
}

/** One input. @throws Finding */
export async function outcomeOf(target: Target, input: Buffer, random: Random): Promise<string> {
  const began = performance.now();
  try {
    const result = target.run(input, random);
    return typeof result === 'string' ? result : await result;
  } catch (error) {
    if (!(error instanceof CaissonError) && !target.refusals?.some((refusal) => error instanceof refusal))
      throw new Finding(target.name, input, error);
    // Names and numbers in it come from the input.
    return messageOf(error)
      .replace(/["'`].*["'`]|[\d.]+/g, '#')
      .slice(0, 60);
  } finally {
    if (performance.now() - began > HANGS_MS) {
      // biome-ignore lint/correctness/noUnsafeFinally: an answer that late does not count
      throw new Finding(target.name, input, new Error('it takes too long'));
    }
  }
}

/** The inputs in a directory; none if it does not exist. */
export function readCorpus(directory: string): Buffer[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .sort()
    .map((name) => readFileSync(join(directory, name)));
}

/** Adds inputs to a directory, each by its digest. */
export function writeCorpus(directory: string, inputs: readonly Buffer[]): void {
  mkdirSync(directory, { recursive: true });
  for (const input of inputs)
    writeFileSync(join(directory, createHash('sha256').update(input).digest('hex').slice(0, 16)), input);
}
