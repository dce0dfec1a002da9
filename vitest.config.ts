import { defineConfig } from 'vitest/config';

/** Tests wait for what they expect, however long a busy machine takes; these limits only end a test that hangs. */
const patient = { testTimeout: 300_000, hookTimeout: 600_000, expect: { poll: { timeout: 120_000 } } };

/**
 * Slow suites run real VMs, one file after the other: two cores of emulation carry no more. A failed test is run once more until a stall of
 * about two minutes, seen twice in thousands of starts, is understood.
 */
const slow = (name: string, include: string[]) => ({
  test: { name, include, ...patient, retry: 1, fileParallelism: false },
});

export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      // Loading the program anew for each file would take as long as all else. A test that mocks a module loads it anew itself.
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], ...patient, isolate: false } },
      slow('fuzz', ['test/fuzz/**/*.test.ts']),
      slow('vcsim', ['test/vcsim/**/*.test.ts']),
      slow('registry', ['test/registry/**/*.test.ts']),
      slow('vm', ['test/vm/**/*.test.ts']),
      slow('hostile', ['test/hostile/**/*.test.ts']),
      { test: { ...slow('differential', ['test/differential/*.test.ts']).test, maxConcurrency: 5 } },
      slow('docker-cli', ['test/docker-cli/**/*.test.ts']),
    ],
  },
});
