/**
 * Reads a container's output log: from the datastore, and then live without gap or duplicate. Everything goes in batches, because a log has
 * many lines and each must cost little.
 */
import { isKind } from '../../src/common/errors.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { LogParser, type LogRecord, MARK_EVERY } from '../../tether/protocol/log.js';
import type { LogOptions, OutputChunk } from './types.js';

/** A longer line is split, as in Docker. */
const MAX_LINE = 16_384;
const LINE_FEED = 10;
/** To find the last lines, this much of the log's end is read first; then four times as much, and so on. */
const TAIL_BYTES = 1 << 20;
/** A log without marks, of an earlier version, is searched for its last run only up to this size. */
const MAX_SEARCHED = 256 << 20;

/** Marks the point between stored and live output. */
export const CAUGHT_UP = Symbol('caught up');
/** Marks the end of a run's output. */
export const RUN_END = Symbol('run end');
export type LogItem = OutputChunk | typeof CAUGHT_UP | typeof RUN_END;
/** Output in order, in batches. */
export type LogBatches = AsyncIterable<LogItem[]>;

/** How far a log was read: the offset of the last record given, within the newest run; -1: none of that run yet. */
export class LogCursor {
  last = -1;
  /** Where that run begins in the file. */
  run = 0;
}

/** Which part of a log file is read. */
export interface LogPart {
  /** Reading begins at the first mark from here on. */
  start: number;
  /** Records that begin before this are left out, and the rest of a line that began in one. */
  from: number;
}

const WHOLE: LogPart = { start: 0, from: 0 };

/**
 * Passes batches on while they are wanted. A long log may hold nothing to show, and must not be read to its end for a client that is gone.
 */
export async function* whileWanted(batches: LogBatches, wanted: () => boolean): AsyncGenerator<LogItem[]> {
  for await (const batch of batches) {
    if (!wanted()) return;
    yield batch;
  }
}

/** The records of a log file as it is read; a batch may be empty. @param cursor kept up to date */
export async function* readLog(
  datastore: DatastoreClient,
  path: string,
  cursor = new LogCursor(),
  { start, from }: LogPart = WHOLE,
): AsyncGenerator<LogItem[]> {
  const parser = new LogParser(start);
  const trimmer = from > 0 ? new Trimmer(from) : null;
  let run = -1;
  try {
    for await (const records of recordsOf(parser, await datastore.get(path, { start }))) {
      const batch: LogItem[] = [];
      for (const record of records) {
        const began = record.position - record.offset;
        if (began !== run && run >= 0) batch.push(RUN_END);
        run = began;
        cursor.last = record.offset;
        const kept = trimmer === null ? record : trimmer.take(record);
        if (kept !== null) batch.push(kept);
      }
      yield batch;
    }
  } catch (error) {
    if (!isKind(error, 'notFound')) throw error;
  }
  cursor.run = parser.run;
  if (parser.run !== run) {
    cursor.last = -1;
    if (run >= 0) yield [RUN_END];
  }
}

/** The records that a parser finds in the file as it is now. */
async function* recordsOf(parser: LogParser, file: AsyncIterable<unknown>): AsyncGenerator<LogRecord[]> {
  for await (const bytes of file) yield parser.push(bytes as Buffer);
  yield parser.finish();
}

/** Passes on records from a position in the file, each stream beginning with a whole line. */
class Trimmer {
  /** Streams whose last omitted record did not end a line. */
  private readonly open = new Set<LogRecord['stream']>();

  constructor(private readonly from: number) {}

  take(record: LogRecord): LogRecord | null {
    const { stream, data } = record;
    if (record.position < this.from) {
      if (data.length === 0 || data[data.length - 1] === LINE_FEED) this.open.delete(stream);
      else this.open.add(stream);
      return null;
    }
    if (!this.open.has(stream)) return record;
    const feed = data.indexOf(LINE_FEED);
    if (feed < 0) return null;
    this.open.delete(stream);
    return { ...record, data: data.subarray(feed + 1) };
  }
}

/**
 * The log so far, {@link CAUGHT_UP}, and then live output. `live` must be attached, and its subscription acknowledged, before this is
 * called. Live output that was already in the log is left out.
 * @param next the position in the file at which the live run begins, or an earlier one
 */
export async function* logThenLive(
  log: LogBatches,
  cursor: LogCursor,
  live: AsyncIterable<OutputChunk>,
  next = 0,
): AsyncGenerator<LogItem[]> {
  yield* log;
  yield [CAUGHT_UP];
  const last = cursor.run >= next ? cursor.last : -1;
  for await (const chunk of live) if (chunk.offset > last) yield [chunk];
  yield [RUN_END];
}

/** Assembles output into lines. A chunk is one line (or a part of one longer than 16 KiB), with the time of its first byte. */
export class LineAssembler {
  private readonly open = new Map<OutputChunk['stream'], OutputChunk>();

  /** The lines completed by these pieces. The end of a run also completes its unfinished lines. */
  push(batch: LogItem[]): LogItem[] {
    const lines: LogItem[] = [];
    for (const item of batch) {
      if (item === RUN_END) lines.push(...this.rest());
      else if (item === CAUGHT_UP) lines.push(item);
      else this.split(item, lines);
    }
    return lines;
  }

  /** The unfinished lines. */
  rest(): OutputChunk[] {
    const rest = [...this.open.values()].sort((a, b) => (a.timeNs < b.timeNs ? -1 : 1));
    this.open.clear();
    return rest;
  }

  private split({ stream, timeNs, data, offset }: OutputChunk, lines: LogItem[]): void {
    let at = 0;
    const before = this.open.get(stream);
    if (before !== undefined) {
      at = pieceEnd(data, 0, MAX_LINE - before.data.length);
      const line = { ...before, data: Buffer.concat([before.data, data.subarray(0, at)]) };
      if (!isLine(line.data)) {
        this.open.set(stream, line);
        return;
      }
      this.open.delete(stream);
      lines.push(line);
    }
    while (at < data.length) {
      const end = pieceEnd(data, at, MAX_LINE);
      const line = { stream, timeNs, data: data.subarray(at, end), offset };
      if (isLine(line.data)) lines.push(line);
      else this.open.set(stream, line);
      at = end;
    }
  }
}

/** Where the piece of a line that begins at `at` ends. */
function pieceEnd(data: Buffer, at: number, room: number): number {
  const feed = data.indexOf(LINE_FEED, at);
  return Math.min(feed < 0 ? data.length : feed + 1, at + room);
}

function isLine(data: Buffer): boolean {
  return data.length >= MAX_LINE || data[data.length - 1] === LINE_FEED;
}

/**
 * The lines that were asked for. As in Docker, the last lines are counted among all, and lines of another stream or time are left out only
 * then; the first line after `untilNs` ends the log.
 * @param ended the log's last run is over, so what it left without a line feed is a line too
 */
export async function* selectLines(
  batches: LogBatches,
  options: LogOptions,
  ended: boolean,
): AsyncGenerator<OutputChunk[]> {
  const assembler = new LineAssembler();
  let last: OutputChunk[] | null = options.tail === undefined ? null : [];
  const count = options.tail ?? 0;
  const kept = (lines: OutputChunk[]): OutputChunk[] => (count === 0 ? [] : lines.slice(-count));
  const wanted = ({ stream, timeNs }: OutputChunk): boolean =>
    (stream === 'stdout' ? options.stdout : options.stderr) &&
    (options.sinceNs === undefined || timeNs >= options.sinceNs);
  for await (const batch of withEnd(batches, ended)) {
    const lines: OutputChunk[] = [];
    for (const item of assembler.push(batch)) {
      if (item === RUN_END) continue;
      if (item === CAUGHT_UP) {
        lines.push(...kept(last ?? []));
        last = null;
      } else if (last === null) {
        lines.push(item);
      } else {
        last.push(item);
        // Trimmed only now and then, so that the cost per line stays constant.
        if (last.length > 2 * count + 1000) last = kept(last);
      }
    }
    const end = endOf(lines, options.untilNs);
    const chosen = lines.slice(0, end).filter(wanted);
    if (chosen.length > 0) yield chosen;
    if (end < lines.length) return;
  }
  const tail = last === null ? [] : kept(last);
  const chosen = tail.slice(0, endOf(tail, options.untilNs)).filter(wanted);
  if (chosen.length > 0) yield chosen;
}

async function* withEnd(batches: LogBatches, ended: boolean): AsyncGenerator<LogItem[]> {
  yield* batches;
  if (ended) yield [RUN_END];
}

function endOf(lines: OutputChunk[], untilNs: bigint | undefined): number {
  if (untilNs === undefined) return lines.length;
  const found = lines.findIndex(({ timeNs }) => timeNs > untilNs);
  return found < 0 ? lines.length : found;
}

/** Which part of a log file to read: for the last lines, not much more than is needed; for a log with a limit, its end. */
export async function logPart(
  datastore: DatastoreClient,
  path: string,
  { tail, keepBytes }: { tail?: number | undefined; keepBytes?: number | undefined },
): Promise<LogPart> {
  if (tail === undefined && keepBytes === undefined) return WHOLE;
  const size = (await datastore.size(path)) ?? 0;
  const from = keepBytes === undefined ? 0 : Math.max(0, size - keepBytes);
  // Within this distance there is a mark, whatever the length of the records.
  const first = Math.max(0, from - 2 * MARK_EVERY);
  if (tail === undefined) return { start: first, from };
  for (let bytes = TAIL_BYTES; size - bytes > first; bytes *= 4) {
    const part = { start: size - bytes, from };
    if (await hasLines(readLog(datastore, path, new LogCursor(), part), tail)) return part;
  }
  return { start: first, from };
}

async function hasLines(batches: LogBatches, count: number): Promise<boolean> {
  const assembler = new LineAssembler();
  // After a mark, the first line of each stream may be the rest of a longer one.
  let found = -2;
  for await (const batch of batches) {
    found += assembler.push(batch).length;
    if (found >= count) return true;
  }
  return false;
}

/** Where in a log file the newest run with output begins; 0 if the end of a long log has nothing that can be parsed. */
export async function newestRun(datastore: DatastoreClient, path: string): Promise<number> {
  const size = (await datastore.size(path)) ?? 0;
  for (const start of [Math.max(0, size - TAIL_BYTES), 0]) {
    if (size - start > MAX_SEARCHED) break;
    const cursor = new LogCursor();
    let found = false;
    for await (const batch of readLog(datastore, path, cursor, { start, from: 0 })) found ||= batch.length > 0;
    if (found) return cursor.run;
  }
  return 0;
}

/**
 * The records of a run after a given one, as far as they are in the log.
 * @param run where the run begins
 * @param after the given record's offset; -1: from the beginning
 * @param wanted false once nobody reads any more
 */
export async function* readAfter(
  datastore: DatastoreClient,
  path: string,
  run: number,
  after: number,
  wanted = (): boolean => true,
): AsyncGenerator<OutputChunk> {
  const start = run + Math.max(0, after);
  const parser = new LogParser(start, run);
  for await (const records of recordsOf(parser, await datastore.get(path, { start }))) {
    if (!wanted()) return;
    for (const record of records) {
      if (record.position - record.offset !== run) return;
      if (record.offset > after) yield record;
    }
  }
}

/** Only the output, piece by piece. */
export async function* outputOf(batches: LogBatches): AsyncGenerator<OutputChunk> {
  for await (const batch of batches) {
    for (const item of batch) if (item !== CAUGHT_UP && item !== RUN_END) yield item;
  }
}
