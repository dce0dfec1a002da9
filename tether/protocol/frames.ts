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
export const MAX_FRAME = 1 << 20;
/** Bytes of input a session's process may be behind before the sender must wait. */
export const INPUT_WINDOW = 65536;
/** Bytes of output a session may send before the receiver grants more. */
export const OUTPUT_WINDOW = 262_144;

/** A received frame. */
export interface Frame {
  type: number;
  session: number;
  payload: Buffer;
}

/** One frame as bytes. */
export function encodeFrame(type: number, session: number, payload: Buffer = Buffer.alloc(0)): Buffer {
  const frame = Buffer.allocUnsafe(9 + payload.length);
  frame.writeUInt32LE(payload.length + 5, 0);
  frame.writeUInt8(type, 4);
  frame.writeUInt32LE(session, 5);
  payload.copy(frame, 9);
  return frame;
}

/** Splits bytes into frames, beginning after the preamble. */
export class FrameParser {
  private pending: Buffer = Buffer.alloc(0);
  private synchronised = false;

  /** The frames that are complete with these bytes. @throws internal when the guest sends nonsense */
  push(bytes: Buffer): Frame[] {
    this.pending = this.pending.length === 0 ? bytes : Buffer.concat([this.pending, bytes]);
    const frames: Frame[] = [];
    if (!this.synchronised && !this.synchronise()) return frames;
    let at = 0;
    while (this.pending.length - at >= 9) {
      const length = this.pending.readUInt32LE(at);
      if (length < 5 || length > MAX_FRAME) throw internal('the guest sent a damaged frame');
      if (this.pending.length - at < 4 + length) break;
      frames.push({
        type: this.pending.readUInt8(at + 4),
        session: this.pending.readUInt32LE(at + 5),
        payload: this.pending.subarray(at + 9, at + 4 + length),
      });
      at += 4 + length;
    }
    this.pending = this.pending.subarray(at);
    return frames;
  }

  private synchronise(): boolean {
    const found = this.pending.indexOf(PREAMBLE);
    if (found < 0) {
      this.pending = this.pending.subarray(Math.max(0, this.pending.length - PREAMBLE.length + 1));
      return false;
    }
    this.pending = this.pending.subarray(found + PREAMBLE.length);
    this.synchronised = true;
    return true;
  }
}
