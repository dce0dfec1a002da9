/** Writes a layer's recipe while the layer's tar is read. */
import { once } from 'node:events';
import { createWriteStream, type WriteStream } from 'node:fs';
import { type FileHandle, open, rm, stat } from 'node:fs/promises';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { TAR_BLOCK } from '../tar/header.js';
import type { GrowFile } from '../vmdk/delta.js';
import { type FilePart, ITEM, NUMBER_BYTES, putNumber } from './format.js';

const BUFFER = 64 * 1024;
/** A run of zeros shorter than this is written as bytes: it would not be worth an item. */
const SHORT_ZEROS = TAR_BLOCK;
/** Longer bytes are written in several items. */
const PIECE = BUFFER / 2;

/** Where a recipe is written. */
export interface RecipeFiles {
  /** The recipe. Must not exist. */
  recipe: string;
  /** Content of files that the layer replaces or removes again; made only if there is some. */
  replaced: string;
}

/** What was written. */
export interface RecipeSize {
  /** Bytes of the tar that it makes. */
  tar: number;
  /** Bytes of the recipe. */
  recipe: number;
  /** Bytes of replaced content; 0: there is no such file. */
  replaced: number;
}

/**
 * For one layer. Bytes and files are told in the order of the tar. After an error, and at the end, {@link RecipeWriter.discard} or
 * {@link RecipeWriter.finish} must be called.
 */
export class RecipeWriter {
  private readonly gzip = createGzip({ level: constants.Z_BEST_SPEED, chunkSize: BUFFER });
  private readonly file: WriteStream;
  private readonly written: Promise<void>;
  private failure: unknown;
  private buffer = Buffer.allocUnsafe(BUFFER);
  private used = 0;
  /** Bytes of the tar so far. */
  private length = 0;
  private files = 0;
  /** By inode, the numbers of files in the recipe that are still on the disk. */
  private readonly known = new Map<number, number>();
  /** By inode, the parts of those that are not in one piece. */
  private readonly sparse = new Map<number, FilePart[]>();
  /** Bytes of the recipe that `grow` was told of. */
  private told = 0;
  private zeros = 0;
  private replaced: { file: FileHandle; size: number } | null = null;

  constructor(
    private readonly paths: RecipeFiles,
    private readonly grow: GrowFile | null = null,
  ) {
    this.file = createWriteStream(paths.recipe, { flags: 'wx', mode: 0o640 });
    this.written = pipeline(this.gzip, this.file);
    this.written.catch((error: unknown) => {
      this.failure = error;
    });
  }

  /**
   * Bytes of the tar that are in no file: a header, padding, the end. Most calls only fill a buffer; the promise of the others must be
   * awaited before the next call, and `bytes` must not change before.
   */
  bytes(bytes: Buffer): Promise<void> | undefined {
    this.length += bytes.length;
    if (isZero(bytes)) {
      this.zeros += bytes.length;
      return undefined;
    }
    if (this.used + this.zeros + bytes.length + 4 * NUMBER_BYTES > BUFFER) return this.slowBytes(bytes);
    if (this.zeros > 0) this.putZeros();
    this.number(ITEM.bytes);
    this.number(bytes.length);
    this.used += bytes.copy(this.buffer, this.used);
    return undefined;
  }

  private async slowBytes(bytes: Buffer): Promise<void> {
    await this.endZeros();
    for (let at = 0; at < bytes.length; at += PIECE) {
      const piece = bytes.subarray(at, at + PIECE);
      await this.room(2 * NUMBER_BYTES + piece.length);
      this.number(ITEM.bytes);
      this.number(piece.length);
      this.used += piece.copy(this.buffer, this.used);
    }
  }

  /** The file `inode` of `length` bytes, which came next in the tar. As for {@link RecipeWriter.bytes}. */
  whole(inode: number, length: number): Promise<void> | undefined {
    if (length === 0) return undefined;
    if (this.used + this.zeros + 6 * NUMBER_BYTES > BUFFER) return this.parts(inode, [{ offset: 0, length }]);
    this.known.set(inode, this.files++);
    if (this.zeros > 0) this.putZeros();
    this.putFile(inode, 1);
    this.number(0);
    this.number(length);
    this.length += length;
    return undefined;
  }

  /** Parts of the file `inode`, whose content came next in the tar, in order, none of them empty. */
  async parts(inode: number, parts: FilePart[]): Promise<void> {
    if (parts.length === 0) return;
    this.known.set(inode, this.files++);
    if (parts.length > 1 || parts[0]?.offset !== 0) this.sparse.set(inode, parts);
    await this.endZeros();
    await this.room(3 * NUMBER_BYTES);
    this.putFile(inode, parts.length);
    let end = 0;
    for (const { offset, length } of parts) {
      await this.room(2 * NUMBER_BYTES);
      this.number(offset - end);
      this.number(length);
      this.length += length;
      end = offset + length;
    }
  }

  private putFile(inode: number, parts: number): void {
    this.number(ITEM.file);
    this.number(inode);
    this.number(parts);
  }

  /** The file `inode` of `size` bytes is about to leave the disk. @param content reads a part of it */
  async leaves(inode: number, size: number, content: (part: FilePart) => AsyncIterable<Buffer>): Promise<void> {
    const number = this.known.get(inode);
    if (number === undefined) return;
    const parts = this.sparse.get(inode) ?? [{ offset: 0, length: size }];
    this.known.delete(inode);
    this.sparse.delete(inode);
    await this.endZeros();
    this.replaced ??= { file: await open(this.paths.replaced, 'wx', 0o640), size: 0 };
    await this.room(3 * NUMBER_BYTES);
    this.number(ITEM.replaced);
    this.number(number);
    this.number(this.replaced.size);
    for (const part of parts)
      for await (const bytes of content(part)) {
        await this.grow?.(bytes.length);
        await this.replaced.file.appendFile(bytes);
        this.replaced.size += bytes.length;
      }
  }

  private async endZeros(): Promise<void> {
    if (this.zeros === 0) return;
    await this.room(2 * NUMBER_BYTES + Math.min(this.zeros, SHORT_ZEROS));
    this.putZeros();
  }

  /** The zeros that came since the last item; there is room for them. */
  private putZeros(): void {
    const { zeros } = this;
    this.zeros = 0;
    this.number(zeros < SHORT_ZEROS ? ITEM.bytes : ITEM.zeros);
    this.number(zeros);
    if (zeros >= SHORT_ZEROS) return;
    this.buffer.fill(0, this.used, this.used + zeros);
    this.used += zeros;
  }

  private number(value: number): void {
    this.used = putNumber(this.buffer, this.used, value);
  }

  /** Makes room for so many bytes in the buffer. */
  private async room(bytes: number): Promise<void> {
    if (this.used + bytes > BUFFER) await this.flush();
  }

  private async flush(): Promise<void> {
    if (this.failure !== undefined) throw this.failure;
    const { bytesWritten } = this.file;
    await this.grow?.(bytesWritten - this.told);
    this.told = bytesWritten;
    const full = !this.gzip.write(this.buffer.subarray(0, this.used));
    this.buffer = Buffer.allocUnsafe(BUFFER);
    this.used = 0;
    if (full) await Promise.race([once(this.gzip, 'drain'), this.written]);
  }

  /** Writes what is left. @returns the sizes of the files @throws errors of the filesystem */
  async finish(): Promise<RecipeSize> {
    await this.endZeros();
    await this.room(2 * NUMBER_BYTES);
    this.number(ITEM.end);
    this.number(this.length);
    await this.flush();
    this.gzip.end();
    await this.written;
    await this.replaced?.file.close();
    const { size } = await stat(this.paths.recipe);
    return { tar: this.length, recipe: size, replaced: this.replaced?.size ?? 0 };
  }

  /** Removes what was written. */
  async discard(): Promise<void> {
    this.gzip.destroy();
    await this.written.catch(() => undefined);
    await this.replaced?.file.close().catch(() => undefined);
    await rm(this.paths.recipe, { force: true });
    await rm(this.paths.replaced, { force: true });
  }
}

function isZero(bytes: Buffer): boolean {
  if (bytes[0] !== 0) return false;
  if (bytes.length <= ZEROS.length) return bytes.equals(ZEROS.subarray(0, bytes.length));
  return bytes.every((byte) => byte === 0);
}

const ZEROS = Buffer.alloc(TAR_BLOCK);
