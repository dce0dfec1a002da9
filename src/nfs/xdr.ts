/** XDR (RFC 4506): what RPC and NFS write their messages in. Everything is in units of four bytes, most significant byte first. */
import { invalid } from '../common/errors.js';

/** Writes a message. */
export class XdrWriter {
  private readonly parts: Buffer[] = [];

  u32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(value);
    this.parts.push(bytes);
    return this;
  }

  u64(value: bigint): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64BE(value);
    this.parts.push(bytes);
    return this;
  }

  /** Bytes whose length the reader knows. */
  fixed(bytes: Buffer): this {
    this.parts.push(bytes, Buffer.alloc(-bytes.length & 3));
    return this;
  }

  opaque(bytes: Buffer | string): this {
    const buffer = Buffer.from(bytes as string);
    return this.u32(buffer.length).fixed(buffer);
  }

  words(words: readonly number[]): this {
    this.u32(words.length);
    for (const word of words) this.u32(word);
    return this;
  }

  bytes(): Buffer {
    return Buffer.concat(this.parts);
  }
}

/** Reads a message. @throws invalid for one that ends too early, or has more of something than it may */
export class XdrReader {
  private at = 0;

  constructor(private readonly buffer: Buffer) {}

  u32(): number {
    return this.take(4).readUInt32BE();
  }

  u64(): bigint {
    return this.take(8).readBigUInt64BE();
  }

  flag(): boolean {
    return this.u32() !== 0;
  }

  fixed(length: number): Buffer {
    const bytes = this.take(length);
    this.take(-length & 3);
    return bytes;
  }

  opaque(most: number): Buffer {
    const length = this.u32();
    if (length > most) throw invalid(`${length} bytes in an answer where ${most} are the most`);
    return this.fixed(length);
  }

  words(): number[] {
    const count = this.u32();
    if (count > 8) throw invalid('an answer with too large a bitmap');
    return Array.from({ length: count }, () => this.u32());
  }

  private take(length: number): Buffer {
    const end = this.at + length;
    if (end > this.buffer.length) throw invalid('an answer that ends too early');
    const bytes = this.buffer.subarray(this.at, end);
    this.at = end;
    return bytes;
  }
}
