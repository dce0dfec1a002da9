import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { complaints, ownComplaints, printedIn } from '../../../src/hostd/qemu/qemu-words.js';

it('the end of QEMU’s output is read, however much a guest made it print', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'caisson-words-'));
  const path = join(directory, 'log');
  expect(await printedIn(path)).toBe('');
  writeFileSync(path, 'qemu: warning: old\nqemu: no such disk\n');
  expect(complaints(await printedIn(path))).toEqual(['qemu: no such disk']);
  // More than fits into a string.
  truncateSync(path, 2 ** 40);
  writeFileSync(path, '\nqemu: the end\n', { flag: 'a' });
  expect(complaints(await printedIn(path)).at(-1)).toBe('qemu: the end');
  rmSync(directory, { recursive: true });
});

it('a message of the launcher is told apart from those of QEMU', () => {
  const killed = 'caisson-cage: QEMU was ended by signal 9 (Killed)';
  expect(complaints(`qemu: no such disk\n${killed}\n`)).toEqual(['qemu: no such disk', killed]);
  expect(ownComplaints(`qemu: no such disk\n${killed}\n`)).toEqual(['qemu: no such disk']);
  expect(ownComplaints(`qemu: warning: old\n${killed}\n`)).toEqual([]);
});
