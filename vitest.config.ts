import { defineConfig } from 'vitest/config';

/** Tests wait for what they expect, however long a busy machine takes; these limits only end a test that hangs. */
const patient = { testTimeout: 300_000, hookTimeout: 600_000, expect: { poll: { timeout: 120_000 } } };

/**
 * Files that run at a time, whatever the machine. A file with real VMs mostly waits for them, but more files would need more memory than a
 * small machine has. Each file has an engine of its own: none may look at, or change, what belongs to the machine or to another's engine.
 */
const maxWorkers = 2;

const suite = (name: string, include: string[], more = {}) => ({
  test: { name, include, ...patient, maxWorkers, ...more },
});

export default defineConfig({
  test: {
    reporters: ['default'],
    projects: [
      // Loading the program anew for each file would take as long as all else. A test that mocks a module loads it anew itself.
      suite('unit', ['test/unit/**/*.test.ts'], { isolate: false }),
      suite('fuzz', ['test/fuzz/**/*.test.ts']),
      suite('vcsim', ['test/vcsim/**/*.test.ts']),
      suite('registry', ['test/registry/**/*.test.ts']),
      suite('vm', ['test/vm/**/*.test.ts']),
      suite('hostile', ['test/hostile/**/*.test.ts']),
      suite('differential', ['test/differential/*.test.ts'], { maxConcurrency: 5 }),
      suite('docker-cli', ['test/docker-cli/**/*.test.ts']),
      suite('releases', ['test/releases/**/*.test.ts']),
      // What looks at the whole machine: its files run one after the other, when all others have ended.
      suite('alone', ['test/alone/**/*.test.ts'], { fileParallelism: false }),
    ],
  },
});
