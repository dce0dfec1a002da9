/** One session's output to any number of readers: all get everything, none makes memory grow, and a slow one only slows itself. */
import { Readable } from 'node:stream';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { ChunkQueue } from './chunk-queue.js';
import type { OutputChunk } from './types.js';

const log = logger('streams');

/** Pieces of output, of at most 32 KiB each. */
const ATTACHER_BUFFER = 64;
const ATTACHER_BYTES = 1 << 20;

/** How a reader affects the others. */
export interface ReaderOptions {
  /** The process waits for this reader if no other is faster. False: it never does, as for a reader of the log. */
  paces: boolean;
  /**
   * Gives the session's output again from the log, from a record's offset up to the log's end. Without it, the session waits for this
   * reader. `wanted`: false when the reader has gone.
   */
  replay?: (after: number, wanted: () => boolean) => AsyncIterable<OutputChunk>;
}

/** An attached reader. */
class Attacher extends Readable {
  /** Its buffer is full. */
  blocked = false;
  /** It gets no live output: it will read from the log what it missed, once it reads on. */
  behind = false;
  /** Output given to it that does not fit into the buffer. */
  private readonly waiting = new ChunkQueue();
  /** Bytes in its buffer. */
  private buffered = 0;
  /** Memory that it was last counted with. */
  private held = 0;
  /** Offset of the last record given to it. */
  private last = -1;
  private catchingUp = false;
  private ended = false;
  /** Continues catching up. */
  private wake: (() => void) | null = null;

  constructor(
    private readonly streams: SessionStreams,
    readonly options: ReaderOptions,
    private readonly keeps: (bytes: number) => void,
  ) {
    super({ objectMode: true, highWaterMark: ATTACHER_BUFFER });
    // The reader gets the error. If nobody is reading any more, it must not end the process.
    this.on('error', () => undefined);
  }

  give(chunk: OutputChunk): void {
    if (this.destroyed || this.behind) return;
    if (this.blocked) this.waiting.add(chunk);
    else this.pass(chunk);
    this.count();
  }

  /** Drops what is waiting: it will read everything after the last record it got from the log. */
  fallBehind(): void {
    this.behind = true;
    this.waiting.clear();
    this.count();
  }

  /** No more output will come. */
  finish(): void {
    this.ended = true;
    if (this.behind) void this.catchUp();
    else if (this.waiting.empty) this.push(null);
  }

  override read(size?: number): OutputChunk | null {
    const chunk = super.read(size) as OutputChunk | null;
    if (chunk === null) return chunk;
    this.buffered -= chunk.data.length;
    this.goOn();
    return chunk;
  }

  override _read(): void {
    if (this.behind) void this.catchUp();
    this.goOn();
  }

  /** Continues if there is room. */
  private goOn(): void {
    if (this.blocked && this.hasRoom()) {
      this.blocked = false;
      for (let next = this.waiting.take(); next !== null; next = this.blocked ? null : this.waiting.take())
        this.pass(next);
      if (!this.waiting.empty) this.blocked = true;
      else if (this.ended && !this.behind) this.push(null);
    }
    this.count();
    if (this.blocked) return;
    const { wake } = this;
    this.wake = null;
    wake?.();
    if (!this.behind) this.streams.drained();
  }

  private hasRoom(): boolean {
    return this.readableLength < ATTACHER_BUFFER && this.buffered < ATTACHER_BYTES;
  }

  private pass(chunk: OutputChunk): void {
    this.last = chunk.offset;
    const before = this.readableLength;
    this.push(chunk);
    // A reader that is waiting gets the piece at once, without its being buffered.
    if (this.readableLength > before) this.buffered += chunk.data.length;
    this.blocked = !this.hasRoom();
  }

  private count(): void {
    const now = this.destroyed ? 0 : this.buffered + this.waiting.bytes;
    if (now === this.held) return;
    const before = this.held;
    this.held = now;
    this.keeps(now - before);
  }

  /** Gives what was missed until nothing is missing; then output is live again. */
  private async catchUp(): Promise<void> {
    const { replay } = this.options;
    if (this.catchingUp || replay === undefined) return;
    this.catchingUp = true;
    try {
      // Everything that the guest sent is already in the log.
      while (this.behind && !this.destroyed) {
        const goal = this.streams.lastOffset;
        for await (const chunk of replay(this.last, () => !this.destroyed)) {
          if (this.destroyed) return;
          this.pass(chunk);
          this.count();
          while (this.blocked && !this.destroyed) await this.readOn();
        }
        if (this.last >= this.streams.lastOffset) this.behind = false;
        // The log no longer has it.
        else if (this.last < goal) break;
      }
      if (this.ended || this.behind) this.push(null);
      else this.streams.drained();
    } catch (error) {
      log.warn({ err: messageOf(error) }, 'output cannot be given to a slow reader');
      this.push(null);
    } finally {
      this.catchingUp = false;
    }
  }

  private readOn(): Promise<void> {
    return new Promise((resolve) => {
      if (this.destroyed) resolve();
      else this.wake = resolve;
    });
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.wake?.();
    this.waiting.clear();
    this.count();
    this.streams.detach(this);
    done(error);
  }
}

/**
 * Fans output out. What was given is granted to the guest again (`grant`) when the fastest of the readers that set the pace has room: a
 * slower one leaves the live output and reads from the log what it missed. Without a log, the slowest sets the pace.
 */
export class SessionStreams {
  /** Offset of the last record that came; -1: none yet. */
  lastOffset = -1;
  private readonly attachers = new Set<Attacher>();
  private owed = 0;
  private ended = false;

  /**
   * @param grant tells the guest how many bytes were consumed
   * @param idle called when the last reader has left
   * @param keeps called with each change in the memory that unread output takes, in bytes
   */
  constructor(
    private readonly grant: (bytes: number) => void,
    private readonly idle: () => void,
    private readonly keeps: (bytes: number) => void = () => undefined,
  ) {}

  get count(): number {
    return this.attachers.size;
  }

  /** Adds a reader of everything from now on. */
  attach(options: ReaderOptions = { paces: true }): Readable {
    const attacher = new Attacher(this, options, this.keeps);
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
    if (chunk.offset >= 0) this.lastOffset = chunk.offset;
    const leave = chunk.offset >= 0 && !this.waits();
    for (const attacher of this.attachers) {
      if (leave && attacher.blocked && attacher.options.replay !== undefined) attacher.fallBehind();
      attacher.give(chunk);
    }
    this.drained();
  }

  drained(): void {
    if (this.owed === 0 || this.waits()) return;
    const bytes = this.owed;
    this.owed = 0;
    this.grant(bytes);
  }

  /** Whether the process has to wait: for a reader that cannot read again, or because all readers that set the pace are full. */
  private waits(): boolean {
    let pacing = 0;
    let free = 0;
    for (const { blocked, behind, options } of this.attachers) {
      if (options.replay === undefined && blocked) return true;
      if (!options.paces) continue;
      pacing++;
      if (!blocked && !behind) free++;
    }
    return pacing > 0 && free === 0;
  }

  /** A new connection: the guest's window starts afresh. */
  reset(): void {
    this.owed = 0;
  }

  /** Ends the current readers. */
  cut(error: Error): void {
    for (const attacher of [...this.attachers]) attacher.destroy(error);
  }

  /** No more output will come. @param error why the readers are cut off */
  end(error?: Error): void {
    this.ended = true;
    if (error !== undefined) this.cut(error);
    for (const attacher of this.attachers) attacher.finish();
    this.attachers.clear();
  }
}
