/** One session's output to any number of attachers: all get all, none makes the memory grow, and a slow one slows itself alone. */
import { Readable } from 'node:stream';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { OutputChunk } from '../types.js';

const log = logger('streams');

/** Pieces of output, of 32 KiB at most. */
const ATTACHER_BUFFER = 64;

/** How a reader takes part. */
export interface ReaderOptions {
  /** The process waits for it when nobody is faster; false: it never does, as for a reader of the log. */
  paces: boolean;
  /**
   * Gives the session's output again from what is kept of it, after a record's offset and up to its end. Without, the session waits
   * for the slowest.
   */
  replay?: (after: number) => AsyncIterable<OutputChunk>;
}

/** An attached reader. */
class Attacher extends Readable {
  /** Its buffer is full. */
  blocked = false;
  /** It is given nothing live: it reads again what it missed, when it reads on. */
  behind = false;
  /** Offset of the record that it was given last. */
  private last = -1;
  private catchingUp = false;
  private ended = false;
  /** Goes on with catching up. */
  private wake: (() => void) | null = null;

  constructor(
    private readonly streams: SessionStreams,
    readonly options: ReaderOptions,
  ) {
    super({ objectMode: true, highWaterMark: ATTACHER_BUFFER });
  }

  give(chunk: OutputChunk): void {
    if (this.destroyed || this.behind) return;
    this.last = chunk.offset;
    if (!this.push(chunk)) this.blocked = true;
  }

  /** No more output comes than there was. */
  finish(): void {
    this.ended = true;
    if (!this.behind) this.push(null);
    else void this.catchUp();
  }

  override _read(): void {
    this.blocked = false;
    const { wake } = this;
    this.wake = null;
    wake?.();
    if (this.behind) void this.catchUp();
    else this.streams.drained();
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
        for await (const chunk of replay(this.last)) {
          if (this.destroyed) return;
          this.last = chunk.offset;
          if (!this.push(chunk)) await this.readOn();
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
   */
  constructor(
    private readonly grant: (bytes: number) => void,
    private readonly idle: () => void,
  ) {}

  get count(): number {
    return this.attachers.size;
  }

  /** A new reader of everything from now on. */
  attach(options: ReaderOptions = { paces: true }): Readable {
    const attacher = new Attacher(this, options);
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
      if (leave && attacher.blocked && attacher.options.replay !== undefined) attacher.behind = true;
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

  /** No more output comes. */
  end(): void {
    this.ended = true;
    for (const attacher of this.attachers) attacher.finish();
    this.attachers.clear();
  }
}
