/** Caisson on the current stable release of Debian, whatever this machine runs: with its QEMU, compiler, kernel and tools. */
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { onDebian } from '../../src/setup/lab/debian-root.js';
import { testRelease } from '../../src/setup/lab/release-test.js';

const PROJECT = fileURLToPath(new URL('../..', import.meta.url));
/** Its root has to be made first, from packages that have to be fetched. */
const LONGEST_MS = 1_800_000;

it('starts, runs, resumes and restarts containers on Debian 13', { timeout: LONGEST_MS }, async (context) => {
  if (!onDebian()) context.skip('Its root is made from the archive of a machine that runs Debian.');
  expect(await testRelease('trixie', PROJECT, { short: true })).toBe(true);
});
