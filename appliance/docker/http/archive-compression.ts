/** Unpacks an archive that a client sends. Its first bytes say whether and how it is compressed. */
import { Readable } from 'node:stream';
import { CaissonError } from '../../../src/common/errors.js';
import { decompress, sniffCompression } from '../../image/index.js';

const HEAD = 10;

/** The archive's bytes. @throws unavailable for damaged data, or when the program that unpacks it is missing */
export async function* uncompressed(source: Readable): AsyncGenerator<Buffer> {
  // Do not destroy the request when part of it stays unread: the answer goes over the same connection.
  const iterator = source.iterator({ destroyOnReturn: false }) as AsyncIterator<Buffer>;
  let head: Buffer = Buffer.alloc(0);
  while (head.length < HEAD) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const whole = Readable.from(rejoin(head, iterator), { objectMode: false, highWaterMark: 256 * 1024 });
  try {
    yield* decompress(whole, sniffCompression(head));
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
