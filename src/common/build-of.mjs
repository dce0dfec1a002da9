/** Which build a bundle is made from. Plain JavaScript, see `src/setup/bundle.mjs`. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Below `dist`: the bundles, in the places of their programs. */
export const BUNDLED = 'bundled';
/** And what {@link buildOf} said when they were made. */
export const BUNDLED_FROM = `${BUNDLED}/built-from`;

/**
 * Differs for each version of the sources that is compiled, and of the packages that are installed.
 * @param {string} root of the project
 * @returns {string}
 * @throws when nothing is compiled
 */
export function buildOf(root) {
  // The compiler keeps a hash of each source there.
  const hash = createHash('sha256').update(readFileSync(join(root, 'dist', 'tsconfig.tsbuildinfo')));
  const installed = join(root, 'node_modules', '.package-lock.json');
  if (existsSync(installed)) hash.update(readFileSync(installed));
  return hash.digest('hex');
}
