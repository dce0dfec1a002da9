/**
 * Bytes that come at the end and go at the front. Room is doubled when there is none: a client that sends byte by byte must not have all
 * that it sent before copied for each.
 */
export class GrowingBuffer {
  /** What is there. It is not changed any more: pieces of it may be kept. */
  bytes: Buffer = Buffer.alloc(0);
  /** Memory of our own that `bytes` is a part of, up to `end`; null: it is the sender's. */
  private store: Buffer | null = null;
  private end = 0;

  append(data: Buffer): void {
    const { length } = this.bytes;
    if (length === 0) {
      this.bytes = data;
      this.store = null;
      return;
    }
    if (this.store === null || this.store.length - this.end < data.length) {
      // Not from Node's pool, whose memory is shared with others.
      const store = Buffer.allocUnsafeSlow(Math.max(1024, 2 * (length + data.length)));
      this.bytes.copy(store);
      this.store = store;
      this.end = length;
    }
    data.copy(this.store, this.end);
    this.end += data.length;
    this.bytes = this.store.subarray(this.end - length - data.length, this.end);
  }

  /** Takes bytes off the front. */
  drop(count: number): void {
    this.bytes = this.bytes.subarray(count);
    if (this.bytes.length === 0) this.clear();
  }

  clear(): void {
    this.bytes = Buffer.alloc(0);
    this.store = null;
  }
}
