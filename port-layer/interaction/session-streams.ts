/** One session's output to any number of attachers: all get all, none makes the memory grow, and a slow one slows itself alone. */
import { Readable } from 'node:stream';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { ChunkQueue } from './chunk-queue.js';
import type { OutputChunk } from './types.js';

const log = logger('streams');

/** Pieces of output, of 32 KiB at most. */
const ATTACHER_BUFFER = 64;
const ATTACHER_BYTES = 1 << 20;

/** How a reader takes part. */
export interface ReaderOptions {
  /** The process waits for it when nobody is faster; false: it never does, as for a reader of the log. */
  paces: boolean;
  /**
   * Gives the session's output again from what is kept of it, after a record's offset and up to its end. Without, the session waits
   * for the slowest. `wanted`: false when the reader has gone.
   */
  replay?: (after: number, wanted: () => boolean) => AsyncIterable<OutputChunk>;
}

/** An attached reader. */
class Attacher extends Readable {
  /** Its buffer is full. */
  blocked = false;
  /** It is given nothing live: it reads again what it missed, when it reads on. */
  behind = false;
  /** What it has been given that does not fit. */
  private readonly waiting = new ChunkQueue();
  /** Bytes in its buffer. */
  private buffered = 0;
  /** Memory that it takes. */
  private held = 0;
  /** Offset of the record that it was given last. */
  private last = -1;
  private catchingUp = false;
  private ended = false;
  /** Goes on with catching up. */
  private wake: (() => void) | null = null;

  constructor(
    private readonly streams: SessionStreams,
    readonly options: ReaderOptions,
    private readonly keeps: (bytes: number) => void,
  ) {
    super({ objectMode: true, highWaterMark: ATTACHER_BUFFER });
    // Whoever reads is told; when nobody does, or not any more, that must not end the process.
    this.on('error', () => undefined);
  }

  give(chunk: OutputChunk): void {
    if (this.destroyed || this.behind) return;
    if (this.blocked) this.waiting.add(chunk);
    else this.pass(chunk);
    this.count();
  }

  /** It reads the rest from what is kept, from what it was given last on. */
  fallBehind(): void {
    this.behind = true;
    this.waiting.clear();
    this.count();
  }

  /** No more output comes than there was. */
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

  /** There may be room. */
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
    // One that is read just now is given it without its being kept.
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

  /** Gives what was missed, until nothing is: then output is live again. */
  private async catchUp(): Promise<void> {
    const { replay } = this.options;
    if (this.catchingUp || replay === undefined) return;
    this.catchingUp = true;
    try {
      // What the guest sent stands in what is kept already.
      while (this.behind && !this.destroyed) {
        const goal = this.streams.lastOffset;
        for await (const chunk of replay(this.last, () => !this.destroyed)) {
          if (this.destroyed) return;
          this.pass(chunk);
          this.count();
          while (this.blocked && !this.destroyed) await this.readOn();
        }
        if (this.last >= this.streams.lastOffset) this.behind = false;
        // It is kept no longer.
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
 * Fans output out. What was given is granted to the guest again (`grant`) when the fastest attacher that sets the pace takes more: one
 * that is slower leaves the live output, and reads what it missed from the log. Without a log the slowest sets the pace.
 */
export class SessionStreams {
  /** Of the last record that came; -1: none yet. */
  lastOffset = -1;
  private readonly attachers = new Set<Attacher>();
  private owed = 0;
  private ended = false;

  /**
   * @param grant tells the guest how many bytes were consumed
   * @param idle called when the last attacher has left
   * @param keeps is told of each change of the memory that unread output takes, in bytes
   */
  constructor(
    private readonly grant: (bytes: number) => void,
    private readonly idle: () => void,
    private readonly keeps: (bytes: number) => void = () => undefined,
  ) {}

  get count(): number {
    return this.attachers.size;
  }

  /** A new reader of everything from now on. */
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

  /** Whether the process is to wait: for one that cannot read again, or because all that set the pace are full. */
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

  /** The readers there are get no more. */
  cut(error: Error): void {
    for (const attacher of [...this.attachers]) attacher.destroy(error);
  }

  /** No more output comes. @param error why the readers are cut short */
  end(error?: Error): void {
    this.ended = true;
    if (error !== undefined) this.cut(error);
    for (const attacher of this.attachers) attacher.finish();
    this.attachers.clear();
  }
}
