/** Compiles the library that hands QEMU a snapshot's memory (`src/hostd/qemu/preload`) into the cache. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { memoryLibrary } from '../common/paths.js';
import { run } from './packages.js';

const COMPILER = ['-shared', '-fPIC', '-Os', '-s', '-std=gnu11', '-Wall', '-Wextra'];

/** Where the C source is: in the source tree, even if this is the compiled program. */
function source(): string {
  const here = fileURLToPath(new URL('../hostd/qemu/preload/memory.c', import.meta.url));
  return here.replace('/dist/src/hostd/', '/src/hostd/');
}

/**
 * Makes the library, unless it was already made from the same source.
 * @param options.strict treats warnings as errors; not for users, whose compiler may know more warnings than ours
 * @throws unavailable if the compiler fails
 */
export async function prepareMemoryLibrary(options: { strict: boolean }): Promise<void> {
  const out = memoryLibrary();
  const wanted = createHash('sha256')
    .update(JSON.stringify(COMPILER))
    .update(await readFile(source()))
    .digest('hex');
  if ((await readFile(`${out}.key`, 'utf8').catch(() => '')) === wanted) return;
  await mkdir(dirname(out), { recursive: true });
  const made = `${out}.${process.pid}`;
  try {
    await run('gcc', [...COMPILER, ...(options.strict ? ['-Werror'] : []), '-o', made, source(), '-ldl']);
    await rename(made, out);
  } finally {
    await rm(made, { force: true });
  }
  await writeFile(`${out}.key`, wanted);
}
