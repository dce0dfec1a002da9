/** Standard input of one session of a connection. */
import { Writable } from 'node:stream';
import { conflict } from '../../src/common/errors.js';
import { Message } from './frames.js';

const STDIN_FRAME = 131_072;

/** What a session's input needs of its connection. */
export interface InputSender {
  send(type: number, payload?: Buffer): void;
  /** Calls `go` once the guest's machine has taken what was sent before; at once when it has already. */
  whenTaken(go: () => void): void;
}

/** Makes the writer wait while the process is a window behind, or the machine accepts nothing. */
export class SessionInput extends Writable {
  private waiting: (() => void) | null = null;
  /** The machine has not yet taken what was sent. */
  private stuck = false;
  private over = false;

  /**
   * @param window bytes that may be on their way to the process
   * @param most how far the guest may open the window
   */
  constructor(
    private readonly sender: InputSender,
    private window: number,
    private most: number,
  ) {
    super({ highWaterMark: window });
    this.on('error', () => undefined);
  }

  /** The guest accepts `bytes` more, but never more than the window in all, whatever it says. @returns whether that changes anything */
  grant(bytes: number): boolean {
    const before = this.window;
    this.window = Math.max(before, Math.min(before + bytes, this.most));
    const changed = this.window > before;
    // Waiting input is sent at once, and uses up the window again.
    if (!this.stuck) this.go();
    return changed;
  }

  /** Anything written from now on is lost, as in a closed pipe. */
  processEnded(): void {
    this.over = true;
    this.go();
    this.destroy(conflict('the process has ended'));
  }

  private go(): void {
    this.stuck = false;
    const resume = this.waiting;
    this.waiting = null;
    resume?.();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.push(chunk, done);
  }

  private push(rest: Buffer, done: (error?: Error | null) => void): void {
    if (rest.length === 0 || this.over) {
      done();
      return;
    }
    const size = Math.min(rest.length, this.window, STDIN_FRAME);
    if (size === 0) {
      this.waiting = () => this.push(rest, done);
      return;
    }
    try {
      this.sender.send(Message.stdin, rest.subarray(0, size));
    } catch (error) {
      done(error as Error);
      return;
    }
    this.window -= size;
    this.waiting = () => this.push(rest.subarray(size), done);
    this.stuck = true;
    this.sender.whenTaken(() => this.go());
  }

  override _final(done: (error?: Error | null) => void): void {
    try {
      if (!this.over) this.sender.send(Message.stdinEof);
    } catch {
      // The connection is gone, and with it the process's input.
    }
    done();
  }
}
