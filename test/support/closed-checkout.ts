/**
 * The project as many have it: in root's home, closed to other users, with the cache beside it, and set up by a shell whose mask closes
 * what it makes.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cacheDirectory } from '../../src/common/paths.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
/** What is needed to run it, and to build what set-up builds. */
const PARTS = ['dist', 'node_modules', 'src', 'tether', 'package.json'];

export interface ClosedCheckout {
  /** Of the compiled programs. */
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
  // Its modes change, which links have in common.
  for (const part of ['boot', 'bin', 'kernel'])
    execFileSync('cp', ['-a', '--reflink=auto', join(cacheDirectory(), part), cache]);
  execFileSync('chmod', ['-R', 'go=', join(cache, 'boot'), join(cache, 'bin')]);
  if (existsSync(join(cacheDirectory(), 'snapshots'))) link(join(cacheDirectory(), 'snapshots'), cache);
  return { dist: join(directory, 'dist'), cache, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Hard links, where that is possible, cost nothing. */
function link(from: string, to: string): void {
  try {
    execFileSync('cp', ['-al', from, to], { stdio: 'ignore' });
  } catch {
    execFileSync('cp', ['-a', from, to]);
  }
}
