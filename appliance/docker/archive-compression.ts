/** Archives that a client sends: uncompressed, or compressed in one of the ways Docker takes, told by their first bytes. */
import { spawn } from 'node:child_process';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { CaissonError, errnoOf } from '../../src/common/errors.js';
import { decompress, sniffCompression } from '../image/decompress.js';

/** Of formats that only a program of the machine unpacks, as with Docker's daemon. */
const PROGRAMS: readonly [program: string, magic: Buffer][] = [
  ['bzip2', Buffer.from('BZh')],
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
];
const HEAD = 10;

/** The archive's bytes. @throws unavailable for damaged data, or without the program that unpacks it */
export async function* uncompressed(source: Readable): AsyncGenerator<Buffer> {
  // A request is not destroyed with what is not read of it: its answer goes over the same connection.
  const iterator = source.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  let head: Buffer = Buffer.alloc(0);
  while (head.length < HEAD) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const whole = Readable.from(rejoin(head, iterator), { objectMode: false, highWaterMark: 256 * 1024 });
  const program = PROGRAMS.find(([, magic]) => head.subarray(0, magic.length).equals(magic))?.[0];
  try {
    if (program !== undefined) yield* throughProgram(whole, program);
    else yield* decompress(whole, sniffCompression(head));
  } catch (error) {
    throw new CaissonError('unavailable', (error as Error).message, { cause: error });
  } finally {
    whole.destroy();
    await iterator.return?.();
  }
}

async function* rejoin(head: Buffer, rest: AsyncIterator<Buffer>): AsyncGenerator<Buffer> {
  if (head.length > 0) yield head;
  for (let next = await rest.next(); next.done !== true; next = await rest.next()) yield next.value;
}

async function* throughProgram(source: Readable, program: string): AsyncGenerator<Buffer> {
  const child = spawn(program, ['-d', '-c', '-q'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const ended = new Promise<void>((resolve, reject) => {
    let said = '';
    child.stderr.on('data', (data: Buffer) => {
      said = (said + data.toString()).slice(0, 500);
    });
    child.on('error', (error) =>
      reject(errnoOf(error) === 'ENOENT' ? new Error(`exec: "${program}": executable file not found in $PATH`) : error),
    );
    child.on('close', (code) => (code === 0 ? resolve() : reject(new Error(said.trim() || `${program} failed`))));
  });
  ended.catch(() => undefined);
  // What the client breaks off ends the program's input early, and the program says so.
  const fed = pipeline(source, child.stdin).catch(() => undefined);
  try {
    yield* child.stdout as AsyncIterable<Buffer>;
    await ended;
    await fed;
  } finally {
    child.kill('SIGKILL');
  }
}
