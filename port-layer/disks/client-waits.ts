/**
 * How long a call that occupies a disk reader has been waiting for its own client: to take what is read, or to send what is to be written.
 */
import { performance } from 'node:perf_hooks';

export class ClientWaits {
  private since: number | null = null;
  private before = 0;
  private bytes = 0;
  private readonly began = performance.now();
  private end: ((error: Error) => void) | null = null;

  /** Time since the last byte, in ms. */
  get now(): number {
    return this.since === null ? 0 : performance.now() - this.since;
  }

  /** All waiting added up, in ms. */
  get total(): number {
    return this.before + this.now;
  }

  /** Bytes per ms since the call began. */
  get rate(): number {
    return this.bytes / (performance.now() - this.began + 1);
  }

  /** Marks the call as sending to a client. @param end ends it, with a reason for the client */
  serves(end: (error: Error) => void): void {
    this.end = end;
  }

  /** Ends the call. @returns false if it is not waiting for its client */
  giveUp(error: Error): boolean {
    const { end } = this;
    this.end = null;
    this.stop();
    end?.(error);
    return end !== null;
  }

  /** Passes on bytes that the client reads. */
  sent(data: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    return this.passed(data, (piece) => piece.length);
  }

  /** Passes on what the client reads. @param size its bytes */
  async *passed<T>(data: AsyncIterable<T>, size: (piece: T) => number): AsyncGenerator<T> {
    for await (const piece of data) {
      this.start();
      yield piece;
      this.stop();
      this.bytes += size(piece);
    }
  }

  /** Passes on bytes from the client. If the call is given up, this stream ends, and `data` is left as it is. */
  async *received(data: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
    const pieces = data[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.next(pieces);
        if (next.done === true) return;
        this.bytes += next.value.length;
        yield next.value;
      }
    } finally {
      this.end = null;
      // Not awaited, because the client may never send anything more.
      pieces.return?.()?.catch(() => undefined);
    }
  }

  private next(pieces: AsyncIterator<Buffer>): Promise<IteratorResult<Buffer>> {
    return new Promise<IteratorResult<Buffer>>((resolve, reject) => {
      this.end = reject;
      this.start();
      pieces.next().then(resolve, reject);
    }).finally(() => this.stop());
  }

  private start(): void {
    this.since = performance.now();
  }

  private stop(): void {
    this.before = this.total;
    this.since = null;
  }
}
