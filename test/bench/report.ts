/** The results as a Markdown table and as JSON. */
import { cpus, totalmem } from 'node:os';
import type { Outcome, Sample } from './measure.js';

function figures(sample: Sample): string {
  const range = sample.runs > 1 ? ` (${format(sample.min)}–${format(sample.max)})` : '';
  return `${format(sample.median)}${range}`;
}

function format(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 1 ? 1 : 3);
}

/** A short text for one outcome. */
export function brief({ name, unit, ours, ratio }: Outcome): string {
  const title = name.includes(': ') ? `${name.slice(name.indexOf(': ') + 2)} ` : '';
  return `${title}${format(ours.median)} ${unit}${ratio === null ? '' : `, ratio ${ratio.toFixed(2)}`}`;
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
    'Whole docker CLI calls, engines in alternation, median (minimum–maximum); ratio = ours / reference: of times, below 1 is faster. Repeat with `npm run bench`.',
    '',
    '| case | unit | ours | reference | ratio |',
    '|---|---|---|---|---|',
  ];
  for (const outcome of outcomes) {
    const reference = outcome.reference === null ? '–' : figures(outcome.reference);
    lines.push(
      `| ${outcome.name} | ${outcome.unit} | ${figures(outcome.ours)} | ${reference} | ${outcome.ratio === null ? '–' : outcome.ratio.toFixed(2)} |`,
    );
  }
  return `${lines.join('\n')}\n`;
}
