/** Exact reads from a stream. */
import type { Readable } from 'node:stream';
import { invalid } from '../../common/errors.js';

/** Told of bytes, which stay until its promise, if there is one, is settled. */
export type Passed = (bytes: Buffer) => Promise<void> | undefined;

/** Takes bytes from a stream in the amounts asked for. */
export class ByteSource {
  private readonly iterator: AsyncIterator<Buffer>;
  private chunk: Buffer = Buffer.alloc(0);
  private at = 0;
  private ended = false;

  /** @param passed told of all bytes but those that {@link ByteSource.take} gives */
  constructor(
    stream: Readable,
    private readonly passed: Passed | null = null,
  ) {
    this.iterator = stream[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  }

  private async refill(): Promise<boolean> {
    while (!this.ended && this.at >= this.chunk.length) {
      const next = await this.iterator.next();
      if (next.done) this.ended = true;
      else {
        this.chunk = Buffer.isBuffer(next.value) ? next.value : Buffer.from(next.value);
        this.at = 0;
      }
    }
    return this.at < this.chunk.length;
  }

  /** Like {@link ByteSource.some}, untold. */
  async take(limit: number): Promise<Buffer | null> {
    if (this.at >= this.chunk.length && !(await this.refill())) return null;
    const part = this.chunk.subarray(this.at, this.at + limit);
    this.at += part.length;
    return part;
  }

  /** Between 1 and `limit` bytes, whatever is available; null at the end. A view, valid until the next call. */
  async some(limit: number): Promise<Buffer | null> {
    const part = await this.take(limit);
    const used = part && this.passed?.(part);
    if (used) await used;
    return part;
  }

  /** Exactly `length` bytes; null if the stream ends before the first one. Throws `invalid` if it ends in between. */
  async exactly(length: number): Promise<Buffer | null> {
    if (this.chunk.length - this.at >= length) {
      this.at += length;
      const bytes = this.chunk.subarray(this.at - length, this.at);
      const used = this.passed?.(bytes);
      if (used) await used;
      return bytes;
    }
    const out = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const part = await this.some(length - done);
      if (!part) {
        if (done === 0) return null;
        throw invalid('the tar ends in the middle of an entry');
      }
      part.copy(out, done);
      done += part.length;
    }
    return out;
  }

  /** Skips `length` bytes. @throws invalid if the stream ends before that */
  async pass(length: number): Promise<void> {
    if (!(await this.passIfThere(length))) throw invalid('the tar ends in the middle of an entry');
  }

  /** Skips up to `length` bytes; false if the stream ends before that. */
  async passIfThere(length: number): Promise<boolean> {
    let left = length;
    while (left > 0) {
      const part = await this.some(left);
      if (!part) return false;
      left -= part.length;
    }
    return true;
  }

  /** Reads the stream to its end. */
  async drain(): Promise<void> {
    while (await this.some(Number.MAX_SAFE_INTEGER));
  }
}
