/**
 * `npm run fuzz [-- --minutes 60] [--target NAME…] [--seed N]`: fuzzes the guest's C (libFuzzer, guided by coverage;
 * clang is installed if missing) and the parsers of untrusted input (`parsers/engine.ts`), one after the other, each
 * for its share of the time. New inputs are added to `test/fuzz/corpus`; an input that causes a failure is saved in
 * `test/fuzz/out`, and ends the run with status 1.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { invalid } from '../../src/common/errors.js';
import { say } from '../../src/setup/console.js';
import { installPackages, run } from '../../src/setup/packages.js';
import { exitWith } from '../../src/setup/prepare.js';
import {
  buildGuestFuzzer,
  corpusOf,
  GUEST_TARGETS,
  type GuestTarget,
  guestCorpus,
  SANITIZER_OPTIONS,
} from './guest/build.js';
import { Finding, fuzz, readCorpus, writeCorpus } from './parsers/engine.js';
import { parserTargets } from './parsers/targets.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const out = join(root, 'test/fuzz/out');
const GUEST = 'guest-';
/** How many of a parser's new inputs are kept. */
const MOST_KEPT = 40;
/** libFuzzer is restarted after this many inputs: leftovers of the guest's processes add up. */
const RUNS_AT_ONCE = 2_000_000;

const options = new Command('npm run fuzz --')
  .description('Fuzzes what reads the words of strangers')
  .option('--minutes <n>', 'how long, for all targets together', '60')
  .option('--target <name...>', 'these alone; a name is found by its beginning')
  .option('--seed <n>', 'for the first inputs', String(Date.now() % 1_000_000))
  .parse()
  .opts<{ minutes: string; target?: string[]; seed: string }>();

/** Including its sanitizer libraries, whose package name contains the version. */
async function installClang(): Promise<void> {
  await installPackages(['clang']);
  const version = /version (\d+)/.exec(await run('clang', ['--version']))?.[1];
  await installPackages([`libclang-rt-${version}-dev`]);
}

/** @returns how many inputs were tried; null: one caused a failure */
function fuzzGuest(target: GuestTarget, program: string, seconds: number, seed: number): number | null {
  const work = join(out, `work-${target}`);
  mkdirSync(work, { recursive: true });
  mkdirSync(guestCorpus(target), { recursive: true });
  const libFuzzer = (...args: string[]): { status: number | null; stderr: string } =>
    spawnSync(
      program,
      [
        ...args,
        '-max_len=8192',
        '-timeout=30',
        '-rss_limit_mb=2048',
        `-artifact_prefix=${join(out, `${GUEST}${target}-`)}`,
      ],
      {
        encoding: 'utf8',
        env: { ...process.env, ...SANITIZER_OPTIONS },
        maxBuffer: 1 << 28,
      },
    );
  const end = Date.now() + seconds * 1000;
  let runs = 0;
  for (let round = 0; Date.now() < end; round++) {
    const left = Math.ceil((end - Date.now()) / 1000);
    const { status, stderr } = libFuzzer(
      `-max_total_time=${left}`,
      `-runs=${RUNS_AT_ONCE}`,
      `-seed=${seed + round}`,
      '-print_final_stats=1',
      work,
      guestCorpus(target),
    );
    runs += Number(/number_of_executed_units:\s*(\d+)/.exec(stderr)?.[1] ?? 0);
    if (status === 0) continue;
    say(stderr.split('\n').slice(-60).join('\n'));
    return null;
  }
  libFuzzer('-set_cover_merge=1', '-use_counters=0', guestCorpus(target), work);
  return runs;
}

async function fuzzParser(
  target: (typeof parserTargets)[number],
  seconds: number,
  seed: number,
): Promise<number | null> {
  const directory = corpusOf(target.name);
  const corpus = readCorpus(directory);
  try {
    const { runs, kept } = await fuzz(target, { until: Date.now() + seconds * 1000, seed, corpus });
    const room = Math.max(0, MOST_KEPT - corpus.length);
    writeCorpus(directory, kept.filter(({ length }) => length <= 4096).slice(0, room));
    return runs;
  } catch (error) {
    if (!(error instanceof Finding)) throw error;
    mkdirSync(out, { recursive: true });
    writeFileSync(join(out, `${target.name}-finding`), error.input);
    say(error.message);
    return null;
  }
}

try {
  const names = [...GUEST_TARGETS.map((name) => `${GUEST}${name}`), ...parserTargets.map(({ name }) => name)];
  const chosen = names.filter((name) => options.target?.some((wanted) => name.startsWith(wanted)) ?? true);
  const [minutes, seed] = [Number(options.minutes), Number(options.seed)];
  if (chosen.length === 0) throw invalid(`no such target; there are: ${names.join(' · ')}`);
  if (!(minutes > 0) || !Number.isSafeInteger(seed)) throw invalid('--minutes and --seed are numbers');
  if (chosen.some((name) => name.startsWith(GUEST))) await installClang();
  mkdirSync(out, { recursive: true });
  let [all, failed] = [0, 0];
  for (const name of chosen) {
    const seconds = (minutes * 60) / chosen.length;
    const guest = GUEST_TARGETS.find((one) => `${GUEST}${one}` === name);
    const parser = parserTargets.find((one) => one.name === name);
    let runs: number | null = 0;
    if (guest !== undefined)
      runs = fuzzGuest(guest, await buildGuestFuzzer(guest, 'libFuzzer', join(out, 'bin')), seconds, seed);
    else if (parser !== undefined) runs = await fuzzParser(parser, seconds, seed);
    if (runs === null) failed++;
    all += runs ?? 0;
    say(
      `${name.padEnd(16)} ${runs === null ? 'A FINDING' : `${runs} inputs`}, ${readdirSync(corpusOf(name)).length} kept`,
    );
  }
  say(
    `${all} inputs of ${chosen.length} targets, seed ${seed}${failed === 0 ? '' : `; findings at ${failed}, see ${out}`}`,
  );
  process.exitCode = failed === 0 ? 0 : 1;
} catch (error) {
  exitWith(error);
}
