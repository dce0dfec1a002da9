/** The endpoint's side of one connection to a tether. */
import { EventEmitter } from 'node:events';
import { Socket } from 'node:net';
import type { Duplex, Writable } from 'node:stream';
import { invalid, messageOf, unavailable } from '../../src/common/errors.js';
import { keepReading } from '../../src/common/keep-reading.js';
import type { AddedNic, DefaultRoutes, DiskRef, VolumeServing } from '../program/spec.js';
import { FieldWriter } from './fields.js';
import {
  encodeFrame,
  encodeFrameHead,
  FILES_WINDOW,
  FIRST_INPUT_WINDOW,
  type Frame,
  FrameParser,
  INPUT_WINDOW,
  Message,
  OUTPUT_HEAD,
  OUTPUT_WINDOW,
  PREAMBLE,
  Stream,
} from './frames.js';
import {
  cardFields,
  nameServerFields,
  type RewrittenFile,
  removedCard,
  rewriteFields,
  routeFields,
} from './network-requests.js';
import { OutputWindows } from './output-windows.js';
import { SessionInput } from './session-input.js';
import { StrayFrames } from './stray-frames.js';
import { diskFields, servingFields } from './volume-requests.js';

/** A piece of output. `offset` is its place in the log of the run; -1 for execs, which are not logged. */
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
  /** The answer to {@link TetherConnection.limit}; '' when all were set. */
  limited: [request: number, problem: string];
  /** The answer to {@link TetherConnection.freeze}: the state, of `Freeze`, and what failed; '' when nothing did. */
  frozen: [request: number, state: number, problem: string];
  /** The answer to requests that change the network: what failed; '' when nothing did. */
  answered: [request: number, problem: string];
  /** The kernel has killed a process of the container because memory ran out. `news`: just now, not before the connection began. */
  oom: [news: boolean];
  /** The guest broke the protocol and was hung up on; `close` follows. `how`: "it sent …". */
  broken: [how: string];
  close: [];
}

const MAX_PROBLEM = 512;
const GRANT = OUTPUT_WINDOW / 8;
/** For how many sessions consumed output is added up at most, before the guest is told. */
const MAX_OWED = 1024;
/** How many requests may be unanswered. */
const MAX_ASKED = 256;
/** The longest process, in bytes, that a tether accepts whose `hello` says version 1 or 2. */
const FIRST_LONGEST_PROCESS = 900_000;
/** The first version of a tether that changes its network while it runs. */
const NETWORK_VERSION = 4;
/** The first version of a tether that serves volumes. */
const SERVING_VERSION = 5;
/** A payload of at least this length is written separately, instead of being copied after its head. */
const LONG = 4096;
/** Limits for bytes that the guest's machine has not taken yet. Beyond them no input is sent, then no requests, then we hang up. */
const INPUT_WAITS = 256 * 1024;
const REQUESTS_WAIT = 8 << 20;
const MOST_WAITING = 32 << 20;

/**
 * Sends and receives frames. Whoever consumes output must call {@link credit} with the number of bytes: the guest may be no more than a
 * window ahead. The guest is not trusted: one that sends more than it was granted, or what no tether sends, is hung up on, with the
 * event `broken`; and what it grants is never taken for more than the window. Emits `close` once when the connection is gone.
 */
export class TetherConnection extends EventEmitter<Events> {
  private readonly parser = new FrameParser();
  private readonly windows = new OutputWindows();
  private readonly stray = new StrayFrames();
  /** Allows for many: the kernel may kill one process after another when memory is short. */
  private readonly kills = new StrayFrames(10_000, 1000);
  /** Limits the events about those: a listener needs only a few. */
  private readonly toldKills = new StrayFrames(100, 5);
  private readonly inputs = new Map<number, SessionInput>();
  /** Consumed output that the guest has not been told of. */
  private readonly owed = new Map<number, number>();
  private readonly asked = new Set<number>();
  private pings = 0;
  /** Offset of the last output of the first process. */
  private lastOffset = 0;
  /** Called when the guest's machine has taken what was sent. */
  private readonly takers = new Set<() => void>();
  private inputWindow = FIRST_INPUT_WINDOW;
  private longestProcess = FIRST_LONGEST_PROCESS;
  /** What its `hello` said; null: it has not said it yet. */
  private version: number | null = null;
  private closed = false;
  /** Why the guest was hung up on; null: it was not. */
  private wrong: string | null = null;
  /** When something last came from the guest: `performance.now()`. */
  heardAt = performance.now();

  constructor(private readonly socket: Duplex) {
    super();
    this.setMaxListeners(0);
    // A machine that was powered off accepts nothing any more, but its last output may still be unread.
    if (socket instanceof Socket) keepReading(socket);
    socket.on('data', (bytes: Buffer) => this.receive(bytes));
    socket.on('error', () => undefined);
    socket.on('drain', () => this.taken());
    socket.on('close', () => this.ended());
    socket.on('end', () => socket.destroy());
    socket.write(PREAMBLE);
  }

  /** How the guest broke the protocol; null: it did not. */
  get broken(): string | null {
    return this.wrong;
  }

  /** Reads nothing until {@link resume}: too much of what the guest has sent is still unprocessed. */
  pause(): void {
    this.socket.pause();
  }

  resume(): void {
    if (!this.closed) this.socket.resume();
  }

  /** Lets the container's first process start. */
  go(): void {
    this.send(Message.go, 0);
  }

  /** From now on the guest sends the session's output; the window starts afresh. */
  subscribe(session: number): void {
    this.owed.delete(session);
    this.send(Message.subscribe, session, u32(OUTPUT_WINDOW));
    this.windows.subscribe(session);
  }

  /** Keeps a session of an earlier connection whose output nobody reads, so that its end is still reported. */
  adopt(session: number): void {
    this.windows.adopt(session);
  }

  unsubscribe(session: number): void {
    this.send(Message.unsubscribe, session);
  }

  /** Bytes of a session's output were consumed. The guest is told now and then, while it still has most of its window. */
  credit(session: number, bytes: number): void {
    if (this.closed || !this.windows.has(session)) return;
    const owed = (this.owed.get(session) ?? 0) + bytes;
    if (owed < GRANT && this.owed.size < MAX_OWED) {
      this.owed.set(session, owed);
      return;
    }
    this.owed.delete(session);
    if (owed === 0 || !this.windows.credit(session, owed)) return;
    this.send(Message.credit, session, u32(owed));
    // It keeps sending, but reads nothing.
    if (this.socket.writableLength > MOST_WAITING) this.hangUp('it reads nothing of what it is told');
  }

  /** The session's standard input; ending it closes that of the process. */
  stdin(session: number): Writable {
    return this.input(session, INPUT_WINDOW);
  }

  private input(session: number, most: number): SessionInput {
    let input = this.inputs.get(session);
    if (input === undefined) {
      const sender = {
        send: (type: number, payload?: Buffer) => this.send(type, session, payload),
        whenTaken: (go: () => void) => this.whenTaken(go),
      };
      input = new SessionInput(sender, this.inputWindow, most);
      // If the session has ended already, no event will end its input.
      if (this.closed || !this.windows.has(session)) input.processEnded();
      else this.inputs.set(session, input);
    }
    return input;
  }

  resize(session: number, size: { rows: number; cols: number }): void {
    this.request(Message.resize, session, new FieldWriter().u32(size.rows).u32(size.cols).bytes());
  }

  signal(session: number, signal: number): void {
    this.request(Message.signal, session, u32(signal));
  }

  /**
   * Starts a process; `session` is a number not used before on this VM, `process` comes from `encodeProcess`.
   * @throws invalid when it is too long for the tether in an older engine's VM, unavailable
   */
  exec(session: number, process: Buffer): void {
    if (process.length > this.longestProcess) throw invalid('argument list too long');
    this.begin(Message.exec, session, process);
  }

  /** Starts a file server (`files.ts`); `session` as for {@link exec}. */
  files(session: number, view: number): void {
    this.begin(Message.files, session, new FieldWriter().u8(view).bytes());
    // The guest grants it a larger window as soon as it runs.
    this.input(session, FILES_WINDOW);
  }

  /** Starts an observer (`observation.ts`); `session` as for {@link exec}. */
  observe(session: number): void {
    this.begin(Message.observe, session);
  }

  /** Writes files of the container's control group; answered by `limited` with the same `request`. */
  limit(request: number, limits: Record<string, string>): void {
    const fields = new FieldWriter();
    for (const [file, value] of Object.entries(limits)) fields.string(file).string(value);
    this.ask(Message.limit, request, fields.bytes());
  }

  /** Stops the container's processes, or lets them go on; answered by `frozen` with the same `request`. @param state of `Freeze` */
  freeze(request: number, state: number): void {
    this.ask(Message.freeze, request, new FieldWriter().u8(state).bytes());
  }

  /** Whether its tether can change its network while it runs; null: it has not said hello yet. */
  get changesNetwork(): boolean | null {
    return this.version === null ? null : this.version >= NETWORK_VERSION;
  }

  /** Sets up a card that was plugged in, as soon as it is there; answered by `answered` with the same `request`. */
  addNic(request: number, nic: AddedNic): void {
    this.ask(Message.nicAdd, request, cardFields(new FieldWriter(), nic).bytes());
  }

  /** Takes a card out of use that is about to be unplugged; answered by `answered`. */
  removeNic(request: number, mac: string): void {
    this.ask(Message.nicRemove, request, removedCard(mac));
  }

  /** Sets the default routes; answered by `answered`. */
  routes(request: number, routes: DefaultRoutes): void {
    this.ask(Message.routes, request, routeFields(routes));
  }

  /** Writes files of the container anew, in place; answered by `answered`. @throws invalid */
  rewrite(request: number, files: readonly RewrittenFile[]): void {
    this.ask(Message.rewrite, request, rewriteFields(files));
  }

  /** Sets the name servers behind 127.0.0.11; answered by `answered`. @throws invalid */
  nameServers(request: number, servers: string[]): void {
    this.ask(Message.nameServers, request, nameServerFields(servers));
  }

  /** Whether its tether can serve volumes; null: it has not said hello yet. */
  get servesVolumes(): boolean | null {
    return this.version === null ? null : this.version >= SERVING_VERSION;
  }

  /** Lets other machines mount a volume; answered by `answered` when they can. @throws invalid */
  serveVolume(request: number, serving: VolumeServing): void {
    this.ask(Message.volumeServe, request, servingFields(serving));
  }

  /** Ends that; answered by `answered`. */
  unserveVolume(request: number, disk: DiskRef): void {
    this.ask(Message.volumeUnserve, request, diskFields(disk).bytes());
  }

  /** The machine of a client is gone: what it had open and locked is given up; answered by `answered`. */
  forgetVolumeClient(request: number, disk: DiskRef, address: string): void {
    this.ask(Message.volumeForget, request, diskFields(disk).string(address).bytes());
  }

  /** Asks the guest for a sign of life, which updates {@link heardAt}. */
  ping(): void {
    if (this.closed || this.pings >= MAX_ASKED || this.socket.writableLength > REQUESTS_WAIT) return;
    this.pings++;
    this.send(Message.ping, 0);
  }

  close(): void {
    this.socket.destroy();
  }

  /** @throws unavailable */
  private begin(type: number, session: number, payload?: Buffer): void {
    if (this.windows.full) throw unavailable('too many processes were started in the container VM that have not ended');
    this.request(type, session, payload);
    this.windows.open(session);
  }

  private ask(type: number, request: number, payload: Buffer): void {
    if (this.asked.size >= MAX_ASKED) throw unavailable('the container VM does not answer');
    this.request(type, request, payload);
    this.asked.add(request);
  }

  /** @throws unavailable when the guest accepts nothing */
  private request(type: number, session: number, payload?: Buffer): void {
    if (this.socket.writableLength > REQUESTS_WAIT) throw unavailable('the container VM does not read its channel');
    this.send(type, session, payload);
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

  private whenTaken(go: () => void): void {
    if (this.closed || this.socket.writableLength <= INPUT_WAITS) go();
    else this.takers.add(go);
  }

  private taken(): void {
    const waiting = [...this.takers];
    this.takers.clear();
    for (const go of waiting) go();
  }

  private receive(bytes: Buffer): void {
    if (this.wrong !== null) return;
    this.heardAt = performance.now();
    let frames: Frame[];
    try {
      frames = this.parser.push(bytes);
    } catch (error) {
      this.hangUp(messageOf(error));
      return;
    }
    for (const frame of frames) {
      const wrong = this.handle(frame) ? null : this.stray.take(frame.payload.length);
      if (wrong !== null) this.hangUp(wrong);
      if (this.wrong !== null) return;
    }
  }

  private hangUp(how: string): void {
    if (this.wrong !== null || this.closed) return;
    this.wrong = how;
    this.emit('broken', how);
    this.socket.destroy();
  }

  /** Hangs up if something is wrong. @returns whether nothing is */
  private check(wrong: string | null): boolean {
    if (wrong !== null) this.hangUp(wrong);
    return wrong === null;
  }

  /** @returns false for a frame that nobody asked for */
  private handle({ type, session, payload }: Frame): boolean {
    switch (type) {
      case Message.hello:
        return this.hello(payload);
      case Message.started:
        if (payload.length < 4) return false;
        if (this.check(this.windows.started(session))) this.emit('started', session, payload.readUInt32LE(0));
        return this.windows.has(session);
      case Message.failed: {
        const known = this.windows.has(session);
        if (payload.length < 4 || !known) return false;
        if (!this.check(this.windows.ended(session))) return true;
        this.emit(
          'failed',
          session,
          exitCode(payload) || NOT_STARTED,
          payload.toString('utf8', 4, 4 + 2 * MAX_PROBLEM),
        );
        return true;
      }
      case Message.output:
        this.output(session, payload);
        return true;
      case Message.exited:
        return this.exited(session, payload);
      case Message.stdinCredit:
        return payload.length >= 4 && this.inputs.get(session)?.grant(payload.readUInt32LE(0)) === true;
      case Message.limited:
        if (!this.asked.delete(session)) return false;
        this.emit('limited', session, payload.toString('utf8', 0, MAX_PROBLEM));
        return true;
      case Message.frozen:
        if (payload.length === 0 || !this.asked.delete(session)) return false;
        this.emit('frozen', session, payload[0]!, payload.toString('utf8', 1, MAX_PROBLEM));
        return true;
      case Message.answered:
        if (!this.asked.delete(session)) return false;
        this.emit('answered', session, payload.toString('utf8', 0, MAX_PROBLEM));
        return true;
      case Message.oom:
        if (this.check(this.kills.take(payload.length)) && this.toldKills.take(0) === null)
          this.emit('oom', payload[0] === 1);
        return true;
      case Message.subscribed:
        if (!this.windows.subscribed(session)) return false;
        this.emit('subscribed', session);
        return true;
      case Message.pong:
        if (this.pings === 0) return false;
        this.pings--;
        return true;
      default:
        // A newer tether may send more than this endpoint understands.
        return false;
    }
  }

  private hello(payload: Buffer): boolean {
    if (this.version !== null) return false;
    this.version = payload.length >= 4 ? payload.readUInt32LE(0) : 0;
    if (this.version >= 2) this.inputWindow = INPUT_WINDOW;
    if (this.version >= 3) this.longestProcess = Number.POSITIVE_INFINITY;
    this.emit('hello');
    return true;
  }

  private output(session: number, payload: Buffer): void {
    if (!this.check(this.windows.take(session, Math.max(0, payload.length - OUTPUT_HEAD)))) return;
    const output = decodeOutput(session, payload);
    if (session === 0) {
      if (!this.check(output.offset < this.lastOffset ? 'it sent output with a place in the log that cannot be' : null))
        return;
      this.lastOffset = output.offset;
    }
    this.emit('output', output);
  }

  private exited(session: number, payload: Buffer): boolean {
    if (payload.length < 9 || !this.windows.has(session)) return false;
    if (!this.check(this.windows.ended(session))) return true;
    this.inputs.get(session)?.processEnded();
    this.inputs.delete(session);
    this.owed.delete(session);
    this.emit('exited', session, {
      code: exitCode(payload),
      signal: payload.readUInt32LE(4),
      oomKilled: payload[8] === 1,
    });
    return true;
  }

  private ended(): void {
    if (this.closed) return;
    this.closed = true;
    for (const input of this.inputs.values()) input.processEnded();
    this.inputs.clear();
    this.taken();
    this.emit('close');
  }
}

/** The exit code of a process that could not start, when the guest gives none. */
const NOT_STARTED = 128;

/** Within the range of exit codes. */
const exitCode = (payload: Buffer): number => payload.readUInt32LE(0) & 0xff;

function decodeOutput(session: number, payload: Buffer): TetherOutput {
  const offset = payload.readBigUInt64LE(9);
  return {
    session,
    stream: payload[0] === Stream.stderr ? 'stderr' : 'stdout',
    timeNs: payload.readBigUInt64LE(1),
    offset: offset > BigInt(Number.MAX_SAFE_INTEGER) ? -1 : Number(offset),
    data: ofItsOwn(payload.subarray(OUTPUT_HEAD)),
  };
}

/** Copies bytes that are a small part of a packet, so that they do not keep the whole packet in memory. */
function ofItsOwn(bytes: Buffer): Buffer {
  return bytes.length * 4 < bytes.buffer.byteLength ? Buffer.from(bytes) : bytes;
}

function u32(value: number): Buffer {
  return new FieldWriter().u32(value).bytes();
}
