/**
 * `npm test`: sets everything up, checks formatting and types, and runs every suite. `npm test -- <vitest arguments>` runs only part of
 * it.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { step } from './console.js';
import { run } from './packages.js';
import { exitWith, prepareMachine } from './prepare.js';

const root = join(fileURLToPath(import.meta.url), '..', '..', '..', '..');
const bin = (name: string): string => join(root, 'node_modules', '.bin', name);

try {
  await prepareMachine({ tests: true });
  await step('Checking form (biome)', () =>
    run(bin('biome'), ['ci', '--colors=off', '--error-on-warnings', '.'], { cwd: root }),
  );
} catch (error) {
  exitWith(error);
}
const tests = spawnSync(bin('vitest'), ['run', ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
process.exit(tests.status ?? 1);
