/** The frames of multiplexed streams (Engine API, "Attach to a container"). */
import type { OutputChunk } from '../../../port-layer/index.js';

/** One frame of a multiplexed stream: stream number, three zeros, length (big-endian), payload. */
export function frame(stream: OutputChunk['stream'], data: Buffer): Buffer {
  return Buffer.concat([frameHead(stream, data.length), data]);
}

/** What stands before the payload. */
export function frameHead(stream: OutputChunk['stream'], length: number): Buffer {
  const head = Buffer.alloc(8);
  head[0] = stream === 'stderr' ? 2 : 1;
  head.writeUInt32BE(length, 4);
  return head;
}
