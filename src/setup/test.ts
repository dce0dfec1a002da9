/**
 * `npm test`: sets everything up, checks formatting and types, and runs every suite, then the release test of Debian 13. `npm test --
 * <vitest arguments>` runs only part of it.
 */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { say, step } from './console.js';
import { onDebian } from './lab/debian-root.js';
import { testRelease } from './lab/release-test.js';
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
const narrowed = process.argv.slice(2);
const tests = spawnSync(bin('vitest'), ['run', ...narrowed], { cwd: root, stdio: 'inherit' });
let status = tests.status ?? 1;
if (status === 0 && narrowed.length === 0) {
  // Run on the current stable release, whatever this machine runs.
  if (!onDebian())
    say('The release test of Debian 13 is left out: its root is made from the archive of a machine that runs Debian.');
  else if (!(await testRelease('trixie', root, { short: true }).catch(exitWith))) status = 1;
}
process.exit(status);
