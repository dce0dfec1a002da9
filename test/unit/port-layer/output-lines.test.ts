/** Output assembled into lines: filters, tails, and the switch from stored to live output. */
import { describe, expect, it } from 'vitest';
import type { LogOptions, OutputChunk } from '../../../port-layer/index.js';
import {
  CAUGHT_UP,
  type LogBatches,
  LogCursor,
  type LogItem,
  logThenLive,
  outputOf,
  RUN_END,
  selectLines,
} from '../../../port-layer/interaction/output-log.js';

function chunk(text: string, time: number, stream: OutputChunk['stream'] = 'stdout', offset = time): OutputChunk {
  return { stream, timeNs: BigInt(time), data: Buffer.from(text), offset };
}

async function* from(...items: LogItem[]): AsyncGenerator<LogItem[]> {
  for (const item of items) yield [item];
}

async function* live(...items: OutputChunk[]): AsyncGenerator<OutputChunk> {
  yield* items;
}

async function select(batches: LogBatches, options: Partial<LogOptions> = {}, ended = true): Promise<OutputChunk[]> {
  const all: OutputChunk[] = [];
  for await (const batch of selectLines(batches, { follow: false, stdout: true, stderr: true, ...options }, ended))
    all.push(...batch);
  return all;
}

const texts = async (...given: Parameters<typeof select>): Promise<string[]> =>
  (await select(...given)).map(({ data }) => data.toString());

const described = async (...given: Parameters<typeof select>): Promise<string[]> =>
  (await select(...given)).map(({ data, timeNs, stream }) => `${stream} ${timeNs} ${data}`);

describe('lines', () => {
  const parts = (): LogBatches => from(chunk('a', 1), chunk('x\ny', 2, 'stderr'), chunk('b\nc', 3));

  it('are complete, with the time of their first byte, and streams are kept apart', async () => {
    expect(await described(parts())).toEqual(['stderr 2 x\n', 'stdout 1 ab\n', 'stderr 2 y', 'stdout 3 c']);
  });

  it('that are incomplete are left out while the process runs', async () => {
    expect(await texts(parts(), {}, false)).toEqual(['x\n', 'ab\n']);
  });

  it('longer than 16 KiB come in parts', async () => {
    const long = `${'z'.repeat(40_000)}\n`;
    const pieces = await texts(from(chunk('yy', 1), chunk(long, 2)));
    expect(pieces.map((part) => part.length)).toEqual([16_384, 16_384, 7235]);
    expect(pieces.join('')).toBe(`yy${long}`);
  });

  it('end with their run', async () => {
    expect(await described(from(chunk('left', 1), RUN_END, chunk('next\n', 2)))).toEqual([
      'stdout 1 left',
      'stdout 2 next\n',
    ]);
  });

  it('are those of the wanted streams and times; the first one past the end ends the output', async () => {
    const all = () =>
      from(chunk('1\n', 1), chunk('2\n', 2, 'stderr'), chunk('3\n', 3), chunk('4\n', 4), chunk('5\n', 2));
    expect(await texts(all(), { stderr: false })).toEqual(['1\n', '3\n', '4\n', '5\n']);
    expect(await texts(all(), { sinceNs: 2n, untilNs: 3n })).toEqual(['2\n', '3\n']);
  });

  it('keep every byte', async () => {
    const bytes = Buffer.from(Array.from({ length: 70_000 }, (_, i) => (i * 7919) % 256));
    const chunks: OutputChunk[] = [];
    for (let at = 0; at < bytes.length; at += 1 + ((at * 31) % 9000))
      chunks.push({ ...chunk('', at), data: bytes.subarray(at, at + 1 + ((at * 31) % 9000)) });
    const lines = await select(from(...chunks));
    expect(Buffer.concat(lines.map(({ data }) => data)).equals(bytes)).toBe(true);
  });
});

describe('the tail', () => {
  const stored = () => from(...[1, 2, 3, 4, 5].map((n) => chunk(`${n}\n`, n, n === 4 ? 'stderr' : 'stdout')));
  it('is the last lines', async () => {
    expect(await texts(stored(), { tail: 2 })).toEqual(['4\n', '5\n']);
    expect(await texts(stored(), { tail: 0 })).toEqual([]);
    expect(await texts(stored(), { tail: 9 })).toHaveLength(5);
    expect(await texts(stored())).toHaveLength(5);
  });

  it('is counted before streams and times are filtered', async () => {
    expect(await texts(stored(), { tail: 2, stderr: false })).toEqual(['5\n']);
    expect(await texts(stored(), { tail: 3, untilNs: 4n })).toEqual(['3\n', '4\n']);
  });

  it('applies to stored output only; what follows comes in full', async () => {
    const followed = () => logThenLive(from(chunk('1\n', 1), chunk('2\n', 2)), cursorAt(2), live(chunk('3\n', 3)));
    expect(await texts(followed(), { tail: 1 })).toEqual(['2\n', '3\n']);
    expect(await texts(followed(), { tail: 0 })).toEqual(['3\n']);
  });
});

describe('live output', () => {
  const followed = () =>
    logThenLive(
      from(chunk('1\n', 1), chunk('2\n', 2)),
      cursorAt(2),
      live(chunk('2\n', 2), chunk('3\n', 3), chunk('4', 4)),
    );

  it('that was stored already is left out', async () => {
    const items: string[] = [];
    for await (const batch of followed())
      for (const item of batch) items.push(item === CAUGHT_UP ? '|' : item === RUN_END ? '.' : item.data.toString());
    expect(items).toEqual(['1\n', '2\n', '|', '3\n', '4', '.']);
    const output: string[] = [];
    for await (const { data } of outputOf(followed())) output.push(data.toString());
    expect(output).toEqual(['1\n', '2\n', '3\n', '4']);
  });

  it('ends with an incomplete line', async () => {
    expect(await texts(followed(), { follow: true }, false)).toEqual(['1\n', '2\n', '3\n', '4']);
  });
});

function cursorAt(offset: number): LogCursor {
  const cursor = new LogCursor();
  cursor.last = offset;
  return cursor;
}
