import { expect, it } from 'vitest';
import { archiveOf } from '../../../src/setup/lab/apt-archive.js';

const stanza = (uris: string, ...more: string[]): string =>
  ['Types: deb', `URIs: ${uris}`, 'Suites: x', 'Components: main', ...more].join('\n');

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
  [
    'one that is switched off',
    [`${stanza('http://a.test/debian', 'Enabled: no')}\n\n${stanza('http://b.test/debian')}`],
    'http://b.test/debian',
  ],
  [
    'others first',
    [
      'deb https://a.test/apt stable main\n',
      'deb https://b.test/linux/debian x stable\n',
      stanza('http://c.test/debian'),
    ],
    'http://c.test/debian',
  ],
  ['a disc first', ['deb cdrom:[Debian 13]/ x main\ndeb http://b.test/debian/ x main\n'], 'http://b.test/debian/'],
  [
    'a point in time',
    [stanza('http://a.test/archive/debian/20260101T000000Z')],
    'http://a.test/archive/debian/20260101T000000Z',
  ],
  [
    'a list of mirrors',
    [stanza('mirror+file:///etc/apt/mirrors/debian.list')],
    'mirror+file:///etc/apt/mirrors/debian.list',
  ],
  [
    'sources alone',
    ['deb-src http://a.test/debian x main\n', stanza('http://b.test/debian').replace('deb', 'deb-src')],
    null,
  ],
  ['none', ['# nothing\n'], null],
])("apt's archive: %s", (_, texts, wanted) => {
  expect(archiveOf(texts)).toBe(wanted);
});
