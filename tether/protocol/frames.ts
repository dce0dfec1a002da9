/**
 * Frames of the channel between the endpoint and the tether: u32 length, u8 type, u32 session, payload (little-endian; the length counts
 * type, session and payload). Each side begins a connection with the preamble; everything before it is skipped. The guest's half is
 * `tether/guest/channel.c`, which gets the constants from here through `tether/image/c-header.ts`.
 */
import { internal } from '../../src/common/errors.js';

/** Message types: below 64 from the host, above from the guest. */
export const Message = {
  go: 1,
  subscribe: 2,
  credit: 3,
  stdin: 4,
  stdinEof: 5,
  resize: 6,
  signal: 7,
  exec: 8,
  ping: 9,
  unsubscribe: 10,
  files: 11,
  limit: 12,
  observe: 13,
  freeze: 14,
  nicAdd: 15,
  nicRemove: 16,
  routes: 17,
  rewrite: 18,
  nameServers: 19,
  volumeServe: 20,
  volumeUnserve: 21,
  volumeForget: 22,
  hello: 65,
  started: 66,
  failed: 67,
  output: 68,
  exited: 70,
  stdinCredit: 71,
  pong: 72,
  subscribed: 73,
  limited: 74,
  oom: 75,
  frozen: 76,
  answered: 77,
} as const;

/**
 * Whether the container's processes are frozen. `held` freezes them as `frozen` does, but means that the machine keeps running for
 * someone who reads files; the guest only remembers which of the two it was. `ask` changes nothing.
 */
export const Freeze = { thawed: 0, frozen: 1, held: 2, ask: 255 } as const;

/** What the tether's `hello` says: which of the rules below it follows. */
export const PROTOCOL_VERSION = 5;
/** Which of a process's outputs; a terminal's is `stdout`. */
export const Stream = { stdout: 1, stderr: 2 } as const;

export const PREAMBLE = Buffer.from([0xca, 0x15, 0x50, 0x0e, ...Buffer.from('caisson-ch01')]);
/** The longest frame taken from a guest. A tether sends no more than one write to its port takes, 32 KiB. */
export const MAX_FRAME = 1 << 16;
/** The longest frame a guest accepts: a process may have as large an environment and arguments as the kernel allows. */
export const MAX_HOST_FRAME = 8 << 20;
/** A guest's preamble may come after the rest of what it was sending to an earlier endpoint, but after no more than this. */
const MAX_BEFORE = 4 << 20;
/** Size of the field that holds a frame's length. */
const LENGTH = 4;
/** Length, type and session. */
export const FRAME_HEAD = 9;
/** Stream, time and place in the log, in front of the bytes of an `output`. */
export const OUTPUT_HEAD = 17;
const NOTHING = Buffer.alloc(0);
/** Bytes of input that may be on their way to a session's process before the sender must wait. */
export const INPUT_WINDOW = 262_144;
/** {@link INPUT_WINDOW} of a file server, which grants the difference when it starts. */
export const FILES_WINDOW = 1 << 20;
/** {@link INPUT_WINDOW} of a tether whose `hello` says version 1: in a VM started by an older engine. */
export const FIRST_INPUT_WINDOW = 65_536;
/** Bytes of output a session may send before the receiver grants more. */
export const OUTPUT_WINDOW = 262_144;

/** A received frame. */
export interface Frame {
  type: number;
  session: number;
  payload: Buffer;
}

/** One frame, as bytes. */
export function encodeFrame(type: number, session: number, payload: Buffer = NOTHING): Buffer {
  return Buffer.concat([encodeFrameHead(type, session, payload.length), payload]);
}

/** The head of a frame with a payload of `length` bytes. */
export function encodeFrameHead(type: number, session: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(FRAME_HEAD);
  head.writeUInt32LE(length + 5, 0);
  head.writeUInt8(type, 4);
  head.writeUInt32LE(session, 5);
  return head;
}

/** Splits bytes into frames, beginning after the preamble. */
export class FrameParser {
  /** A frame that has begun, or its length field; the first `filled` bytes have arrived. */
  private begun: Buffer = NOTHING;
  private filled = 0;
  /** Bytes that may be the start of the preamble; null once it was found. */
  private before: Buffer | null = NOTHING;
  private passedOver = 0;

  /** @param longest frame accepted: {@link MAX_FRAME} for what a guest sends */
  constructor(private readonly longest = MAX_FRAME) {}

  /** The frames completed by these bytes. @throws internal when they are damaged */
  push(bytes: Buffer): Frame[] {
    const frames: Frame[] = [];
    let rest = this.before === null ? bytes : this.synchronise(this.before, bytes);
    while (this.filled > 0 && rest.length > 0) {
      const added = rest.copy(this.begun, this.filled);
      rest = rest.subarray(added);
      this.filled += added;
      if (this.filled < this.begun.length) return frames;
      this.filled = 0;
      if (this.begun.length > LENGTH) this.take(this.begun, frames);
      else this.begin(this.begun);
    }
    // A frame that arrived in one piece is not copied.
    this.begin(rest.subarray(this.take(rest, frames)));
    return frames;
  }

  /** Keeps these bytes as the start of a frame. */
  private begin(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.begun = Buffer.allocUnsafe(bytes.length < LENGTH ? LENGTH : this.frameLength(bytes, 0));
    this.filled = bytes.copy(this.begun);
  }

  /** The bytes after the preamble, once that has arrived. */
  private synchronise(before: Buffer, bytes: Buffer): Buffer {
    const all = Buffer.concat([before, bytes]);
    const found = all.indexOf(PREAMBLE);
    if (found >= 0) {
      this.before = null;
      return all.subarray(found + PREAMBLE.length);
    }
    this.passedOver += bytes.length;
    if (this.passedOver > MAX_BEFORE) throw internal('it does not begin the connection');
    this.before = Buffer.from(all.subarray(Math.max(0, all.length - PREAMBLE.length + 1)));
    return NOTHING;
  }

  /** Adds the complete frames at the start of `bytes`; returns where they end. */
  private take(bytes: Buffer, frames: Frame[]): number {
    let at = 0;
    while (bytes.length - at >= FRAME_HEAD) {
      const end = at + this.frameLength(bytes, at);
      if (bytes.length < end) break;
      frames.push({
        type: bytes.readUInt8(at + LENGTH),
        session: bytes.readUInt32LE(at + LENGTH + 1),
        payload: bytes.subarray(at + FRAME_HEAD, end),
      });
      at = end;
    }
    return at;
  }

  /** The length of the whole frame at `at`. @throws internal */
  private frameLength(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32LE(at);
    if (length < FRAME_HEAD - LENGTH || length > this.longest) throw internal('it sent a damaged frame');
    return LENGTH + length;
  }
}
