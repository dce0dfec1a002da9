/** Little-endian fields, as `tether/guest/buffer.c` reads and writes them. */

/** Collects fields into bytes. */
export class FieldWriter {
  private readonly parts: Buffer[] = [];

  u8(value: number): this {
    return this.raw(Buffer.of(value));
  }

  u32(value: number): this {
    const bytes = Buffer.allocUnsafe(4);
    bytes.writeUInt32LE(value >>> 0);
    return this.raw(bytes);
  }

  u64(value: bigint): this {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeBigUInt64LE(value);
    return this.raw(bytes);
  }

  /** u32 length and UTF-8. */
  string(value: string): this {
    const bytes = Buffer.from(value);
    return this.u32(bytes.length).raw(bytes);
  }

  /** u32 length and bytes; the string has one character per byte (a path, which need not be UTF-8). */
  byteString(value: string): this {
    return this.u32(value.length).raw(Buffer.from(value, 'latin1'));
  }

  /** u32 count and strings. */
  strings(values: string[]): this {
    this.u32(values.length);
    for (const value of values) this.string(value);
    return this;
  }

  raw(bytes: Buffer): this {
    this.parts.push(bytes);
    return this;
  }

  bytes(): Buffer {
    return Buffer.concat(this.parts);
  }
}
