/** Endless logs without content: a compromised QEMU can make its own log as long as it likes. */
import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { LogCursor, newestRun, readAfter, readLog, whileWanted } from '../../../port-layer/interaction/output-log.js';
import type { DatastoreClient } from '../../../src/vim25/index.js';
import { RUN_HEADER } from '../../../tether/protocol/log.js';

const record = Buffer.concat([Buffer.alloc(8), Buffer.of(1, 1, 0, 0, 0), Buffer.from('x')]);

/** A log of one record and zeros. */
function endless(): { datastore: DatastoreClient; read: () => number; closed: () => boolean } {
  let read = 0;
  let source: Readable | null = null;
  const zeros = function* (): Generator<Buffer> {
    yield Buffer.concat([RUN_HEADER, record]);
    for (;;) {
      read += 65_536;
      yield Buffer.alloc(65_536);
    }
  };
  const datastore = {
    size: async () => Number.MAX_SAFE_INTEGER,
    get: async (_path: string, { start = 0 } = {}) => {
      const from = zeros();
      if (start > RUN_HEADER.length) from.next();
      source = Readable.from(from, { objectMode: false });
      return source;
    },
  };
  return { datastore: datastore as unknown as DatastoreClient, read: () => read, closed: () => source!.destroyed };
}

it('are read only as long as somebody wants them', async () => {
  const { datastore, closed } = endless();
  let batches = 0;
  const wanted = (): boolean => batches++ < 50;
  let records = 0;
  for await (const batch of whileWanted(readLog(datastore, 'x', new LogCursor()), wanted)) records += batch.length;
  expect(records).toBe(1);
  expect(closed()).toBe(true);
});

it('are not read on for a slow reader that has gone', async () => {
  const { datastore, closed, read } = endless();
  const given: string[] = [];
  for await (const { data } of readAfter(datastore, 'x', 0, -1, () => read() < 10 * 65_536)) given.push(String(data));
  expect(given).toEqual(['x']);
  expect(closed()).toBe(true);
  expect(read()).toBeLessThan(2 ** 20);
});

it('are not searched to the end for their last run', async () => {
  const { datastore } = endless();
  let asked = 0;
  const some = {
    size: datastore.size,
    get: async () => {
      asked++;
      return Readable.from([Buffer.alloc(2 ** 20)], { objectMode: false });
    },
  } as unknown as DatastoreClient;
  expect(await newestRun(some, 'x')).toBe(0);
  expect(asked).toBe(1);
});
