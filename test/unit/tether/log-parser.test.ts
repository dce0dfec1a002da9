import { describe, expect, it } from 'vitest';
import { LogParser, type LogRecord, MARK, MARK_SIZE, RUN_HEADER } from '../../../tether/protocol/log.js';

function record(text: string | Buffer, time = 1, stream = 1): Buffer {
  const data = Buffer.from(text);
  const head = Buffer.alloc(13);
  head.writeBigUInt64LE(BigInt(time), 0);
  head[8] = stream;
  head.writeUInt32LE(data.length, 9);
  return Buffer.concat([head, data]);
}

function mark(place: number): Buffer {
  const bytes = Buffer.alloc(MARK_SIZE);
  MARK.copy(bytes);
  bytes.writeBigUInt64LE(BigInt(place), MARK.length);
  return bytes;
}

function parse(bytes: Buffer, start = 0, step = bytes.length): LogRecord[] {
  const parser = new LogParser(start);
  const records: LogRecord[] = [];
  for (let at = start; at < bytes.length; at += step) records.push(...parser.push(bytes.subarray(at, at + step)));
  return [...records, ...parser.finish()];
}

const texts = (records: LogRecord[]): string[] => records.map(({ data }) => data.toString());

const first = Buffer.concat([RUN_HEADER, record('one'), record('two', 2, 2), record('')]);
const middle = Buffer.concat([mark(first.length), record('three', 3)]);
const log = Buffer.concat([first, middle, RUN_HEADER, record('four', 4), record('x'.repeat(16_384), 5)]);

describe('the log', () => {
  it.each([1, 2, 7, 13, 100, 1 << 20])('gives the same records in pieces of %i bytes', (step) => {
    const records = parse(log, 0, step);
    expect(texts(records)).toEqual(['one', 'two', '', 'three', 'four', 'x'.repeat(16_384)]);
    expect(records.map(({ stream }) => stream)).toEqual(['stdout', 'stderr', 'stdout', 'stdout', 'stdout', 'stdout']);
    expect(records[3]).toMatchObject({ position: first.length + MARK_SIZE, offset: first.length + MARK_SIZE });
    expect(records[4]).toMatchObject({ timeNs: 4n, offset: RUN_HEADER.length });
  });

  it('can be read from any offset, and starts at the next mark or run', () => {
    for (let start = 1; start < log.length; start += start < 200 ? 1 : 997) {
      const expected =
        start <= first.length ? ['three', 'four'] : start <= first.length + middle.length ? ['four'] : [];
      const records = parse(log, start, 500);
      expect(texts(records).slice(0, expected.length)).toEqual(expected);
      if (expected.length === 2) expect(records[0]!.offset).toBe(first.length + MARK_SIZE);
    }
  });

  it('continues with the next run after a record that a crash truncated', () => {
    for (let cut = 1; cut < 30; cut++) {
      const broken = Buffer.concat([
        RUN_HEADER,
        record('whole'),
        record('cut off in the middle of it').subarray(0, cut),
      ]);
      expect(
        texts(parse(Buffer.concat([broken, RUN_HEADER, record('next')]))).filter((text) => !/^cut/.test(text)),
      ).toEqual(['whole', 'next']);
    }
  });

  it('gives the same records in pieces of any size when a header truncates a record', () => {
    const whole = record('cut off in the middle of it');
    for (let cut = 1; cut <= whole.length; cut++) {
      const broken = Buffer.concat([RUN_HEADER, record('whole'), whole.subarray(0, cut), RUN_HEADER, record('next')]);
      const [all, ...others] = [broken.length, 1, 2, 3, 5, 16, cut].map((step) => parse(broken, 0, step));
      for (const records of others) expect(records).toEqual(all);
    }
  });

  it('holds back a last record that ends like the start of a header until the end', () => {
    const last = Buffer.concat([RUN_HEADER, record(Buffer.concat([Buffer.from('x'), RUN_HEADER.subarray(0, 7)]))]);
    const parser = new LogParser();
    expect(parser.push(last)).toEqual([]);
    expect(parser.finish()).toHaveLength(1);
  });

  it('continues with the next mark or run after damaged bytes', () => {
    const nonsense = Buffer.alloc(100, 0xff);
    const broken = Buffer.concat([RUN_HEADER, record('whole'), nonsense]);
    expect(texts(parse(Buffer.concat([broken, mark(broken.length), record('next')])))).toEqual(['whole', 'next']);
    expect(texts(parse(Buffer.concat([broken, RUN_HEADER, record('next')]), 0, 3))).toEqual(['whole', 'next']);
  });

  it('ignores a mark with an impossible offset', () => {
    expect(texts(parse(Buffer.concat([record('no'), mark(10_000), record('no'), mark(40), record('yes')]), 1))).toEqual(
      ['yes'],
    );
  });
});
