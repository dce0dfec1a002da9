/** Sends the records of a tree to the endpoint, no faster than it asks for them. */
import type { FileEntry } from '../../files/root-files.js';
import { RecordPack } from '../records.js';
import type { EndpointFiles } from './endpoint.js';

export class BatchSender {
  /** Nobody wants the rest any more. */
  cancelled = false;
  private readonly pack = new RecordPack();
  private wake: (() => void) | null = null;

  /** @param credit number of batches that may be sent */
  constructor(
    private readonly endpoint: Pick<EndpointFiles, 'send'>,
    private readonly id: number,
    private credit: number,
  ) {}

  grant(batches: number): void {
    this.credit += batches;
    this.wake?.();
  }

  cancel(): void {
    this.cancelled = true;
    this.wake?.();
  }

  entry(entry: FileEntry): Promise<void> | undefined {
    this.pack.entry(entry, false);
    return this.flushFull();
  }

  place(file: number, offset: number, length: number): Promise<void> | undefined {
    this.pack.place(file, offset, length);
    return this.flushFull();
  }

  zeros(length: number): Promise<void> | undefined {
    this.pack.zeros(length);
    return this.flushFull();
  }

  data(data: Buffer): Promise<void> | undefined {
    this.pack.data(data);
    return this.flushFull();
  }

  private flushFull(): Promise<void> | undefined {
    return this.pack.full ? this.flush() : undefined;
  }

  /** Sends what has been gathered, as soon as there is credit. */
  async flush(): Promise<void> {
    while (this.credit === 0 && !this.cancelled)
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    if (this.pack.empty) return;
    const { records, parts } = this.pack.take();
    if (this.cancelled) return;
    this.credit--;
    this.endpoint.send({ type: 'batch', id: this.id, records }, parts);
  }
}
