/**
 * Zstandard decompression of an untrusted stream (RFC 8878). Frame and block headers are parsed here before the decoder sees them, because
 * the decoder allocates whatever window a frame asks for, and because a stream may be cut at any byte.
 */
import { Decompress } from 'fzstd';
import { invalid, messageOf } from '../../src/common/errors.js';

const MAGIC = 0xfd2fb528;
/** Skippable frames: 0x184D2A50 to 0x184D2A5F (section 3.1.2). */
const SKIPPABLE = 0x184d2a5;
/** The window that `zstd` itself does not exceed by default (windowLog 27). */
const WINDOW_MAX = 128 * 1024 * 1024;
/** Section 3.1.1.2.4: no block is larger, compressed or not. */
const BLOCK_MAX = 128 * 1024;
const DICTIONARY_ID_BYTES = [0, 1, 2, 4];
const CONTENT_SIZE_BYTES = [0, 2, 4, 8];

type State = 'magic' | 'skip' | 'header' | 'block' | 'copy' | 'checksum';

/**
 * The content of a Zstandard stream of any number of frames, block by block: a few bytes can stand for 128 KiB, so the reader must be able
 * to pause between any two blocks.
 * @throws invalid for anything that is not Zstandard, needs too much memory, or is cut short
 */
export async function* decodeZstd(source: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const decoder = new FrameDecoder();
  for await (const chunk of source) {
    decoder.feed(chunk);
    while (decoder.step()) yield* decoder.takeOutput();
  }
  decoder.finish();
}

class FrameDecoder {
  #state: State = 'magic';
  #pending: Buffer = Buffer.alloc(0);
  #output: Buffer[] = [];
  #decoder: Decompress | undefined;
  /** Bytes left to skip or to copy, in the states that do so. */
  #left = 0;
  #lastBlock = false;
  #hasChecksum = false;
  #frames = 0;

  feed(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
  }

  takeOutput(): Buffer[] {
    const output = this.#output;
    this.#output = [];
    return output;
  }

  finish(): void {
    const complete = this.#state === 'magic' && this.#pending.length === 0 && this.#frames > 0;
    if (!complete) throw invalid('invalid zstd data: unexpected end');
  }

  /** Takes one element off the pending bytes; false if more bytes are needed. */
  step(): boolean {
    switch (this.#state) {
      case 'magic':
        return this.#magic();
      case 'skip':
        return this.#consume(() => {}, 'magic');
      case 'header':
        return this.#header();
      case 'block':
        return this.#block();
      case 'copy':
        return this.#consume((bytes) => this.#decode(bytes), this.#lastBlock ? 'checksum' : 'block');
      case 'checksum':
        return this.#checksum();
    }
  }

  #take(count: number): Buffer | undefined {
    if (this.#pending.length < count) return undefined;
    const taken = this.#pending.subarray(0, count);
    this.#pending = this.#pending.subarray(count);
    return taken;
  }

  #consume(use: (bytes: Buffer) => void, next: State): boolean {
    const bytes = this.#take(Math.min(this.#left, this.#pending.length))!;
    if (bytes.length > 0) use(bytes);
    this.#left -= bytes.length;
    if (this.#left > 0) return false;
    this.#state = next;
    return true;
  }

  #magic(): boolean {
    if (this.#pending.length < 4) return false;
    const magic = this.#pending.readUInt32LE(0);
    if (magic === MAGIC) {
      this.#state = 'header';
      return true;
    }
    if (magic >>> 4 !== SKIPPABLE) throw invalid('invalid zstd data: no frame');
    const header = this.#take(8);
    if (!header) return false;
    this.#left = header.readUInt32LE(4);
    this.#state = 'skip';
    return true;
  }

  #header(): boolean {
    if (this.#pending.length < 6) return false;
    const descriptor = this.#pending[4]!;
    const singleSegment = (descriptor & 0x20) !== 0;
    const sizeCode = descriptor >> 6;
    const sizeBytes = sizeCode === 0 ? (singleSegment ? 1 : 0) : CONTENT_SIZE_BYTES[sizeCode]!;
    const windowBytes = singleSegment ? 0 : 1;
    const sizeAt = 5 + windowBytes + DICTIONARY_ID_BYTES[descriptor & 3]!;
    const header = this.#take(sizeAt + sizeBytes);
    if (!header) return false;
    let window: number;
    if (singleSegment) {
      window =
        sizeBytes === 8
          ? Number(header.readBigUInt64LE(sizeAt))
          : header.readUIntLE(sizeAt, sizeBytes) + (sizeBytes === 2 ? 256 : 0);
    } else {
      const base = 2 ** (10 + (header[5]! >> 3));
      window = base + (base / 8) * (header[5]! & 7);
    }
    if (window > WINDOW_MAX) throw invalid(`invalid zstd data: window of ${window} bytes is too large`);
    this.#hasChecksum = (descriptor & 4) !== 0;
    this.#decoder = new Decompress((data) => {
      // The decoder reuses its buffer, but what the reader holds must not change.
      if (data.length > 0) this.#output.push(Buffer.from(data));
    });
    this.#decode(header);
    this.#frames++;
    this.#state = 'block';
    return true;
  }

  #block(): boolean {
    const header = this.#take(3);
    if (!header) return false;
    const value = header.readUIntLE(0, 3);
    const type = (value >> 1) & 3;
    const size = value >> 3;
    if (type === 3 || size > BLOCK_MAX) throw invalid('invalid zstd data: bad block');
    this.#lastBlock = (value & 1) !== 0;
    // A run-length block holds one byte, whatever its size.
    this.#left = type === 1 ? 1 : size;
    this.#decode(header);
    this.#state = 'copy';
    return true;
  }

  #checksum(): boolean {
    if (this.#hasChecksum) {
      const checksum = this.#take(4);
      if (!checksum) return false;
      this.#decode(checksum);
    }
    // The decoder holds back the first 18 bytes until it knows that no more will come.
    this.#decode(Buffer.alloc(0), true);
    this.#decoder = undefined;
    this.#state = 'magic';
    return true;
  }

  #decode(bytes: Buffer, final = false): void {
    try {
      // Copied, because the decoder keeps what it cannot use yet.
      this.#decoder!.push(new Uint8Array(bytes), final);
    } catch (error) {
      throw invalid(`invalid zstd data: ${messageOf(error)}`, error);
    }
  }
}
