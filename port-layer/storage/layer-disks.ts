/**
 * Disks of stored layers, open for reading. A layer does not change once it is stored, and the next one that is written, a diff or an
 * export reads much the same of it: so each is opened once, for all, instead of the whole chain for each.
 */
import { type BlockReader, PageCache, VmdkExtent } from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { DatastoreBlocks } from './datastore-blocks.js';

/** Twice the longest chain of an image. */
const MAX_OPEN = 256;
/** Kept after the last use. */
const IDLE_MS = 30_000;

/** Opens disks by their paths on the datastore. What it keeps is bounded, and let go of when nobody asks for a while. */
export class LayerDisks {
  /** The most recently used last. */
  private readonly extents = new Map<string, Promise<VmdkExtent>>();
  /** 48 MiB of content, 16 MiB of grain tables; for all together. */
  private readonly pages = new PageCache(128 * 1024, 384);
  private readonly tables = new PageCache(64 * 1024, 256);
  private idle: NodeJS.Timeout | null = null;

  /** @param directory that the layers' directories are in, relative to the datastore */
  constructor(
    private readonly datastore: DatastoreClient,
    private readonly directory: string,
  ) {}

  /** For `VmdkChain.open`: a layer's disk is shared, any other file is opened for who asks. @throws notFound, invalid */
  open(path: string): Promise<BlockReader | VmdkExtent> {
    if (!path.startsWith(`${this.directory}/`)) return DatastoreBlocks.open(this.datastore, path);
    if (this.idle === null) this.idle = setTimeout(() => this.clear(), IDLE_MS).unref();
    else this.idle.refresh();
    const known = this.extents.get(path);
    this.extents.delete(path);
    const opening = known ?? this.openNew(path);
    this.extents.set(path, opening);
    for (const [oldest] of this.extents) {
      if (this.extents.size <= MAX_OPEN) break;
      this.extents.delete(oldest);
    }
    return opening;
  }

  private openNew(path: string): Promise<VmdkExtent> {
    const opening = DatastoreBlocks.open(this.datastore, path, this.pages).then((file) =>
      VmdkExtent.open(file, this.tables),
    );
    opening.catch(() => this.forget(path));
    return opening;
  }

  /** The file is to be removed. */
  forget(path: string): void {
    this.extents.delete(path);
  }

  private clear(): void {
    this.idle = null;
    this.extents.clear();
    this.pages.clear();
    this.tables.clear();
  }
}
