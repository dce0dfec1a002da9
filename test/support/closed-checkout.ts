/**
 * A typical private checkout: in root's home, closed to other users, with the cache beside it, and set up by a shell
 * whose umask closes what it creates.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheDirectory } from '../../src/common/paths.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** The files needed to run it, and for the builds of the set-up. */
const PARTS = ['dist', 'node_modules', 'src', 'tether', 'package.json'];

export interface ClosedCheckout {
  /** The directory of the compiled programs. */
  dist: string;
  cache: string;
  remove(): void;
}

export function closedCheckout(): ClosedCheckout {
  // Mode 0700.
  const directory = mkdtempSync(join(tmpdir(), 'caisson-closed-'));
  const cache = join(directory, 'cache');
  mkdirSync(cache, { mode: 0o700 });
  for (const part of PARTS) link(join(ROOT, part), directory);
  // Its modes change, and links share their mode.
  for (const part of ['boot', 'bin', 'kernel'])
    execFileSync('cp', ['-a', '--reflink=auto', join(cacheDirectory(), part), cache]);
  execFileSync('chmod', ['-R', 'go=', join(cache, 'boot'), join(cache, 'bin')]);
  if (existsSync(join(cacheDirectory(), 'snapshots'))) link(join(cacheDirectory(), 'snapshots'), cache);
  return { dist: join(directory, 'dist'), cache, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Uses hard links where possible, as they cost nothing. */
function link(from: string, to: string): void {
  try {
    execFileSync('cp', ['-al', from, to], { stdio: 'ignore' });
  } catch {
    execFileSync('cp', ['-a', from, to]);
  }
}
