/** What a check of an ext4 filesystem has found out so far. */
import { Breather } from '../../common/breather.js';
import { type BlockReader, CachedBlocks, PageCache } from '../blocks.js';
import * as c from '../ext4/constants.js';
import type { GroupDescriptor } from '../ext4/group-descriptor.js';
import type { Superblock } from '../ext4/superblock.js';
import { BlockUse } from './block-use.js';
import { Problems } from './problems.js';

/** A block group's descriptor. */
export interface Group extends GroupDescriptor {
  raw: Buffer;
  /** Its tables can be read. */
  sound: boolean;
}

/** An inode in use. */
export interface KnownInode {
  /** `file_type` of a directory entry that names it. */
  type: number;
  /** The link count it has, and how many names were found. */
  links: number;
  found: number;
  /** Of a directory: its blocks in order, and whether it says that it has an index. */
  blocks?: number[];
  indexed?: boolean;
}

export class Ext4State {
  readonly problems = new Problems();
  readonly use: BlockUse;
  readonly inodes = new Map<number, KnownInode>();
  /** Blocks of extended attributes, and how many inodes have each. */
  readonly attributes = new Map<number, number>();
  /** Blocks with metadata: everything besides the content of files and what was never written. */
  readonly metadata: { start: number; count: number }[] = [];
  /** Blocks that belong to block groups themselves. */
  readonly groupRuns: { start: number; count: number }[] = [];
  groups: Group[] = [];
  /** Inodes that were deleted while open: they are freed at the next mount. */
  readonly orphans = new Set<number>();
  private readonly meta: CachedBlocks;
  private readonly breather = new Breather();

  /** @param dirty it was not unmounted: totals in the superblock are out of date, which any mount mends */
  constructor(
    disk: BlockReader,
    readonly sb: Superblock,
    readonly dirty: boolean,
  ) {
    this.meta = new CachedBlocks(disk, new PageCache(65536, 256));
    this.use = new BlockUse(sb.blocks);
  }

  /** A block's content, which must not be changed. */
  async block(block: number): Promise<Buffer> {
    if (this.breather.due) await this.breather.breathe();
    return this.meta.read(block * c.BLOCK, c.BLOCK);
  }

  /** Takes blocks for `what`; tells of those that something else has, or that there are not. */
  take(start: number, count: number, what: () => string): boolean {
    const wrong = this.use.take(start, count);
    if (wrong === null) return true;
    this.problems.add(
      wrong.kind === 'beyond'
        ? `${what()} has block ${wrong.block}, beyond the end of the filesystem`
        : `block ${wrong.block} belongs to ${what()}, and to something else too`,
    );
    return false;
  }

  takeMetadata(start: number, count: number, what: () => string): boolean {
    this.metadata.push({ start, count });
    return this.take(start, count, what);
  }
}
