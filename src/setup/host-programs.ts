/** Compiles the programs of the host that are written in C into the cache: the launcher of QEMU's cage, and the relay. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { launcherPath, relayPath } from '../common/paths.js';
import { run } from './packages.js';

/** Static: the launcher changes its root while it still has work to do, and neither is to depend on what else the machine has. */
const COMPILER = ['-static', '-s', '-D_GNU_SOURCE', '-std=gnu11', '-Wall', '-Wextra'];

/** How a program is made. */
interface HostProgram {
  /** Of its sources, below `src`. */
  directory: string;
  /** Where it goes. */
  out: string;
  options: string[];
}

/** Where the C sources are: in the source tree, even if this is the compiled program. */
function sources(directory: string): string {
  const here = fileURLToPath(new URL('.', import.meta.url));
  return join(here.replace(/\/dist\/src\/setup\/$/, '/src/setup/'), '..', directory);
}

/**
 * Makes the launcher of the cage, unless it was already made from the same sources.
 * @param options.strict treats warnings as errors; not for users, whose compiler may know more warnings than ours
 * @throws unavailable if the compiler fails
 */
export const prepareLauncher = (options: { strict: boolean }): Promise<void> =>
  prepare({ directory: 'hostd/qemu/launcher', out: launcherPath(), options: ['-Os'] }, options);

/** Makes the relay, likewise. */
export const prepareRelay = (options: { strict: boolean }): Promise<void> =>
  prepare({ directory: 'relay', out: relayPath(), options: ['-O2', '-pthread'] }, options);

async function prepare({ directory, out, options }: HostProgram, { strict }: { strict: boolean }): Promise<void> {
  const from = sources(directory);
  const names = (await readdir(from)).sort();
  const compiler = [...COMPILER, ...options];
  const key = createHash('sha256').update(JSON.stringify(compiler));
  for (const name of names) key.update(name).update(await readFile(join(from, name)));
  const wanted = key.digest('hex');
  const stamp = `${out}.key`;
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return;
  await mkdir(dirname(out), { recursive: true });
  const files = names.filter((name) => name.endsWith('.c')).map((name) => join(from, name));
  const made = `${out}.${process.pid}`;
  try {
    await run('gcc', [...compiler, ...(strict ? ['-Werror'] : []), '-o', made, ...files]);
    await rename(made, out);
  } finally {
    await rm(made, { force: true });
  }
  await writeFile(stamp, wanted);
}
