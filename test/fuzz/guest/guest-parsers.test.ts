/**
 * The guest's C with its fuzzing corpus and a limited number of new inputs, under gcc's address and undefined-behaviour
 * sanitizers (gcc is needed for the tether anyway; clang and libFuzzer, used by `npm run fuzz`, take another 113 MB).
 */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { buildGuestFuzzer, GUEST_TARGETS, guestCorpus, SANITIZER_OPTIONS } from './build.js';

const RUNS = process.env.FUZZ_GUEST_RUNS ?? '10000';
const SEED = process.env.FUZZ_SEED ?? '1';
const directory = mkdtempSync(join(tmpdir(), 'caisson-fuzz-'));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

it.each(GUEST_TARGETS)('%s', async (target) => {
  const program = await buildGuestFuzzer(target, 'replay', directory);
  const { status, stdout, stderr } = spawnSync(program, [guestCorpus(target), RUNS, SEED], {
    cwd: directory,
    encoding: 'utf8',
    env: { ...process.env, ...SANITIZER_OPTIONS },
    timeout: 100_000,
  });
  const input = (): string => readFileSync(join(directory, 'current')).toString('base64');
  expect([status, status === 0 ? '' : `${stderr}\ninput (base64): ${input()}`]).toEqual([0, '']);
  expect(stdout).toMatch(/^\d+ kept, \d+ made\n$/);
});
