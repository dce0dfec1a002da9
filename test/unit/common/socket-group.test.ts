import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { socketGroup } from '../../../src/common/socket-group.js';

const directory = mkdtempSync(join(tmpdir(), 'caisson-group-'));
afterAll(() => rmSync(directory, { recursive: true }));

test.each([
  ['root:x:0:\ncaisson:x:987:alice,bob\n', 987],
  ['root:x:0:\ncaissons:x:988:\nxcaisson:x:989:\n', null],
  ['caisson:x::\n', null],
  ['caisson:x:-1:\n', null],
  ['', null],
])('the number of the group in %j is %j', (text, number) => {
  const file = join(directory, 'group');
  writeFileSync(file, text);
  expect(socketGroup(file)).toBe(number);
});

test('without the file there is no group', () => {
  expect(socketGroup(join(directory, 'none'))).toBeNull();
});
