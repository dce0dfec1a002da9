/**
 * How much of a log Docker would still have: it writes lines to files, begins a new file when one has reached its size, and keeps only the
 * newest ones. What counts is the size of a line in Docker's file (moby `daemon/logger/jsonfilelog`, `daemon/logger/local`).
 */
import type { DatastoreClient } from '../../src/vim25/index.js';
import type { LogRotation } from '../exec/container-spec.js';
import { CAUGHT_UP, LineAssembler, type LogBatches, LogCursor, RUN_END, readLog } from './output-log.js';
import type { OutputChunk } from './types.js';

/**
 * Counting begins this far before the part that can be kept at most: the earlier it begins, the better it finds where Docker's files end.
 */
const BEFORE = 1024 * 1024;
const LINE_FEED = 10;

/** `{"log":"…","stream":"stdout","time":"…"}` and a line feed, without log, stream and time. */
const JSON_FRAME = '{"log":"","stream":"","time":""}\n'.length;
/** How many bytes Docker writes for a character in JSON: two for those with a short escape, six for `\u00xx`. */
const JSON_BYTES = Uint8Array.from({ length: 256 }, (_, byte) => {
  const character = String.fromCharCode(byte);
  if ('"\\\n\r'.includes(character)) return 2;
  return byte < 0x20 || '<>&'.includes(character) ? 6 : 1;
});

/**
 * Docker stamps each line with a time of its own, written without trailing zeros: one in ten is a digit shorter, one in a hundred two. Here
 * all lines of one write share a time, so the average length is counted.
 */
const TIME = 'YYYY-MM-DDThh:mm:ss.nnnnnnnnnZ'.length - 1 / 9;

function jsonBytes({ data, stream }: OutputChunk): number {
  let bytes = JSON_FRAME + stream.length + TIME;
  for (const byte of data) bytes += JSON_BYTES[byte]!;
  return bytes;
}

const varint = (value: number): number => (value < 128 ? 1 : value < 16_384 ? 2 : 3);
/** Lengths before and after the entry. */
const LOCAL_FRAME = 8;
const TIME_FIELD = 10;

function localBytes({ data, stream }: OutputChunk): number {
  const whole = data[data.length - 1] === LINE_FEED;
  const line = data.length - (whole ? 1 : 0);
  const text = line === 0 ? 0 : 1 + varint(line) + line;
  return LOCAL_FRAME + 2 + stream.length + TIME_FIELD + text + (whole ? 0 : 2);
}

const BYTES: Record<LogRotation['format'], (line: OutputChunk) => number> = {
  'json-file': jsonBytes,
  local: localBytes,
};

/** Counts the lines in the files that are kept. */
export class RotatedLines {
  /** Number of lines in each file that is kept, the newest last. */
  private readonly files = [0];
  private size = 0;

  constructor(private readonly rotation: LogRotation) {}

  /** Adds a line: to a new file, if the last one is full. */
  add(line: OutputChunk): void {
    if (this.size >= this.rotation.fileBytes) {
      this.files.push(0);
      if (this.files.length > this.rotation.files) this.files.shift();
      this.size = 0;
    }
    this.size += BYTES[this.rotation.format](line);
    this.files[this.files.length - 1]!++;
  }

  get count(): number {
    return this.files.reduce((sum, lines) => sum + lines, 0);
  }
}

/**
 * How many of a log's last lines can still be seen.
 * @param keepBytes bytes at the log's end that are always there
 */
export async function keptLines(
  datastore: DatastoreClient,
  path: string,
  rotation: LogRotation,
  keepBytes: number,
): Promise<number> {
  const size = (await datastore.size(path)) ?? 0;
  const start = Math.max(0, size - keepBytes - BEFORE);
  const lines = new RotatedLines(rotation);
  const assembler = new LineAssembler();
  const batches: LogBatches = readLog(datastore, path, new LogCursor(), { start, from: 0 });
  for await (const batch of batches)
    for (const line of assembler.push(batch)) if (line !== RUN_END && line !== CAUGHT_UP) lines.add(line);
  for (const line of assembler.rest()) lines.add(line);
  return lines.count;
}
