/** The endpoint's side of one connection to a tether. */
import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import { type Duplex, Writable } from 'node:stream';
import { conflict, invalid, unavailable } from '../../src/common/errors.js';
import { keepReading } from '../../src/common/keep-reading.js';
import { FieldWriter } from './fields.js';
import {
  encodeFrame,
  encodeFrameHead,
  FIRST_INPUT_WINDOW,
  type Frame,
  FrameParser,
  INPUT_WINDOW,
  Message,
  OUTPUT_WINDOW,
  PREAMBLE,
} from './frames.js';

/** A piece of output as the tether sends it; `offset` is relative to the run's log, -1 for execs. */
export interface TetherOutput {
  session: number;
  stream: 'stdout' | 'stderr';
  timeNs: bigint;
  offset: number;
  data: Buffer;
}

/** How a session's process ended. */
export interface TetherExit {
  code: number;
  signal: number;
  oomKilled: boolean;
}

interface Events {
  hello: [];
  started: [session: number, pid: number];
  failed: [session: number, code: number, message: string];
  output: [output: TetherOutput];
  exited: [session: number, exit: TetherExit];
  subscribed: [session: number];
  /** The answer to {@link TetherConnection.limit}; '' when all is set. */
  limited: [request: number, problem: string];
  /** The answer to {@link TetherConnection.freeze}: the state of `Freeze`; problem: '' when it is as wished. */
  frozen: [request: number, state: number, problem: string];
  /** The kernel has killed a process of the container for want of memory; `news`: just now, not before the connection began. */
  oom: [news: boolean];
  close: [];
}

const STDIN_FRAME = 131_072;
const MAX_PROBLEM = 512;
const GRANT = OUTPUT_WINDOW / 8;
/** Sessions whose debt is kept: a guest may make up any number. */
const MAX_OWED = 1024;
/** Bytes of a process that a tether whose `hello` says version 1 or 2 takes. */
const FIRST_LONGEST_PROCESS = 900_000;
/** A longer payload is handed to the kernel as it is, not copied behind its head. */
const LONG = 4096;

/**
 * Sends and receives frames. Whoever consumes output must call {@link credit} with what it has consumed: the guest sends no more
 * than the window ahead. Emits `close` once when the connection is gone.
 */
export class TetherConnection extends EventEmitter<Events> {
  private readonly parser = new FrameParser();
  private readonly inputs = new Map<number, SessionInput>();
  /** Consumed output that the guest was not told of. */
  private readonly owed = new Map<number, number>();
  private inputWindow = FIRST_INPUT_WINDOW;
  private longestProcess = FIRST_LONGEST_PROCESS;
  private closed = false;

  constructor(private readonly socket: Duplex) {
    super();
    // A machine that has been powered off takes no credit any more, but its last output may be unread.
    if (socket instanceof Socket) keepReading(socket);
    socket.on('data', (bytes: Buffer) => this.receive(bytes));
    socket.on('error', () => undefined);
    socket.on('close', () => this.ended());
    socket.on('end', () => socket.destroy());
    socket.write(PREAMBLE);
  }

  /** Lets the container's first process start. */
  go(): void {
    this.send(Message.go, 0);
  }

  /** From now on output of the session is sent; the window starts afresh. */
  subscribe(session: number): void {
    this.owed.delete(session);
    this.send(Message.subscribe, session, u32(OUTPUT_WINDOW));
  }

  unsubscribe(session: number): void {
    this.send(Message.unsubscribe, session);
  }

  /** Bytes of a session's output were consumed. The guest is not told for every few: it has most of the window left. */
  credit(session: number, bytes: number): void {
    const owed = (this.owed.get(session) ?? 0) + bytes;
    if (owed < GRANT && this.owed.size < MAX_OWED) {
      this.owed.set(session, owed);
      return;
    }
    this.owed.delete(session);
    if (owed > 0) this.send(Message.credit, session, u32(owed));
  }

  /** The session's standard input; ending it closes the process's. */
  stdin(session: number): Writable {
    let input = this.inputs.get(session);
    if (input === undefined) {
      input = new SessionInput((type, payload) => this.send(type, session, payload), this.inputWindow);
      this.inputs.set(session, input);
    }
    return input;
  }

  resize(session: number, size: { rows: number; cols: number }): void {
    this.send(Message.resize, session, new FieldWriter().u32(size.rows).u32(size.cols).bytes());
  }

  signal(session: number, signal: number): void {
    this.send(Message.signal, session, u32(signal));
  }

  /**
   * Starts a process; `session` is a number not used before on this VM. `process` is from `encodeProcess`.
   * @throws invalid when it is too long for the tether of an older engine's VM
   */
  exec(session: number, process: Buffer): void {
    if (process.length > this.longestProcess) throw invalid('argument list too long');
    this.send(Message.exec, session, process);
  }

  /** Starts a file server (`files.ts`); `session` as for {@link exec}. */
  files(session: number, view: number): void {
    // The guest grants it a larger window as soon as it runs.
    this.stdin(session);
    this.send(Message.files, session, new FieldWriter().u8(view).bytes());
  }

  /** Starts an observer (`observation.ts`); `session` as for {@link exec}. */
  observe(session: number): void {
    this.send(Message.observe, session);
  }

  /** Writes files of the container's control group; answered by `limited` with the same `request`. */
  limit(request: number, limits: Record<string, string>): void {
    const fields = new FieldWriter();
    for (const [file, value] of Object.entries(limits)) fields.string(file).string(value);
    this.send(Message.limit, request, fields.bytes());
  }

  /** Stops the container's processes, or lets them go on; answered by `frozen` with the same `request`. @param state of `Freeze` */
  freeze(request: number, state: number): void {
    this.send(Message.freeze, request, new FieldWriter().u8(state).bytes());
  }

  close(): void {
    this.socket.destroy();
  }

  private send(type: number, session: number, payload?: Buffer): void {
    if (this.closed) throw unavailable('the container VM is not connected');
    if (payload === undefined || payload.length < LONG) {
      this.socket.write(encodeFrame(type, session, payload));
      return;
    }
    this.socket.cork();
    this.socket.write(encodeFrameHead(type, session, payload.length));
    this.socket.write(payload);
    this.socket.uncork();
  }

  private receive(bytes: Buffer): void {
    let frames: Frame[];
    try {
      frames = this.parser.push(bytes);
    } catch {
      this.socket.destroy();
      return;
    }
    for (const frame of frames) this.handle(frame);
  }

  private handle({ type, session, payload }: Frame): void {
    switch (type) {
      case Message.hello:
        if (payload.length >= 4 && payload.readUInt32LE(0) >= 2) this.inputWindow = INPUT_WINDOW;
        if (payload.length >= 4 && payload.readUInt32LE(0) >= 3) this.longestProcess = Number.POSITIVE_INFINITY;
        this.emit('hello');
        break;
      case Message.started:
        if (payload.length >= 4) this.emit('started', session, payload.readUInt32LE(0));
        break;
      case Message.failed:
        if (payload.length >= 4) this.emit('failed', session, payload.readUInt32LE(0), payload.toString('utf8', 4));
        break;
      case Message.output:
        if (payload.length >= 17) this.emit('output', decodeOutput(session, payload));
        break;
      case Message.exited:
        if (payload.length < 9) break;
        this.inputs.get(session)?.processEnded();
        this.inputs.delete(session);
        this.owed.delete(session);
        this.emit('exited', session, {
          code: payload.readUInt32LE(0),
          signal: payload.readUInt32LE(4),
          oomKilled: payload[8] === 1,
        });
        break;
      case Message.stdinCredit:
        if (payload.length >= 4) this.inputs.get(session)?.grant(payload.readUInt32LE(0));
        break;
      case Message.limited:
        this.emit('limited', session, payload.toString('utf8', 0, MAX_PROBLEM));
        break;
      case Message.frozen:
        if (payload.length > 0) this.emit('frozen', session, payload[0]!, payload.toString('utf8', 1, MAX_PROBLEM));
        break;
      case Message.oom:
        this.emit('oom', payload[0] === 1);
        break;
      case Message.subscribed:
        this.emit('subscribed', session);
        break;
      default:
        // A newer tether may tell more than this endpoint understands.
        break;
    }
  }

  private ended(): void {
    if (this.closed) return;
    this.closed = true;
    for (const input of this.inputs.values()) input.processEnded();
    this.inputs.clear();
    this.emit('close');
  }
}

function decodeOutput(session: number, payload: Buffer): TetherOutput {
  const offset = payload.readBigUInt64LE(9);
  return {
    session,
    stream: payload[0] === 2 ? 'stderr' : 'stdout',
    timeNs: payload.readBigUInt64LE(1),
    offset: offset > BigInt(Number.MAX_SAFE_INTEGER) ? -1 : Number(offset),
    data: payload.subarray(17),
  };
}

function u32(value: number): Buffer {
  return new FieldWriter().u32(value).bytes();
}

/** Standard input of one session: waits while the process is a window behind. */
class SessionInput extends Writable {
  private waiting: (() => void) | null = null;
  private over = false;

  /** @param window what the process may be behind */
  constructor(
    private readonly send: (type: number, payload?: Buffer) => void,
    private window: number,
  ) {
    super({ highWaterMark: window });
    this.on('error', () => undefined);
  }

  grant(bytes: number): void {
    this.window += bytes;
    const resume = this.waiting;
    this.waiting = null;
    resume?.();
  }

  /** What is still written goes nowhere, as into a closed pipe. */
  processEnded(): void {
    this.over = true;
    this.grant(0);
    this.destroy(conflict('the process has ended'));
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.push(chunk, done);
  }

  private push(chunk: Buffer, done: (error?: Error | null) => void): void {
    let rest = chunk;
    while (rest.length > 0 && !this.over) {
      const size = Math.min(rest.length, this.window, STDIN_FRAME);
      if (size === 0) {
        this.waiting = () => this.push(rest, done);
        return;
      }
      try {
        this.send(Message.stdin, rest.subarray(0, size));
      } catch (error) {
        done(error as Error);
        return;
      }
      this.window -= size;
      rest = rest.subarray(size);
    }
    done();
  }

  override _final(done: (error?: Error | null) => void): void {
    try {
      if (!this.over) this.send(Message.stdinEof);
    } catch {
      // The connection is gone, and the process's input with it.
    }
    done();
  }
}
