/** Output put together to lines: filters, tails, and the change from stored to live output. */
import { describe, expect, it } from 'vitest';
import {
  CAUGHT_UP,
  filterLines,
  LogCursor,
  logThenLive,
  outputOf,
  tail,
  toLines,
} from '../../../port-layer/interaction/output-log.js';
import type { LogOptions, OutputChunk } from '../../../port-layer/types.js';

function chunk(text: string, time: number, stream: OutputChunk['stream'] = 'stdout', offset = time): OutputChunk {
  return { stream, timeNs: BigInt(time), data: Buffer.from(text), offset };
}

async function* from<T>(...items: T[]): AsyncGenerator<T> {
  yield* items;
}

async function texts(lines: AsyncIterable<OutputChunk | typeof CAUGHT_UP>): Promise<string[]> {
  const all: string[] = [];
  for await (const line of lines) all.push(line === CAUGHT_UP ? '|' : line.data.toString());
  return all;
}

const OPTIONS: LogOptions = { follow: false, stdout: true, stderr: true };

describe('lines', () => {
  it('are whole, with the time of their first byte, and streams are kept apart', async () => {
    const lines: OutputChunk[] = [];
    const parts = from(chunk('a', 1), chunk('x\ny', 2, 'stderr'), chunk('b\nc', 3));
    for await (const line of outputOf(toLines(parts))) lines.push(line);
    expect(lines.map(({ data, timeNs, stream }) => `${stream} ${timeNs} ${data}`)).toEqual([
      'stderr 2 x\n',
      'stdout 1 ab\n',
      'stderr 2 y',
      'stdout 3 c',
    ]);
  });

  it('longer than 16 KiB come in parts', async () => {
    const long = `${'z'.repeat(40_000)}\n`;
    const parts = await texts(toLines(from(chunk(long, 1))));
    expect(parts.map((part) => part.length)).toEqual([16_384, 16_384, 7233]);
    expect(parts.join('')).toBe(long);
  });

  it('are those of the wanted streams and times', async () => {
    const all = () => toLines(from(chunk('1\n', 1), chunk('2\n', 2, 'stderr'), chunk('3\n', 3), chunk('4\n', 4)));
    expect(await texts(filterLines(all(), { ...OPTIONS, stderr: false }))).toEqual(['1\n', '3\n', '4\n']);
    expect(await texts(filterLines(all(), { ...OPTIONS, sinceNs: 2n, untilNs: 3n }))).toEqual(['2\n', '3\n']);
  });
});

describe('the tail', () => {
  const stored = () => from<OutputChunk | typeof CAUGHT_UP>(...[1, 2, 3, 4, 5].map((n) => chunk(`${n}\n`, n)));
  it('is the last lines', async () => {
    expect(await texts(tail(stored(), 2))).toEqual(['4\n', '5\n']);
    expect(await texts(tail(stored(), 0))).toEqual([]);
    expect(await texts(tail(stored(), 9))).toHaveLength(5);
    expect(await texts(tail(stored(), undefined))).toHaveLength(5);
  });

  it('is of what was stored; what follows comes whole', async () => {
    const followed = () => logThenLive(from(chunk('1\n', 1), chunk('2\n', 2)), cursorAt(2), from(chunk('3\n', 3)));
    expect(await texts(tail(followed(), 1))).toEqual(['2\n', '3\n']);
    expect(await texts(tail(followed(), 0))).toEqual(['3\n']);
  });
});

it('live output that was stored already is left out', async () => {
  const live = from(chunk('2\n', 2), chunk('3\n', 3));
  expect(await texts(logThenLive(from(chunk('1\n', 1), chunk('2\n', 2)), cursorAt(2), live))).toEqual([
    '1\n',
    '2\n',
    '|',
    '3\n',
  ]);
});

function cursorAt(offset: number): LogCursor {
  const cursor = new LogCursor();
  cursor.last = offset;
  return cursor;
}
