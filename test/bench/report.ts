/** The results as a Markdown table and as JSON. */
import { cpus, totalmem } from 'node:os';
import type { Outcome, Sample } from './measure.js';

const ms = (sample: Sample): string => `${format(sample.median)} (${format(sample.min)}–${format(sample.max)})`;

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

/** The machine, in one line. */
export function machine(): string {
  return `${cpus().length} × ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${Math.round(totalmem() / 2 ** 30)} GiB`;
}

/** A table of medians with minimum–maximum, and ours over the reference's. */
export function markdown(outcomes: Outcome[], versions: { ours: string; reference: string | null }): string {
  const lines = [
    '# Benchmark results',
    '',
    `${new Date().toISOString().slice(0, 10)} on ${machine()}. Ours: ${versions.ours}. Reference: ${versions.reference ?? 'none'}.`,
    'Whole docker CLI calls in milliseconds, engines in alternation, median (minimum–maximum); ratio = ours / reference, below 1 is faster. Repeat with `npm run bench`.',
    '',
    '| case | ours | reference | ratio |',
    '|---|---|---|---|',
  ];
  for (const outcome of outcomes) {
    const reference = outcome.reference === null ? '–' : ms(outcome.reference);
    lines.push(
      `| ${outcome.name} | ${ms(outcome.ours)} | ${reference} | ${outcome.ratio === null ? '–' : outcome.ratio.toFixed(2)} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}
