/**
 * Random access to bytes, wherever they are: a local file, a datastore file over HTTP range requests, or a disk made of a chain of VMDKs.
 * Everything in `src/disk` reads through {@link BlockReader}.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { invalid } from '../common/errors.js';

/** Random-access, read-only bytes of a known size. */
export interface BlockReader {
  /** Size in bytes. */
  readonly size: number;
  /** Exactly `length` bytes from `offset`. Throws `invalid` if that reaches past the end. */
  read(offset: number, length: number): Promise<Buffer>;
  /** Releases what the reader holds. */
  close(): Promise<void>;
}

/** Throws `invalid` unless `offset … offset+length` lies inside `size` bytes. */
export function checkRange(size: number, offset: number, length: number): void {
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(length) || offset < 0 || length < 0) {
    throw invalid(`a read of ${length} bytes at ${offset} makes no sense`);
  }
  if (offset + length > size) throw invalid(`a read of ${length} bytes at ${offset} reaches past the end (${size})`);
}

/** A local file as a {@link BlockReader}. */
export class FileBlocks implements BlockReader {
  private constructor(
    private readonly handle: FileHandle,
    readonly size: number,
  ) {}

  /** Opens `path` for reading, with the size it has at this moment. */
  static async open(path: string): Promise<FileBlocks> {
    const handle = await open(path, 'r');
    try {
      return new FileBlocks(handle, (await handle.stat()).size);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async read(offset: number, length: number): Promise<Buffer> {
    checkRange(this.size, offset, length);
    const buffer = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const { bytesRead } = await this.handle.read(buffer, done, length - done, offset + done);
      if (bytesRead === 0) throw invalid(`the file ended at ${offset + done} while being read`);
      done += bytesRead;
    }
    return buffer;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

/** Bytes in memory as a {@link BlockReader}. */
export class MemoryBlocks implements BlockReader {
  readonly size: number;
  constructor(private readonly bytes: Buffer) {
    this.size = bytes.length;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    checkRange(this.size, offset, length);
    return this.bytes.subarray(offset, offset + length);
  }

  async close(): Promise<void> {}
}

/** Caches pages of one or more readers; the least recently used page goes first. */
export class PageCache {
  private readonly pages = new Map<number, Promise<Buffer>>();
  private readers = 0;

  /** Keeps at most `limit` pages of `pageSize` bytes. */
  constructor(
    readonly pageSize: number,
    private readonly limit: number,
  ) {}

  /** A number for a new reader, which distinguishes its pages from those of others. */
  newReader(): number {
    return this.readers++;
  }

  /** Page `index` of `reader`; `load` fetches it if it is not cached. */
  page(reader: number, index: number, load: () => Promise<Buffer>): Promise<Buffer> {
    const key = reader * 2 ** 24 + index;
    const known = this.pages.get(key);
    if (known) {
      this.pages.delete(key);
      this.pages.set(key, known);
      return known;
    }
    const loading = load();
    this.pages.set(key, loading);
    loading.catch(() => {
      if (this.pages.get(key) === loading) this.pages.delete(key);
    });
    if (this.pages.size > this.limit) {
      const oldest = this.pages.keys().next();
      if (!oldest.done) this.pages.delete(oldest.value);
    }
    return loading;
  }

  /** Drops all pages. */
  clear(): void {
    this.pages.clear();
  }
}

/**
 * Caches a reader in pages. Meant for metadata, which is read in small pieces from nearby places, over a reader whose calls are expensive
 * (HTTP requests).
 */
export class CachedBlocks implements BlockReader {
  readonly size: number;
  private readonly pageSize: number;
  private readonly reader: number;

  constructor(
    private readonly source: BlockReader,
    private readonly pages = new PageCache(65536, 64),
  ) {
    this.size = source.size;
    this.pageSize = pages.pageSize;
    this.reader = pages.newReader();
  }

  private page(index: number): Promise<Buffer> {
    const start = index * this.pageSize;
    return this.pages.page(this.reader, index, () =>
      this.source.read(start, Math.min(this.pageSize, this.size - start)),
    );
  }

  async read(offset: number, length: number): Promise<Buffer> {
    checkRange(this.size, offset, length);
    const first = Math.floor(offset / this.pageSize);
    const last = length === 0 ? first : Math.floor((offset + length - 1) / this.pageSize);
    if (length === 0) return Buffer.alloc(0);
    if (first === last) {
      const page = await this.page(first);
      const start = offset - first * this.pageSize;
      return page.subarray(start, start + length);
    }
    // Anything larger than a page is data, not metadata, and would only push metadata out.
    if (length > this.pageSize) return this.source.read(offset, length);
    const [head, tail] = await Promise.all([this.page(first), this.page(last)]);
    const joined = Buffer.allocUnsafe(length);
    const copied = head.copy(joined, 0, offset - first * this.pageSize);
    tail.copy(joined, copied, 0, length - copied);
    return joined;
  }

  close(): Promise<void> {
    return this.source.close();
  }
}
