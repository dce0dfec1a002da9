import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { buildOf } from '../../../src/common/build-of.mjs';
import { programPath } from '../../../src/common/programs.js';

let root: string;
const write = (path: string, text: string): void => {
  mkdirSync(join(root, path, '..'), { recursive: true });
  writeFileSync(join(root, path), text);
};
/** Relative to `dist`. */
const chosen = (): string => programPath('src/x/main.js', root).slice(join(root, 'dist/').length);

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'caisson-programs-'));
  write('dist/tsconfig.tsbuildinfo', 'one');
  write('node_modules/.package-lock.json', 'packages');
  write('dist/bundled/built-from', buildOf(root));
});
afterEach(() => rmSync(root, { recursive: true }));

it('a program’s bundle is used if it is that of the present build', () => {
  expect(chosen()).toBe('bundled/src/x/main.js');
});

it.each<[string, () => void]>([
  ['something was compiled since', () => write('dist/tsconfig.tsbuildinfo', 'two')],
  ['other packages were installed since', () => write('node_modules/.package-lock.json', 'others')],
  ['bundling did not come to its end', () => rmSync(join(root, 'dist/bundled/built-from'))],
  ['it is not known what was compiled', () => rmSync(join(root, 'dist/tsconfig.tsbuildinfo'))],
])('the program is loaded module by module if %s', (_, happens) => {
  happens();
  expect(chosen()).toBe('src/x/main.js');
});

it('packages without a list of them are no obstacle', () => {
  rmSync(join(root, 'node_modules'), { recursive: true });
  write('dist/bundled/built-from', buildOf(root));
  expect(chosen()).toBe('bundled/src/x/main.js');
});
