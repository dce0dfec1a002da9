/** The frames in which an endpoint sends what is to be backed up: a byte with the kind, 4 with the length (big endian), the content. */
import { unavailable } from './errors.js';

export const FRAME_HEAD = 5;
/** More than any frame has: a unit of a volume, or a piece of an archive. */
const MAX_CONTENT = 16 * 2 ** 20;

/** What a frame has. */
export const FrameKind = {
  /** JSON. */
  record: 1,
  /** A unit of a volume: 4 bytes with its number, then its content; without any, it is zeros. */
  unit: 2,
  /** The next bytes of an archive. */
  bytes: 3,
} as const;
export type FrameKind = (typeof FrameKind)[keyof typeof FrameKind];

/** A frame that was received. */
export interface Frame {
  kind: number;
  content: Buffer;
}

/** The frames of a stream. @throws unavailable for one that ends within a frame, or is none */
export async function* framesOf(stream: AsyncIterable<Buffer>): AsyncGenerator<Frame> {
  let pieces: Buffer[] = [];
  let length = 0;
  let wanted = FRAME_HEAD;
  let kind = 0;
  for await (const piece of stream) {
    pieces.push(piece);
    length += piece.length;
    if (length < wanted) continue;
    let all = pieces.length === 1 ? piece : Buffer.concat(pieces, length);
    while (all.length >= wanted) {
      const part = all.subarray(0, wanted);
      all = all.subarray(wanted);
      if (kind === 0) {
        kind = part.readUInt8(0);
        const size = part.readUInt32BE(1);
        if (kind < 1 || kind > 3 || size > MAX_CONTENT) throw unavailable('what was sent is no backup');
        wanted = size;
      } else {
        yield { kind, content: part };
        kind = 0;
        wanted = FRAME_HEAD;
      }
    }
    pieces = all.length === 0 ? [] : [all];
    length = all.length;
  }
  if (length > 0 || kind !== 0) throw unavailable('what was sent ends too early');
}
