/** What a check found, as lines for people. */
import type { Repaired, StoreReport } from '../fsck/index.js';

/** A line that says what and where, and two that say what it means and what to do. */
export function findingLines(result: Repaired): string[] {
  const { severity, where, what, means, todo, code } = result.finding;
  const lines = [`${severity === 'damage' ? 'DAMAGE' : 'leftover'} ${where}: ${what} [${code}]`];
  if (result.kind === 'repaired') return [...lines, `  repaired: ${result.how}`];
  lines.push(`  ${means}.`);
  lines.push(result.kind === 'failed' ? `  the repair failed: ${result.why}` : `  To do: ${todo}.`);
  return lines;
}

const plural = (count: number, one: string): string => `${count} ${one}${count === 1 ? '' : 's'}`;

/** What was looked at, what could not be judged, and the verdict. */
export function summaryLines({ counts, unchecked, running }: StoreReport, results: Repaired[]): string[] {
  const { layers, volumes, images, machines } = counts;
  const lines = unchecked.map(({ where, why }) => `not judged ${where}: ${why}`);
  const looked = [
    plural(images, 'image'),
    plural(layers, 'layer'),
    plural(volumes, 'volume'),
    plural(machines, 'virtual machine'),
  ];
  const of = (kind: Repaired['kind']): number => results.filter((one) => one.kind === kind).length;
  const left = of('left') + of('failed');
  const verdict =
    results.length === 0
      ? 'clean'
      : [of('repaired') > 0 ? `${of('repaired')} repaired` : '', left > 0 ? `${left} left` : '']
          .filter(Boolean)
          .join(', ');
  const seen = `${looked.join(', ')}${counts.bytes > 0 ? `; ${Math.ceil(counts.bytes / 2 ** 20)} MiB of layers compared` : ''}`;
  if (running)
    lines.push('The embedded host runs: what may only be under way was not judged (npm stop, then check again).');
  return [...lines, `${verdict}: ${seen}`];
}
