/** Every parser of untrusted input, with its corpus and a few new inputs; `npm run fuzz` runs for hours. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { randomOf } from '../../support/random.js';
import { fuzz, outcomeOf, readCorpus } from './engine.js';
import { parserTargets } from './targets.js';

const RUNS = Number(process.env.FUZZ_RUNS ?? 3000);
const SEED = Number(process.env.FUZZ_SEED ?? 1);
const corpus = fileURLToPath(new URL('../corpus', import.meta.url));

it.each(parserTargets.map((target) => [target.name, target] as const))('%s', async (name, target) => {
  const kept = readCorpus(join(corpus, name));
  for (const input of kept) await outcomeOf(target, input, randomOf(1));
  const { runs } = await fuzz(target, { runs: RUNS, seed: SEED, corpus: kept });
  expect(runs).toBeGreaterThanOrEqual(RUNS);
});
