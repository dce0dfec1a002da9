/** The tests of one Debian release, in its root. */
import { chmod, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { cacheDirectory } from '../../common/paths.js';
import { say } from '../console.js';
import { type DebianRoot, debianRoot, furnish, rootsDirectory } from './debian-root.js';
import { inRoot } from './enter-root.js';
import { hold } from './hold.js';

/** The part of the VM suite that `short` runs. */
const SHORT = ['-t', 'boots, asks for its program|keeps its disk over runs'];

/**
 * Makes the root with a kernel and boot image of its own, and runs the walk (`test/releases/walk.ts`) and the VM suite there.
 * @param project this checkout, built
 * @returns false if something failed, which was printed
 */
export async function testRelease(suite: string, project: string, options: { short: boolean }): Promise<boolean> {
  const roots = rootsDirectory(cacheDirectory());
  await mkdir(roots, { recursive: true });
  const release = await hold(join(roots, `${suite}.lock`));
  try {
    return await runIn(await debianRoot(roots, suite), project, options);
  } finally {
    await release();
  }
}

async function runIn(root: DebianRoot, project: string, options: { short: boolean }): Promise<boolean> {
  await furnish(root, project);
  // Boot snapshots must be made afresh, and an earlier run may have been killed and left its files.
  for (const left of ['var/cache/caisson/snapshots', 'tmp'])
    await rm(join(root.path, left), { recursive: true, force: true });
  await mkdir(join(root.path, 'tmp'));
  await chmod(join(root.path, 'tmp'), 0o1777);
  const commands: { title: string; network: 'machine' | 'none'; command: string[] }[] = [
    { title: 'its kernel and boot image', network: 'machine', command: ['node', 'dist/src/setup/prepare-only.js'] },
    {
      title: 'start, run, exec, snapshot, pool, restart',
      network: 'none',
      command: ['node', 'dist/test/releases/walk.js'],
    },
    {
      title: options.short ? 'a part of the VM suite' : 'the VM suite',
      network: 'none',
      command: ['node', 'node_modules/vitest/vitest.mjs', 'run', '--project', 'vm', ...(options.short ? SHORT : [])],
    },
  ];
  for (const { title, network, command } of commands) {
    say(`=== Debian ${root.suite}: ${title}`);
    const { code } = await inRoot(root, command, { network });
    if (code !== 0) return false;
  }
  return true;
}
