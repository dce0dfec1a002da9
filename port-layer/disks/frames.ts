/** Messages between the endpoint and a disk-reading process: a structured message, and bytes that belong to it. */
import { deserialize, serialize } from 'node:v8';
import { internal } from '../../src/common/errors.js';

export interface Frame<T> {
  message: T;
  bytes: Buffer;
}

/** u32 length of message and bytes together, u32 length of the message. */
const HEAD = 8;
/** Far more than either side sends at once. */
const MAX_FRAME = 32 << 20;

/** A frame as pieces to be written one after the other. */
export function encodeFrame(message: unknown, bytes: readonly Buffer[] = []): Buffer[] {
  const body = serialize(message);
  const head = Buffer.allocUnsafe(HEAD);
  head.writeUInt32LE(body.length + bytes.reduce((sum, { length }) => sum + length, 0), 0);
  head.writeUInt32LE(body.length, 4);
  return [head, body, ...bytes];
}

/** Assembles frames from the pieces that arrive. */
export class FrameReader<T> {
  private pieces: Buffer[] = [];
  private length = 0;
  /** Length of the incoming frame in bytes, as far as it is known. */
  private wanted = HEAD;

  /** The frames that this piece completes. @throws internal for a malformed frame */
  push(piece: Buffer): Frame<T>[] {
    this.pieces.push(piece);
    this.length += piece.length;
    const frames: Frame<T>[] = [];
    while (this.length >= this.wanted) {
      const all = this.pieces.length === 1 ? this.pieces[0]! : Buffer.concat(this.pieces, this.length);
      this.pieces = [all];
      const [total, size] = [all.readUInt32LE(0), all.readUInt32LE(4)];
      if (total > MAX_FRAME || size > total) throw internal('a damaged message between processes');
      this.wanted = HEAD + total;
      if (this.length < this.wanted) break;
      const message = deserialize(all.subarray(HEAD, HEAD + size)) as T;
      frames.push({ message, bytes: all.subarray(HEAD + size, this.wanted) });
      this.length -= this.wanted;
      this.pieces = this.length === 0 ? [] : [all.subarray(this.wanted)];
      this.wanted = HEAD;
    }
    return frames;
  }
}
