/**
 * The reference engine's recorded answers, `recorded/<subject>.generated.json`: by case, by step. What a script printed depends on the
 * CLI: it is kept by the CLI's major version.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Case, isScript, type Subject } from './case.js';
import type { Outcome } from './engine-side.js';

type Recorded = Record<string, Record<string, Outcome>>;

const pathOf = (subject: string): string =>
  fileURLToPath(new URL(`recorded/${subject}.generated.json`, import.meta.url));

const keyOf = (one: Case, index: number, cli: number): string =>
  isScript(one.steps[index]!) ? `${index} with docker ${cli}` : `${index}`;

/** Reads a subject's; a subject that was never recorded has none. */
function read(subject: string): Recorded {
  const path = pathOf(subject);
  return existsSync(path) ? (JSON.parse(readFileSync(path, 'utf8')) as Recorded) : {};
}

/** The recorded outcome of every step of a case; undefined if there is none for this CLI. */
export function recordedOutcomes(subject: string, one: Case, cli: number): (Outcome | undefined)[] {
  const known = read(subject)[one.name] ?? {};
  return one.steps.map((_step, index) => known[keyOf(one, index, cli)]);
}

/** Keeps what was played, and what is known with other CLIs of the same steps. */
export function record(subject: Subject, played: Map<string, Outcome[]>, cli: number): void {
  const before = read(subject.name);
  const after: Recorded = {};
  for (const one of subject.cases) {
    const outcomes = played.get(one.name);
    // A case may have lost steps since.
    const others = Object.entries(before[one.name] ?? {}).filter(
      ([key]) =>
        Number.parseInt(key, 10) < one.steps.length &&
        (outcomes === undefined || (key.includes('with') && key !== keyOf(one, Number.parseInt(key, 10), cli))),
    );
    const kept: Record<string, Outcome> = Object.fromEntries(others);
    for (const [index, outcome] of (outcomes ?? []).entries())
      if (!one.steps[index]!.quiet) kept[keyOf(one, index, cli)] = outcome;
    after[one.name] = kept;
  }
  writeFileSync(pathOf(subject.name), `${JSON.stringify(after, null, 1)}\n`);
}
