/**
 * The output log of a container (`output.log`): each run begins with a 16-byte header, then records of u64 unix nanoseconds, u8
 * stream (`Stream`), u32 length, payload (little-endian). Written by `tether/guest/output_log.c`. A record that a crash cut short is
 * followed by the next run's header, which the parser finds. Between records, at least every {@link MARK_EVERY} bytes, there is a mark:
 * 16 bytes and u64, the mark's own place in its run. A reader that begins in the middle of the file finds its way by marks.
 */
import { Stream } from './frames.js';

/** The first four bytes of {@link RUN_HEADER} and {@link MARK}. */
const MAGIC = 0xca15500e;
export const RUN_HEADER = Buffer.from([0xca, 0x15, 0x50, 0x0e, ...Buffer.from('caisson-log1')]);
export const MARK = Buffer.from([0xca, 0x15, 0x50, 0x0e, ...Buffer.from('caisson-mark')]);
export const MARK_SIZE = MARK.length + 8;
/** Bytes of records between marks, not counting the last one. */
export const MARK_EVERY = 131_072;
export const RECORD_HEAD = 13;
export const MAX_RECORD = 32_768;

/** One record. */
export interface LogRecord {
  timeNs: bigint;
  stream: 'stdout' | 'stderr';
  data: Buffer;
  /** Position of its head in the file. */
  position: number;
  /** The same, counted from its run's header: the `offset` of the channel. */
  offset: number;
}

/** Takes the log's bytes in order, in pieces of any size, and returns its records. Never throws: damaged bytes are skipped. */
export class LogParser {
  private bytes: Buffer = Buffer.alloc(0);
  /** Where to continue in `bytes`. */
  private at = 0;
  private runStart: number;
  /** A mark or header must be found first. */
  private lost: boolean;
  /** Where in `bytes` the next run's header and the next mark are. */
  private readonly header = new Next(RUN_HEADER);
  private readonly mark = new Next(MARK);
  /** No more bytes follow. */
  private ended = false;

  /**
   * @param position of the first byte in the file; unless it is 0, or `run` is given, reading begins at the next mark
   * @param run where the run of `position` begins; then a record, mark or header must begin at `position`
   */
  constructor(
    private position = 0,
    run?: number,
  ) {
    this.runStart = run ?? position;
    this.lost = position > 0 && run === undefined;
  }

  /** The records completed by these bytes. */
  push(bytes: Buffer): LogRecord[] {
    const rest = this.bytes.subarray(this.at);
    this.bytes = rest.length === 0 ? bytes : Buffer.concat([rest, bytes]);
    this.at = 0;
    this.header.begin(this.bytes);
    this.mark.begin(this.bytes);
    const records: LogRecord[] = [];
    while (this.next(records));
    return records;
  }

  /** No more bytes follow. Returns the records that were held back because later bytes could have shown them to be cut short. */
  finish(): LogRecord[] {
    this.ended = true;
    return this.push(Buffer.alloc(0));
  }

  /** Position in the file after the last whole record. */
  get end(): number {
    return this.position;
  }

  /** Position of the current run's header. */
  get run(): number {
    return this.runStart;
  }

  /** Takes one record, header or mark. False: more bytes are needed. */
  private next(records: LogRecord[]): boolean {
    const { bytes, at } = this;
    const left = bytes.length - at;
    if (this.lost) return this.findWay();
    if (left < RECORD_HEAD) return false;
    if (bytes.readUInt32BE(at) === MAGIC) {
      if (left < RUN_HEADER.length) return false;
      if (bytes.compare(RUN_HEADER, 0, RUN_HEADER.length, at, at + RUN_HEADER.length) === 0) {
        this.runStart = this.position;
        this.advance(RUN_HEADER.length);
        return true;
      }
      if (bytes.compare(MARK, 0, MARK.length, at, at + MARK.length) === 0) {
        if (left < MARK_SIZE) return false;
        this.advance(MARK_SIZE);
        return true;
      }
    }
    const length = bytes.readUInt32LE(at + 9);
    const stream = bytes[at + 8];
    if (length > MAX_RECORD || (stream !== Stream.stdout && stream !== Stream.stderr)) {
      this.lost = true;
      return true;
    }
    const end = at + RECORD_HEAD + length;
    // A record that was cut short seems to contain the next run's header, so a header within its length ends it.
    const header = this.header.from(at);
    if (header > at && header < end) {
      this.advance(header - at);
      return true;
    }
    if (bytes.length < end || (!this.ended && this.maySwallow(end))) return false;
    records.push({
      timeNs: bytes.readBigUInt64LE(at),
      stream: stream === Stream.stderr ? 'stderr' : 'stdout',
      data: bytes.subarray(at + RECORD_HEAD, end),
      position: this.position,
      offset: this.position - this.runStart,
    });
    this.advance(RECORD_HEAD + length);
    return true;
  }

  /** Whether a run's header may begin within the record that ends at `end`, with the rest of the header still to come. */
  private maySwallow(end: number): boolean {
    const { bytes, at } = this;
    for (let start = Math.max(at + 1, bytes.length - RUN_HEADER.length + 1); start < end; start++)
      if (bytes.compare(RUN_HEADER, 0, bytes.length - start, start) === 0) return true;
    return false;
  }

  /** Looks for the next mark or the next run. */
  private findWay(): boolean {
    const { bytes, at } = this;
    const run = this.header.from(at);
    for (let mark = this.mark.from(at); mark >= 0 && (run < 0 || mark < run); mark = this.mark.from(mark + 1)) {
      if (mark + MARK_SIZE > bytes.length) {
        this.advance(mark - at);
        return false;
      }
      const place = bytes.readBigUInt64LE(mark + MARK.length);
      // A process may have written the bytes of a mark: one whose place is impossible is not a mark.
      const runStart = BigInt(this.position + mark - at) - place;
      if (runStart < 0n) continue;
      this.runStart = Number(runStart);
      this.lost = false;
      this.advance(mark - at);
      return true;
    }
    this.lost = run < 0;
    // If there is neither, skips all bytes in which none can begin.
    this.advance(run < 0 ? Math.max(0, bytes.length - at - MARK_SIZE + 1) : run - at);
    return run >= 0;
  }

  private advance(bytes: number): void {
    this.at += bytes;
    this.position += bytes;
  }
}

/** Finds the next place of some bytes, and searches only once for each: a guest can write a log that makes the parser ask often. */
class Next {
  private bytes: Buffer = Buffer.alloc(0);
  /** The place found last; -1: there is none from there on. */
  private found = 0;
  private searched = false;

  constructor(private readonly what: Buffer) {}

  begin(bytes: Buffer): void {
    this.bytes = bytes;
    this.searched = false;
  }

  /** The first place from `at` on; -1: there is none. `at` must not decrease. */
  from(at: number): number {
    if (!this.searched || (this.found >= 0 && this.found < at)) {
      this.searched = true;
      this.found = this.bytes.indexOf(this.what, at);
    }
    return this.found;
  }
}
