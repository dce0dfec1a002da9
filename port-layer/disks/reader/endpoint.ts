/** The endpoint, as seen by a disk-reading process: its access to the datastore. */
import type { Duplex } from 'node:stream';
import {
  type BlockReader,
  CachedBlocks,
  checkRange,
  type OpenFile,
  PageCache,
  VmdkExtent,
} from '../../../src/disk/index.js';
import { encodeFrame } from '../frames.js';
import { type FromReader, type ToReader, toldError } from '../messages.js';

/** Longest single read, so that it fits into a frame. */
const MAX_READ = 8 << 20;
/** Disks of layers kept open for the next call. */
const MAX_LAYERS = 256;

/** Bytes asked for at once, and how many such pages of a disk are kept. */
const PAGE = 256 * 1024;
const OWN_PAGES = 32;

type Answer = { type: 'file'; file: number; size: number } | { type: 'bytes'; bytes: Buffer };

/** Asks for files and their bytes. */
export class EndpointFiles {
  private readonly asked = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  private lastId = 0;
  /** The number of each open file, by which places in it are named. */
  private readonly numbers = new WeakMap<VmdkExtent, number>();
  /** Layers do not change: their disks stay open. The most recently used last. */
  private readonly layers = new Map<string, Promise<VmdkExtent>>();
  private readonly tables = new PageCache(64 * 1024, 128);
  private readonly pages = new PageCache(PAGE, 64);

  constructor(private readonly socket: Duplex) {}

  send(message: FromReader, bytes: readonly Buffer[] = []): void {
    this.socket.cork();
    for (const part of encodeFrame(message, bytes)) if (part.length > 0) this.socket.write(part);
    this.socket.uncork();
  }

  /** An answer has arrived. */
  answered(message: ToReader & { type: 'file' | 'bytes' | 'refused' }, bytes: Buffer): void {
    const asked = this.asked.get(message.id);
    this.asked.delete(message.id);
    if (message.type === 'refused') asked?.reject(toldError(message.error));
    else asked?.resolve(message.type === 'bytes' ? { type: 'bytes', bytes } : message);
  }

  private ask(make: (id: number) => FromReader): Promise<Answer> {
    const id = ++this.lastId;
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
      this.send(make(id));
    });
  }

  /** For `VmdkChain.open`. @param disk the disk that the files belong to @param layers the paths that are disks of layers */
  opener(disk: number, layers: ReadonlySet<string>): OpenFile {
    return (path) => (layers.has(path) ? this.openLayer(disk, path) : this.openExtent(disk, path, false));
  }

  private openLayer(disk: number, path: string): Promise<VmdkExtent> {
    const known = this.layers.get(path);
    this.layers.delete(path);
    const opening = known ?? this.openExtent(disk, path, true);
    this.layers.set(path, opening);
    opening.catch(() => this.layers.delete(path));
    for (const [oldest] of this.layers) {
      if (this.layers.size <= MAX_LAYERS) break;
      this.layers.delete(oldest);
    }
    return opening;
  }

  private async openExtent(disk: number, path: string, kept: boolean): Promise<VmdkExtent> {
    const answer = await this.ask((id) => ({ type: 'file', id, disk, path }));
    if (answer.type !== 'file') throw new Error('not the answer to this question');
    const { file, size } = answer;
    const blocks: BlockReader = {
      size,
      read: (offset, length) => this.read(file, size, offset, length),
      close: async () => {
        if (!kept) this.send({ type: 'drop', file });
      },
    };
    // Bytes nearby will be needed soon, and each request takes time.
    const cached = new CachedBlocks(blocks, kept ? this.pages : new PageCache(PAGE, OWN_PAGES));
    const extent = await VmdkExtent.open(cached, kept ? this.tables : undefined);
    this.numbers.set(extent, file);
    return extent;
  }

  private async read(file: number, size: number, offset: number, length: number): Promise<Buffer> {
    checkRange(size, offset, length);
    const parts: Buffer[] = [];
    for (let done = 0; done < length; done += MAX_READ) {
      const part = Math.min(MAX_READ, length - done);
      const answer = await this.ask((id) => ({ type: 'read', id, file, offset: offset + done, length: part }));
      if (answer.type !== 'bytes' || answer.bytes.length !== part) throw new Error('not the answer to this question');
      parts.push(answer.bytes);
    }
    return parts.length === 1 ? parts[0]! : Buffer.concat(parts);
  }

  /** The number of a file that was opened here. */
  numberOf(extent: VmdkExtent): number {
    const number = this.numbers.get(extent);
    if (number === undefined) throw new Error('an extent of nobody');
    return number;
  }
}
