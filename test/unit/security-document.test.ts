import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const SUITES = ['unit', 'fuzz', 'vcsim', 'registry', 'vm', 'hostile', 'docker-cli', 'differential'];
const root = new URL('../../', import.meta.url);
const text = readFileSync(new URL('docs/SECURITY.md', root), 'utf8');

/** The last column of the table of assets: the tests behind each promise. */
function heldBy(): string[] {
  const [, table = ''] = text.split('| asset | from whom | what enforces it | held by |');
  return table
    .split('\n\n')[0]!
    .split('\n')
    .slice(2)
    .map((row) => row.split('|').at(-2)!.trim());
}

it('docs/SECURITY.md names only existing tests', () => {
  const cells = heldBy();
  expect(cells.length).toBeGreaterThan(15);
  for (const cell of cells)
    for (const part of cell.split(';')) {
      const suite = /^[\w-]+/.exec(part.trim())?.[0] ?? '';
      expect(SUITES, cell).toContain(suite);
      for (const [, name] of part.matchAll(/`([^`]+)`/g))
        expect(existsSync(new URL(`test/${suite}/${name}.test.ts`, root)), `${suite} ${name}`).toBe(true);
    }
});

it('docs/SECURITY.md names every hostile suite', () => {
  for (const file of readdirSync(new URL('test/hostile', root)).filter((name) => name.endsWith('.test.ts')))
    expect(text, file).toContain(`\`${file.replace('.test.ts', '')}\``);
});
