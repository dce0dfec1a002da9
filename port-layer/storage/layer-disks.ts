/**
 * Disks of stored layers, open for reading. A stored layer never changes, and writing the next layer, a diff and an export read much the
 * same parts of it. So each disk is opened once for all of them, instead of the whole chain for each.
 */
import { type BlockReader, PageCache, VmdkExtent } from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { DatastoreBlocks } from './datastore-blocks.js';

/** Twice the longest chain of an image. */
const MAX_OPEN = 256;
/** How long disks are kept after the last use. */
const IDLE_MS = 30_000;

/** Opens disks by their paths on the datastore. It keeps a limited number, and drops them all after a while without use. */
export class LayerDisks {
  /** The most recently used last. */
  private readonly extents = new Map<string, Promise<VmdkExtent>>();
  private readonly files = new Map<string, Promise<BlockReader>>();
  /** 48 MiB of content and 16 MiB of grain tables, shared by all disks. */
  private readonly pages = new PageCache(128 * 1024, 384);
  private readonly tables = new PageCache(64 * 1024, 256);
  private idle: NodeJS.Timeout | null = null;

  /** @param directory the parent of the layers' directories, relative to the datastore */
  constructor(
    private readonly datastore: DatastoreClient,
    private readonly directory: string,
  ) {}

  /** For `VmdkChain.open`: a layer's disk is shared, any other file is opened for the caller alone. @throws notFound, invalid */
  open(path: string): Promise<BlockReader | VmdkExtent> {
    if (!path.startsWith(`${this.directory}/`)) return DatastoreBlocks.open(this.datastore, path);
    return this.kept(this.extents, path, () =>
      this.openBlocks(path).then((file) => VmdkExtent.open(file, this.tables)),
    );
  }

  /** The bytes of a file, shared in the same way. @throws notFound */
  openBlocks(path: string): Promise<BlockReader> {
    if (!path.startsWith(`${this.directory}/`)) return DatastoreBlocks.open(this.datastore, path);
    return this.kept(this.files, path, () => DatastoreBlocks.open(this.datastore, path, this.pages));
  }

  private kept<T>(all: Map<string, Promise<T>>, path: string, open: () => Promise<T>): Promise<T> {
    if (this.idle === null) this.idle = setTimeout(() => this.clear(), IDLE_MS).unref();
    else this.idle.refresh();
    const known = all.get(path);
    all.delete(path);
    const opening = known ?? open();
    all.set(path, opening);
    if (known === undefined) opening.catch(() => all.delete(path));
    for (const [oldest] of all) {
      if (all.size <= MAX_OPEN) break;
      all.delete(oldest);
    }
    return opening;
  }

  /** Must be called before the file is removed. */
  forget(path: string): void {
    this.extents.delete(path);
    this.files.delete(path);
  }

  private clear(): void {
    this.idle = null;
    this.extents.clear();
    this.files.clear();
    this.pages.clear();
    this.tables.clear();
  }
}
