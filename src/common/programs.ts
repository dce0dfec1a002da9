/**
 * Where the project's compiled programs are. One that the build has bundled into a single file (`src/setup/bundle.mjs`) starts in a third of
 * the processor time; otherwise it is loaded module by module, and does the same.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { BUNDLED, BUNDLED_FROM, buildOf } from './build-of.mjs';

const ROOT = fileURLToPath(
  new URL(import.meta.url.includes('/dist/src/common/') ? '../../..' : '../..', import.meta.url),
);

/** Whether the bundles are those of what was compiled last, which somebody may have done without bundling. */
export function bundlesMatch(root = ROOT): boolean {
  try {
    return readFileSync(join(root, 'dist', BUNDLED_FROM), 'utf8') === buildOf(root);
  } catch {
    return false;
  }
}

/** The path of a program, also for one that runs from source (a test). @param path below `dist` @param root of the project */
export function programPath(path: string, root = ROOT): string {
  return join(root, 'dist', ...(bundlesMatch(root) ? [BUNDLED] : []), path);
}
