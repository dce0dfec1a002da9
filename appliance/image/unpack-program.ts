/** Compressions for which a program on the machine is needed, as with Docker's daemon, and what zstd makes of a layer for a push. */
import { spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { errnoOf, invalid } from '../../src/common/errors.js';

/** xz uses as much memory as a stream says it needs, up to 4 GiB. Its own highest level needs 65 MiB. */
const BOUNDS: Record<string, string[]> = { xz: ['--memlimit-decompress=128MiB'] };

/** The output of `program` for `source`: by default, unpacked. @throws Error with the program's message, or saying that the program is missing */
export async function* throughProgram(
  source: Readable,
  program: string,
  options = ['-d', '-c', '-q', ...(BOUNDS[program] ?? [])],
): AsyncGenerator<Buffer> {
  const child = spawn(program, options, { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (data: Buffer) => {
      said = (said + data.toString()).slice(0, 500);
    });
    child.on('error', (error) =>
      reject(errnoOf(error) === 'ENOENT' ? new Error(`exec: "${program}": executable file not found in $PATH`) : error),
    );
    child.on('close', (code) => (code === 0 ? resolve() : reject(invalid(said.trim() || `${program} failed`))));
  });
  ended.catch(() => undefined);
  // If the client breaks off, the program's input ends early, and the program complains.
  const fed = pipeline(source, child.stdin).catch(() => undefined);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    await ended;
    await fed;
  } finally {
    child.kill('SIGKILL');
  }
}
