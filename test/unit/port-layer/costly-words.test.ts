/**
 * A guest's data is parsed in time and memory proportional to its length, whatever it contains: each of these inputs
 * once kept the endpoint busy for minutes to days, or took a hundred times its length. The bound is the test's own time.
 */
import { describe, expect, it } from 'vitest';
import { parseProcesses } from '../../../port-layer/observe/processes.js';
import { parseUsage } from '../../../port-layer/observe/usage.js';
import { FieldWriter } from '../../../tether/protocol/fields.js';
import { encodeRecord, FileRecordParser, FileReply } from '../../../tether/protocol/files.js';
import { LogParser, MARK, RUN_HEADER } from '../../../tether/protocol/log.js';
import { Observation, ObservationParser } from '../../../tether/protocol/observation.js';

const MIB = 1 << 20;
const blanks = ' '.repeat(2 * MIB);

function facts(texts: Record<string, string>): Map<string, Buffer> {
  return new Map(Object.entries(texts).map(([name, text]) => [name, Buffer.from(text)]));
}

describe('a guest’s processes and resource usage', () => {
  it.each<[string, Record<string, string>]>([
    ['ids among blanks', { '1/status': `Uid:${blanks}x\nGid:${blanks}x` }],
    ['ids among line feeds', { '1/status': `Uid:${'\n'.repeat(2 * MIB)}x` }],
    ['arguments of nothing', { '1/cmdline': `${'\0'.repeat(2 * MIB)}x` }],
    ['fields without end', { '1/stat': `1 (a) R${blanks}` }],
    ['a name without end', { '1/stat': `1 (${'('.repeat(2 * MIB)}) R 0` }],
    ['users without end', { passwd: 'a::1\n'.repeat(MIB) }],
  ])('%s', (_what, texts) => {
    const list = parseProcesses(facts({ '1/stat': '1 (a) R 0 1', ...texts }), new Date());
    expect(list.processes).toHaveLength(texts['1/stat']?.startsWith('1 ((') ? 0 : 1);
    expect(list.users.size).toBeLessThan(2);
  });

  it.each<[string, Record<string, string>]>([
    ['memory', { meminfo: `MemTotal:${blanks}${'MemTotal:\n'.repeat(MIB)}` }],
    ['keys', { 'memory.stat': `a${blanks}`, 'cpu.stat': 'a 1\n'.repeat(MIB) }],
    ['cards', { net: `\n\n${`x:${blanks}\n`.repeat(4)}`, 'memory.max': 'max' }],
    ['disks', { 'io.stat': `1:1 ${'=='.repeat(MIB)}${blanks}` }],
  ])('%s', (_what, texts) => {
    const usage = parseUsage(facts(texts), new Date());
    expect(JSON.stringify(usage).length).toBeLessThan(20_000);
  });
});

it('its resource usage has a lower size limit than its processes', () => {
  const long = Buffer.alloc(4);
  long.writeUInt32LE(2 * MIB);
  const parser = new ObservationParser();
  parser.asked(Observation.processes);
  expect(parser.push(long)).toEqual([]);
  const other = new ObservationParser();
  other.asked(Observation.usage);
  expect(() => other.push(long)).toThrow('too long');
});

describe('byte by byte', () => {
  /** Pieces as they come over the channel: each is a slice of a larger read that is mostly for other readers. */
  function bytewise(bytes: Buffer, take: (piece: Buffer) => number): { records: number; grown: number } {
    const before = process.memoryUsage();
    let records = 0;
    let grown = 0;
    for (let at = 0; at < bytes.length; at += 2048) {
      const read = Buffer.alloc(65_536);
      bytes.copy(read, 0, at, at + 2048);
      const count = Math.min(2048, bytes.length - at);
      for (let i = 0; i < count; i++) records += take(read.subarray(i, i + 1));
      const now = process.memoryUsage();
      grown = Math.max(grown, now.heapUsed - before.heapUsed + now.arrayBuffers - before.arrayBuffers);
    }
    return { records, grown };
  }

  it('records of files', () => {
    const parser = new FileRecordParser();
    const record = encodeRecord(FileReply.content, Buffer.alloc(MIB - 1));
    const { records, grown } = bytewise(Buffer.concat([record, record]), (piece) => parser.push(piece).length);
    expect(records).toBe(2);
    expect(grown).toBeLessThan(150 * MIB);
  });

  it('records of its processes', () => {
    const parser = new ObservationParser();
    parser.asked(Observation.processes);
    const body = new FieldWriter()
      .string('a')
      .string('x'.repeat(2 * MIB))
      .bytes();
    const record = Buffer.concat([new FieldWriter().u32(body.length).bytes(), body]);
    const { records, grown } = bytewise(record, (piece) => parser.push(piece).length);
    expect(records).toBe(1);
    expect(grown).toBeLessThan(150 * MIB);
  });
});

describe('the log', () => {
  const wrong = Buffer.alloc(8, 0xff);
  it.each<[string, Buffer]>([
    ['marks, and what is none between them', Buffer.concat([MARK, Buffer.alloc(8), wrong])],
    ['marks with places that cannot be', Buffer.concat([MARK, wrong])],
    ['headers, and what is none between them', Buffer.concat([RUN_HEADER, wrong])],
  ])('%s', (_what, unit) => {
    const bytes = Buffer.alloc(8 * MIB);
    for (let at = 0; at < bytes.length; at += unit.length) unit.copy(bytes, at);
    const parser = new LogParser();
    expect(parser.push(bytes)).toEqual([]);
    // A complete record after it is found.
    const run = Buffer.concat([RUN_HEADER, Buffer.alloc(8), Buffer.of(1, 1, 0, 0, 0), Buffer.from('x')]);
    expect(parser.push(run).map(({ data }) => String(data))).toEqual(['x']);
  });
});
