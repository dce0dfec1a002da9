/** Reading a container's output log: from the datastore, and on from there live without gap or duplicate. */
import { isKind } from '../../src/common/errors.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { LogParser } from '../../tether/protocol/log.js';
import type { LogOptions, OutputChunk } from '../types.js';

const MAX_LINE = 16_384;

/** Stands between what was stored and what comes live. */
export const CAUGHT_UP = Symbol('caught up');
/** Output, and where in it the live part begins. */
export type FollowedOutput = AsyncIterable<OutputChunk | typeof CAUGHT_UP>;

/** How far a log was read: the offset, within the newest run, of the last record given; -1: none of that run. */
export class LogCursor {
  last = -1;
}

/** The records of a log file as chunks. @param cursor kept up to date */
export async function* readLog(
  datastore: DatastoreClient,
  path: string,
  cursor = new LogCursor(),
  onlyLastRun = false,
): AsyncGenerator<OutputChunk> {
  const parser = new LogParser();
  let run = 0;
  let held: OutputChunk[] = [];
  try {
    for await (const bytes of await datastore.get(path)) {
      for (const record of parser.push(bytes as Buffer)) {
        if (record.position - record.offset !== run) held = [];
        run = record.position - record.offset;
        cursor.last = record.offset;
        const chunk = { stream: record.stream, timeNs: record.timeNs, data: record.data, offset: record.offset };
        if (onlyLastRun) held.push(chunk);
        else yield chunk;
      }
    }
  } catch (error) {
    if (!isKind(error, 'notFound')) throw error;
  }
  if (parser.run !== run) {
    cursor.last = -1;
    held = [];
  }
  yield* held;
}

/**
 * The log so far, {@link CAUGHT_UP}, and then live output. `live` must be attached, and its subscription acknowledged, before this is called: what it
 * gives that the log had already is left out.
 */
export async function* logThenLive(
  log: AsyncIterable<OutputChunk>,
  cursor: LogCursor,
  live: AsyncIterable<OutputChunk>,
): AsyncGenerator<OutputChunk | typeof CAUGHT_UP> {
  yield* log;
  yield CAUGHT_UP;
  const { last } = cursor;
  for await (const chunk of live) if (chunk.offset > last) yield chunk;
}

/** Output alone. */
export async function* outputOf(followed: FollowedOutput): AsyncGenerator<OutputChunk> {
  for await (const chunk of followed) if (chunk !== CAUGHT_UP) yield chunk;
}

/** Puts output together to lines: a chunk is one line (or a part of one longer than 16 KiB), with the time of its first byte. */
export async function* toLines(chunks: FollowedOutput): AsyncGenerator<OutputChunk | typeof CAUGHT_UP> {
  const open = new Map<OutputChunk['stream'], OutputChunk>();
  for await (const chunk of chunks) {
    if (chunk === CAUGHT_UP) {
      yield chunk;
      continue;
    }
    let rest = chunk.data;
    while (rest.length > 0) {
      const before = open.get(chunk.stream);
      const room = MAX_LINE - (before?.data.length ?? 0);
      const feed = rest.indexOf(10);
      const whole = feed >= 0 && feed < room;
      const part = rest.subarray(0, whole ? feed + 1 : Math.min(room, rest.length));
      rest = rest.subarray(part.length);
      const line =
        before === undefined ? { ...chunk, data: part } : { ...before, data: Buffer.concat([before.data, part]) };
      if (whole || line.data.length >= MAX_LINE) {
        open.delete(chunk.stream);
        yield line;
      } else {
        open.set(chunk.stream, line);
      }
    }
  }
  yield* [...open.values()].sort((a, b) => (a.timeNs < b.timeNs ? -1 : 1));
}

/** Lines of the wanted streams and times. A line after `untilNs` ends it when output is followed. */
export async function* filterLines(
  lines: FollowedOutput,
  options: LogOptions,
): AsyncGenerator<OutputChunk | typeof CAUGHT_UP> {
  for await (const line of lines) {
    if (line !== CAUGHT_UP) {
      if (!(line.stream === 'stdout' ? options.stdout : options.stderr)) continue;
      if (options.sinceNs !== undefined && line.timeNs < options.sinceNs) continue;
      if (options.untilNs !== undefined && line.timeNs > options.untilNs) {
        if (options.follow) return;
        continue;
      }
    }
    yield line;
  }
}

/** The last lines of what was stored, and all that follows. @param count undefined: all of them */
export async function* tail(lines: FollowedOutput, count: number | undefined): AsyncGenerator<OutputChunk> {
  let last: OutputChunk[] | null = count === undefined ? null : [];
  for await (const line of lines) {
    if (line === CAUGHT_UP) {
      yield* lastOf(last, count);
      last = null;
    } else if (last === null) {
      yield line;
    } else {
      last.push(line);
      // Cut now and then, so that each line costs the same.
      if (last.length > 2 * count! + 1) last = lastOf(last, count);
    }
  }
  yield* lastOf(last, count);
}

function lastOf(lines: OutputChunk[] | null, count = 0): OutputChunk[] {
  return count === 0 ? [] : (lines ?? []).slice(-count);
}
