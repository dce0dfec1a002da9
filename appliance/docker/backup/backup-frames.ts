/**
 * The stream in which a backup is read. Frames: a byte with the kind, 4 bytes with the length (big endian), and the content. What is read
 * is announced by a record (JSON), followed by its content, and ended by a record. The last record says that it is all.
 */
import { FRAME_HEAD, FrameKind } from '../../../src/common/backup-frames.js';

/** @param content its parts */
export function frame(kind: FrameKind, ...content: Buffer[]): Buffer[] {
  const head = Buffer.alloc(FRAME_HEAD);
  head.writeUInt8(kind, 0);
  head.writeUInt32BE(
    content.reduce((sum, { length }) => sum + length, 0),
    1,
  );
  return [head, ...content];
}

export const recordFrame = (record: object): Buffer[] => frame(FrameKind.record, Buffer.from(JSON.stringify(record)));

/** Content of a volume. Without data: zeros. */
export function unitFrame(unit: number, data: Buffer): Buffer[] {
  const number = Buffer.alloc(4);
  number.writeUInt32BE(unit, 0);
  return frame(FrameKind.unit, number, data);
}
