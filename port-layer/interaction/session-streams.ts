/** One session's output to any number of attachers: all get all, and none makes the memory grow. */
import { Readable } from 'node:stream';
import type { OutputChunk } from '../types.js';

const ATTACHER_BUFFER = 64;

/** An attached reader. */
class Attacher extends Readable {
  blocked = false;

  constructor(private readonly streams: SessionStreams) {
    super({ objectMode: true, highWaterMark: ATTACHER_BUFFER });
  }

  give(chunk: OutputChunk): void {
    if (this.destroyed) return;
    if (!this.push(chunk)) this.blocked = true;
  }

  override _read(): void {
    this.blocked = false;
    this.streams.drained();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.streams.detach(this);
    done(error);
  }
}

/**
 * Fans output out. What was given is granted to the guest again (`grant`) once no attacher is behind: the slowest sets the pace,
 * within the channel's window.
 */
export class SessionStreams {
  private readonly attachers = new Set<Attacher>();
  private owed = 0;
  private ended = false;

  /**
   * @param grant tells the guest how many bytes were consumed
   * @param idle called when the last attacher has left
   */
  constructor(
    private readonly grant: (bytes: number) => void,
    private readonly idle: () => void,
  ) {}

  get count(): number {
    return this.attachers.size;
  }

  /** A new reader of everything from now on. */
  attach(): Readable {
    const attacher = new Attacher(this);
    if (this.ended) attacher.push(null);
    else this.attachers.add(attacher);
    return attacher;
  }

  detach(attacher: Attacher): void {
    if (!this.attachers.delete(attacher)) return;
    this.drained();
    if (this.attachers.size === 0 && !this.ended) this.idle();
  }

  push(chunk: OutputChunk): void {
    this.owed += chunk.data.length;
    for (const attacher of this.attachers) attacher.give(chunk);
    this.drained();
  }

  drained(): void {
    if (this.owed === 0 || [...this.attachers].some((attacher) => attacher.blocked)) return;
    const bytes = this.owed;
    this.owed = 0;
    this.grant(bytes);
  }

  /** A new connection: the guest's window starts afresh. */
  reset(): void {
    this.owed = 0;
  }

  /** No more output comes. */
  end(): void {
    this.ended = true;
    for (const attacher of this.attachers) attacher.push(null);
    this.attachers.clear();
  }
}
