/**
 * The output log of a container (`output.log`): each run begins with a 16-byte header, then records of u64 unix nanoseconds, u8
 * stream (1 stdout, 2 stderr), u32 length, payload (little-endian). Written by `tether/guest/session.c`. A record that a crash cut
 * short is followed by the next run's header; the parser finds it.
 */

export const RUN_HEADER = Buffer.from([0xca, 0x15, 0x50, 0x0e, ...Buffer.from('caisson-log1')]);
export const RECORD_HEAD = 13;
export const MAX_RECORD = 16_384;

/** One record. */
export interface LogRecord {
  timeNs: bigint;
  stream: 'stdout' | 'stderr';
  data: Buffer;
  /** Where its head stands in the file. */
  position: number;
  /** The same within its run, from the run's header on: what the channel gives as `offset`. */
  offset: number;
}

/** Takes the log's bytes in order and gives records. Never throws: damaged bytes are passed over. */
export class LogParser {
  private pending: Buffer = Buffer.alloc(0);
  private runStart: number;

  /** @param position of the first byte in the file; 0, or the start of a run */
  constructor(private position = 0) {
    this.runStart = position;
  }

  /** The records that are complete with these bytes. */
  push(bytes: Buffer): LogRecord[] {
    this.pending = this.pending.length === 0 ? bytes : Buffer.concat([this.pending, bytes]);
    const records: LogRecord[] = [];
    for (;;) {
      if (this.atHeader()) {
        this.runStart = this.position;
        this.advance(RUN_HEADER.length);
        continue;
      }
      if (this.pending.length < Math.max(RECORD_HEAD, RUN_HEADER.length)) {
        // A short last record is whole once its own length is there.
        if (!this.shortRecord()) break;
      }
      const length = this.pending.readUInt32LE(9);
      const stream = this.pending[8];
      if (length > MAX_RECORD || (stream !== 1 && stream !== 2)) {
        if (!this.resynchronise()) break;
        continue;
      }
      // A cut-off record swallows the next run's header: a header inside its bounds ends it.
      const cut = this.pending.subarray(0, RECORD_HEAD + length).indexOf(RUN_HEADER);
      if (cut > 0) {
        this.advance(cut);
        continue;
      }
      if (this.pending.length < RECORD_HEAD + length) break;
      records.push({
        timeNs: this.pending.readBigUInt64LE(0),
        stream: stream === 2 ? 'stderr' : 'stdout',
        data: this.pending.subarray(RECORD_HEAD, RECORD_HEAD + length),
        position: this.position,
        offset: this.position - this.runStart,
      });
      this.advance(RECORD_HEAD + length);
    }
    return records;
  }

  /** Position in the file after the last whole record. */
  get end(): number {
    return this.position;
  }

  /** Position of the current run's header. */
  get run(): number {
    return this.runStart;
  }

  private atHeader(): boolean {
    return this.pending.length >= RUN_HEADER.length && this.pending.subarray(0, RUN_HEADER.length).equals(RUN_HEADER);
  }

  private shortRecord(): boolean {
    return (
      this.pending.length > RECORD_HEAD &&
      !RUN_HEADER.subarray(0, 4).equals(this.pending.subarray(0, 4)) &&
      this.pending.length >= RECORD_HEAD + this.pending.readUInt32LE(9)
    );
  }

  private resynchronise(): boolean {
    const found = this.pending.indexOf(RUN_HEADER, 1);
    if (found < 0) {
      this.advance(Math.max(1, this.pending.length - RUN_HEADER.length + 1));
      return false;
    }
    this.advance(found);
    return true;
  }

  private advance(bytes: number): void {
    this.pending = this.pending.subarray(bytes);
    this.position += bytes;
  }
}
