/**
 * A queue of bytes. It doubles its room when it is full, so that a client that sends byte by byte does not have everything copied for each
 * byte.
 */
export class GrowingBuffer {
  /** The bytes that are there. They never change, so pieces of them may be kept. */
  bytes: Buffer = Buffer.alloc(0);
  /** Our own memory, of which `bytes` is a part up to `end`; null: `bytes` is the sender's. */
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
      // Not from Node's pool, which others share.
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
