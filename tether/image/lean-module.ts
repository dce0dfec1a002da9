/**
 * Kernel modules without what a guest has no use for. The kernel's NFS is several megabytes, and taking it in as it comes is most of what the
 * first container waits for that needs it: checking a signature, reading type information, and making a directory for each trace event. Without
 * them it takes a quarter of the time.
 */
import { execFile } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf, unavailable } from '../../src/common/errors.js';

const run = promisify(execFile);

/**
 * Options of objcopy: symbols that nobody looks up, type information for BPF, tables for unwinding a stack, and trace events. The signature
 * goes too, as it is no part of what objcopy copies.
 */
export const LEAN = [
  '--strip-unneeded',
  ...['.BTF', '.BTF.base', '.orc_unwind', '.orc_unwind_ip', '_ftrace_events', '_ftrace_eval_map'].map(
    (section) => `--remove-section=${section}`,
  ),
];

/** @throws unavailable when objcopy, which belongs to the compiler's tools, fails */
export async function leanModule(bytes: Buffer): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-module-'));
  try {
    const [from, to] = [join(directory, 'from.ko'), join(directory, 'to.ko')];
    await writeFile(from, bytes);
    await run('objcopy', [...LEAN, from, to]);
    return await readFile(to);
  } catch (error) {
    throw unavailable(`a kernel module could not be made smaller: ${messageOf(error)}`, error);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}
