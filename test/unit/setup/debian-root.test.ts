import { expect, it } from 'vitest';
import { archiveOf } from '../../../src/setup/lab/debian-root.js';

it.each([
  [
    'the new format',
    ['', 'Types: deb\n# URIs: http://old/\nURIs: http://archive.test/debian\nSuites: x\n'],
    'http://archive.test/debian',
  ],
  [
    'one line each',
    ['# deb http://old/ x main\ndeb [signed-by=/k] http://archive.test/debian x main\n'],
    'http://archive.test/debian',
  ],
  [
    'security updates first',
    ['deb http://a.test/debian-security x main\ndeb http://b.test/debian x main\n'],
    'http://b.test/debian',
  ],
  ['one that is switched off', ['Enabled: no\nURIs: http://a.test/\n', 'URIs: http://b.test/\n'], 'http://b.test/'],
  ['none', ['# nothing\n'], null],
])("apt's archive: %s", (_, texts, wanted) => {
  expect(archiveOf(texts)).toBe(wanted);
});
