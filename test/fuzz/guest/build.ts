/** Builds the fuzzers of the guest's C: with clang and libFuzzer for long runs, with gcc's sanitizers for tests. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { run } from '../../../src/setup/packages.js';
import { writeCHeader } from '../../../tether/image/c-header.js';

const root = fileURLToPath(new URL(import.meta.url.includes('/dist/') ? '../../../..' : '../../..', import.meta.url));
const sources = join(root, 'test/fuzz/guest');
const guest = join(root, 'tether/guest');

/** The targets: `<name>.c` describes each. */
export const GUEST_TARGETS = ['channel', 'rpc', 'program', 'files', 'user', 'dhcp'] as const;
export type GuestTarget = (typeof GUEST_TARGETS)[number];

/** Where inputs are stored. */
export const corpusOf = (target: string): string => join(root, 'test/fuzz/corpus', target);
export const guestCorpus = (target: GuestTarget): string => corpusOf(`guest-${target}`);

/**
 * Compiles one. @param how `libFuzzer` needs clang; `replay` is a program that takes a corpus, a run count and a seed
 * @returns its path @throws unavailable with the compiler's output
 */
export async function buildGuestFuzzer(
  target: GuestTarget,
  how: 'libFuzzer' | 'replay',
  directory: string,
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  await writeCHeader(directory);
  const program = join(directory, target);
  const sanitizers = how === 'libFuzzer' ? 'fuzzer,address,undefined' : 'address,undefined';
  await run(how === 'libFuzzer' ? 'clang' : 'gcc', [
    '-D_GNU_SOURCE',
    '-g',
    '-O1',
    '-w',
    `-fsanitize=${sanitizers}`,
    '-fno-sanitize-recover=undefined',
    '-ffunction-sections',
    '-Wl,--gc-sections',
    `-I${directory}`,
    ...[`${target}.c`, 'world.c', 'absent.c', ...(how === 'replay' ? ['replay.c'] : [])].map((name) =>
      join(sources, name),
    ),
    join(guest, 'buffer.c'),
    '-o',
    program,
  ]);
  return program;
}

/** For both: memory left at exit is not a leak, and a finding ends the process. */
export const SANITIZER_OPTIONS = {
  ASAN_OPTIONS: 'detect_leaks=0',
  UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
};
