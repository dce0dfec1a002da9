/** Assembles records that begin with their length (u32, little-endian), however small the pieces they arrive in. */
import { internal } from '../../src/common/errors.js';

const NOTHING = Buffer.alloc(0);
const LENGTH = 4;

/**
 * Takes bytes and gives whole records. An incomplete record is kept in one buffer, which grows with the bytes that have arrived, not with
 * the length that the record claims: a guest may claim any length, and send byte by byte.
 */
export class RecordGatherer {
  private begun: Buffer = NOTHING;
  private filled = 0;

  /**
   * @param head bytes of a record that its length does not include
   * @param most the largest length accepted
   * @param problem the error message for a larger one
   */
  constructor(
    private readonly head: number,
    public most: number,
    private readonly problem: string,
  ) {}

  /**
   * The records completed by these bytes, with their heads, one at a time: the caller finds an error in one before the next is read,
   * whatever pieces they arrive in. @throws internal for one that is too long
   */
  *push(bytes: Buffer): Generator<Buffer, void, undefined> {
    let at = 0;
    while (this.filled > 0 && at < bytes.length) {
      const end = this.filled < LENGTH ? LENGTH : this.total(this.begun, 0);
      const piece = bytes.subarray(at, at + end - this.filled);
      this.keep(piece);
      at += piece.length;
      if (this.filled < LENGTH || this.filled < this.total(this.begun, 0)) continue;
      const record = this.begun.subarray(0, this.filled);
      this.begun = NOTHING;
      this.filled = 0;
      yield record;
    }
    while (bytes.length - at >= LENGTH) {
      const end = at + this.total(bytes, at);
      if (end > bytes.length) break;
      yield bytes.subarray(at, end);
      at = end;
    }
    if (at < bytes.length) this.keep(bytes.subarray(at));
  }

  private keep(bytes: Buffer): void {
    const needed = this.filled + bytes.length;
    if (needed > this.begun.length) {
      const larger = Buffer.allocUnsafe(Math.max(needed, 2 * this.begun.length));
      this.begun.copy(larger, 0, 0, this.filled);
      this.begun = larger;
    }
    bytes.copy(this.begun, this.filled);
    this.filled = needed;
  }

  /** Length of the whole record. @throws internal */
  private total(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32LE(at);
    if (length > this.most) throw internal(this.problem);
    return this.head + length;
  }
}
