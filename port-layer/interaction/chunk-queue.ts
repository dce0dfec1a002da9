/**
 * Output waiting for a slow reader, packed into buffers: a process may write byte by byte, and one object per piece takes many times its
 * size.
 */
import type { OutputChunk } from './types.js';

const BLOCK = 65_536;
/** Stream, time, offset, length. */
const HEAD = 21;

/** First in, first out. */
export class ChunkQueue {
  private readonly blocks: { data: Buffer; end: number }[] = [];
  private at = 0;
  /** Memory taken by the waiting output. */
  bytes = 0;

  get empty(): boolean {
    return this.bytes === 0;
  }

  add({ stream, timeNs, offset, data }: OutputChunk): void {
    const length = HEAD + data.length;
    let last = this.blocks.at(-1);
    if (last === undefined || last.data.length - last.end < length) {
      last = { data: Buffer.allocUnsafe(Math.max(BLOCK, length)), end: 0 };
      this.blocks.push(last);
    }
    const at = last.end;
    last.data.writeUInt8(stream === 'stderr' ? 2 : 1, at);
    last.data.writeBigUInt64LE(timeNs, at + 1);
    last.data.writeDoubleLE(offset, at + 9);
    last.data.writeUInt32LE(data.length, at + 17);
    data.copy(last.data, at + HEAD);
    last.end += length;
    this.bytes += length;
  }

  /** The oldest piece; null if nothing is waiting. */
  take(): OutputChunk | null {
    const block = this.blocks[0];
    if (block === undefined) return null;
    const { data } = block;
    const { at } = this;
    const end = at + HEAD + data.readUInt32LE(at + 17);
    this.bytes -= end - at;
    this.at = end;
    if (end === block.end) {
      this.blocks.shift();
      this.at = 0;
    }
    return {
      stream: data.readUInt8(at) === 2 ? 'stderr' : 'stdout',
      timeNs: data.readBigUInt64LE(at + 1),
      offset: data.readDoubleLE(at + 9),
      data: data.subarray(at + HEAD, end),
    };
  }

  clear(): void {
    this.blocks.length = 0;
    this.at = this.bytes = 0;
  }
}
