/** A datastore's files as disks are read. */
import { type BlockReader, CachedBlocks, PageCache } from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';

/** A datastore file read by ranges, through a cache, because metadata is read in small pieces close together. */
export class DatastoreBlocks implements BlockReader {
  private constructor(
    private readonly datastore: DatastoreClient,
    private readonly path: string,
    readonly size: number,
  ) {}

  /** @param pages the cache for what is read. @throws notFound */
  static async open(
    datastore: DatastoreClient,
    path: string,
    pages = new PageCache(256 * 1024, 128),
  ): Promise<BlockReader> {
    const size = await datastore.size(path);
    if (size === null) throw new PortLayerError('target.noFile', { path });
    return new CachedBlocks(new DatastoreBlocks(datastore, path, size), pages);
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const parts: Buffer[] = [];
    for await (const part of await this.datastore.get(this.path, { start: offset, end: offset + length }))
      parts.push(part as Buffer);
    return Buffer.concat(parts);
  }

  async close(): Promise<void> {}
}
