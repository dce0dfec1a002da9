import { defineConfig } from 'vitest/config';

/**
 * Slow suites run real VMs one file after the other: two cores of emulation carry no more. A test that failed is run once more: on a
 * machine that others use too, a second of waiting may be too short.
 */
const slow = (name: string, include: string[]) => ({
  test: { name, include, testTimeout: 120_000, hookTimeout: 180_000, fileParallelism: false, retry: 1 },
});

export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      { test: { name: 'unit', include: ['test/unit/**/*.test.ts'], testTimeout: 20_000 } },
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
