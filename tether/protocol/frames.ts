/**
 * Frames of the channel between the endpoint and the tether: u32 length, u8 type, u32 session, payload (little-endian; the length
 * counts type, session and payload). Each side begins a connection with the preamble; what comes before it is passed over.
 * The guest's half is `tether/guest/channel.c`.
 */
import { internal } from '../../src/common/errors.js';

/** Message types; below 64 from the host, above from the guest. */
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
  hello: 65,
  started: 66,
  failed: 67,
  output: 68,
  outputEof: 69,
  exited: 70,
  stdinCredit: 71,
  pong: 72,
  subscribed: 73,
  limited: 74,
  oom: 75,
  frozen: 76,
} as const;

/**
 * Whether the container's processes stand still. `held`: they do, and the machine runs all the same for somebody who looks at
 * files; the guest only keeps in mind which. `ask` changes nothing.
 */
export const Freeze = { thawed: 0, frozen: 1, held: 2, ask: 255 } as const;

export const PREAMBLE = Buffer.from([0xca, 0x15, 0x50, 0x0e, ...Buffer.from('caisson-ch01')]);
/** The longest frame from a guest: it sends what one write to a port takes, 32 KiB. */
export const MAX_FRAME = 1 << 16;
/** Before a guest's preamble there may be the rest of what it had to say to somebody else, not more. */
const MAX_BEFORE = 4 << 20;
/** Of the field that says a frame's length. */
const LENGTH = 4;
const FRAME_HEAD = 9;
const NOTHING = Buffer.alloc(0);
/** Bytes of input a session's process may be behind before the sender must wait. */
export const INPUT_WINDOW = 262_144;
/** What a file server may be behind: it grants the difference when it starts. */
export const FILES_WINDOW = 1 << 20;
/** {@link INPUT_WINDOW} for a tether whose `hello` says version 1: a VM that was started by an older engine. */
export const FIRST_INPUT_WINDOW = 65_536;
/** Bytes of output a session may send before the receiver grants more. */
export const OUTPUT_WINDOW = 262_144;

/** A received frame. */
export interface Frame {
  type: number;
  session: number;
  payload: Buffer;
}

/** One frame as bytes. */
export function encodeFrame(type: number, session: number, payload: Buffer = NOTHING): Buffer {
  return Buffer.concat([encodeFrameHead(type, session, payload.length), payload]);
}

/** What stands before a payload of so many bytes. */
export function encodeFrameHead(type: number, session: number, length: number): Buffer {
  const head = Buffer.allocUnsafe(FRAME_HEAD);
  head.writeUInt32LE(length + 5, 0);
  head.writeUInt8(type, 4);
  head.writeUInt32LE(session, 5);
  return head;
}

/** Splits bytes into frames, beginning after the preamble. */
export class FrameParser {
  /** A frame that has begun, or its length: `filled` bytes of it are there. */
  private begun: Buffer = NOTHING;
  private filled = 0;
  /** What may be the beginning of the preamble. */
  private before: Buffer | null = NOTHING;
  private passedOver = 0;

  /** @param longest frame that is taken: {@link MAX_FRAME} for what a guest sends */
  constructor(private readonly longest = MAX_FRAME) {}

  /** The frames that are complete with these bytes. @throws internal when the guest sends nonsense */
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
    // A frame that is here as a whole is not copied.
    this.begin(rest.subarray(this.take(rest, frames)));
    return frames;
  }

  /** These bytes are the beginning of a frame. */
  private begin(bytes: Buffer): void {
    if (bytes.length === 0) return;
    this.begun = Buffer.allocUnsafe(bytes.length < LENGTH ? LENGTH : this.frameLength(bytes, 0));
    this.filled = bytes.copy(this.begun);
  }

  /** What comes after the preamble. */
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

  /** Adds the whole frames at the beginning of the bytes; returns where they end. */
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

  /** Of the whole frame. @throws internal */
  private frameLength(bytes: Buffer, at: number): number {
    const length = bytes.readUInt32LE(at);
    if (length < FRAME_HEAD - LENGTH || length > this.longest) throw internal('it sent a damaged frame');
    return LENGTH + length;
  }
}
