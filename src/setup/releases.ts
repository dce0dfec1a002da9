/**
 * `npm run test:releases [-- suite …] [--short]`: Caisson on other releases of Debian, with their QEMU, compiler, kernel and tools. Each
 * release has a root below the cache directory, which is made once. `--short` leaves out most of the VM suite, as `npm test` does.
 */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { invalid } from '../common/errors.js';
import { say } from './console.js';
import { testRelease } from './lab/release-test.js';
import { exitWith, prepareMachine } from './prepare.js';

const SUITES = ['bookworm', 'trixie', 'sid'];
const root = join(fileURLToPath(import.meta.url), '..', '..', '..', '..');

try {
  const words = process.argv.slice(2);
  const short = words.includes('--short');
  const chosen = words.filter((word) => word !== '--short');
  for (const word of chosen)
    if (!/^[a-z]+$/.test(word))
      throw invalid(`'${word}' is no release of Debian; usage: [${SUITES.join('|')}] [--short]`);
  await prepareMachine({ tests: true });
  const failed: string[] = [];
  for (const suite of chosen.length > 0 ? chosen : SUITES) {
    const began = Date.now();
    const ok = await testRelease(suite, root, { short });
    say(`${ok ? '✓' : '✗'} ${suite}: ${((Date.now() - began) / 1000).toFixed(0)} s`);
    if (!ok) failed.push(suite);
  }
  process.exit(failed.length > 0 ? 1 : 0);
} catch (error) {
  exitWith(error);
}
