/** How many lines of rotated logs are shown: the counts are those of Docker Engine 28.5.2 for the same program. */
import { expect, it } from 'vitest';
import type { LogRotation } from '../../../port-layer/index.js';
import { RotatedLines } from '../../../port-layer/interaction/log-rotation.js';

const shown = (rotation: LogRotation, lines: Iterable<string>): number => {
  const rotated = new RotatedLines(rotation);
  for (const text of lines) rotated.add({ stream: 'stdout', timeNs: 0n, data: Buffer.from(text), offset: 0 });
  return rotated.count;
};
function* numbered(count: number, more = ''): Generator<string> {
  for (let i = 0; i < count; i++) yield `line ${i}${more}\n`;
}
const json = (fileBytes: number, files: number): LogRotation => ({ format: 'json-file', fileBytes, files });

it.each<[string, LogRotation, Iterable<string>, number]>([
  ['max-size=10k max-file=3', json(10_000, 3), numbered(1000), 363],
  ['max-size=10k', json(10_000, 1), numbered(1000), 109],
  ['max-size=4k max-file=2', json(4000, 2), numbered(3000), 91],
  ['max-size=1m max-file=2, characters with an escape', json(1_000_000, 2), numbered(20_000, ' <a>&"q"'), 10_455],
  ['local, max-size=10k max-file=3', { format: 'local', fileBytes: 10_000, files: 3 }, numbered(2000), 617],
  ['a line and no more', json(10_000, 3), ['short\n'], 1],
])('%s', (_, rotation, lines, count) => {
  expect(shown(rotation, lines)).toBe(count);
});
