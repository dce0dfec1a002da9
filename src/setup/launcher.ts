/** Compiles the launcher of QEMU's cage (`src/hostd/qemu/launcher`) into the cache. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launcherPath } from '../common/paths.js';
import { run } from './packages.js';

/** Static, because it changes its root while it still has work to do. */
const COMPILER = ['-static', '-Os', '-s', '-D_GNU_SOURCE', '-std=gnu11', '-Wall', '-Wextra'];

/** Where the C sources are: in the source tree, even if this is the compiled program. */
function sources(): string {
  const here = fileURLToPath(new URL('.', import.meta.url));
  return join(here.replace(/\/dist\/src\/setup\/$/, '/src/setup/'), '..', 'hostd', 'qemu', 'launcher');
}

/**
 * Makes the launcher, unless it was already made from the same sources.
 * @param options.strict treats warnings as errors; not for users, whose compiler may know more warnings than ours
 * @throws unavailable if the compiler fails
 */
export async function prepareLauncher(options: { strict: boolean }): Promise<void> {
  const directory = sources();
  const names = (await readdir(directory)).sort();
  const key = createHash('sha256').update(JSON.stringify(COMPILER));
  for (const name of names) key.update(name).update(await readFile(join(directory, name)));
  const wanted = key.digest('hex');
  const out = launcherPath();
  const stamp = `${out}.key`;
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return;
  await mkdir(dirname(out), { recursive: true });
  const files = names.filter((name) => name.endsWith('.c')).map((name) => join(directory, name));
  const made = `${out}.${process.pid}`;
  try {
    await run('gcc', [...COMPILER, ...(options.strict ? ['-Werror'] : []), '-o', made, ...files]);
    await rename(made, out);
  } finally {
    await rm(made, { force: true });
  }
  await writeFile(stamp, wanted);
}
