/** Directories in memory while a layer is applied. */
import { Breather } from '../../common/breather.js';
import { invalid } from '../../common/errors.js';
import { BLOCK, BLOCKS_PER_GRAIN, FL_EXTENTS, FL_INDEX, FT_DIR, MAX_LINKS } from './constants.js';
import { buildDirectory, type Dirent, parseDirectoryBlock } from './directory.js';
import { appendRun, buildExtentTree, type Extent } from './extents.js';
import type { InodeStore } from './inode-store.js';

/** A directory: names (one character per byte) with inode number and `file_type` packed into one number. */
export interface Directory {
  readonly ino: number;
  parent: number;
  readonly entries: Map<string, number>;
  dirty: boolean;
  used: number;
}

/** Packs an entry; see {@link inoOf} and {@link typeOf}. */
export const pack = (ino: number, type: number): number => ino * 8 + type;
export const inoOf = (packed: number): number => Math.floor(packed / 8);
export const typeOf = (packed: number): number => packed % 8;

/** How many names, about 100 bytes each, are kept in memory before directories not used lately are written out. */
const NAME_LIMIT = 400_000;
/** Largest directory read: 64 MiB of blocks. */
const MAX_BLOCKS = 16384;

/** Loads directories, keeps them, and writes the changed ones as whole directories. */
export class DirectoryCache {
  private readonly loaded = new Map<number, Directory>();
  private names = 0;
  private tick = 0;
  private readonly breather = new Breather();

  constructor(
    private readonly inodes: InodeStore,
    private readonly hashSeed: Buffer,
  ) {}

  /** The directory `ino` if it is in memory. */
  cached(ino: number): Directory | undefined {
    const directory = this.loaded.get(ino);
    if (directory) directory.used = ++this.tick;
    return directory;
  }

  /** The directory `ino`. Change its entries only with {@link set} and {@link remove}, and before the next `get` of another directory. */
  async get(ino: number): Promise<Directory> {
    const known = this.cached(ino);
    if (known) return known;
    const inode = await this.inodes.read(ino);
    if (!inode.isDirectory) throw invalid(`damaged ext4: inode ${ino} should be a directory`);
    const { extents } = await this.inodes.extentsOf(inode);
    const directory: Directory = { ino, parent: ino, entries: new Map(), dirty: false, used: ++this.tick };
    let blocks = 0;
    for (const extent of extents) {
      blocks += extent.count;
      if (blocks > MAX_BLOCKS) throw invalid('a directory of more than 64 MiB is not supported');
      for (let i = 0; i < extent.count; i++) {
        if (this.breather.due) await this.breather.breathe();
        parseDirectoryBlock(await this.inodes.block(extent.start + i), (name, target, type) => {
          if (name === '..') directory.parent = target;
          else if (name !== '.') directory.entries.set(name, pack(target, type));
        });
      }
    }
    await this.keep(directory);
    return directory;
  }

  /** Adds a new, empty directory. */
  async add(ino: number, parent: number): Promise<void> {
    await this.keep({ ino, parent, entries: new Map(), dirty: true, used: ++this.tick });
  }

  private async keep(directory: Directory): Promise<void> {
    this.loaded.set(directory.ino, directory);
    this.names += directory.entries.size + 1;
    if (this.names > NAME_LIMIT) await this.shrink(directory);
  }

  private async shrink(except: Directory): Promise<void> {
    const oldest = [...this.loaded.values()].sort((a, b) => a.used - b.used);
    for (const directory of oldest) {
      if (this.names <= NAME_LIMIT / 2) break;
      if (directory === except) continue;
      await this.write(directory);
      this.forget(directory.ino);
    }
  }

  /** Adds or replaces a name. */
  set(directory: Directory, name: string, ino: number, type: number): void {
    if (!directory.entries.has(name)) this.names++;
    directory.entries.set(name, pack(ino, type));
    directory.dirty = true;
  }

  /** Removes a name. */
  remove(directory: Directory, name: string): void {
    if (directory.entries.delete(name)) this.names--;
    directory.dirty = true;
  }

  /** Drops a directory that was removed. */
  forget(ino: number): void {
    const directory = this.loaded.get(ino);
    if (!directory) return;
    this.names -= directory.entries.size + 1;
    this.loaded.delete(ino);
  }

  /** Writes all changed directories, in the order of their inodes. */
  async flush(): Promise<void> {
    const dirty = [...this.loaded.values()].filter((directory) => directory.dirty).sort((a, b) => a.ino - b.ino);
    for (const directory of dirty) await this.write(directory);
  }

  private async write(directory: Directory): Promise<void> {
    if (!directory.dirty) return;
    let subdirectories = 0;
    const entries: Dirent[] = [];
    for (const [name, packed] of directory.entries) {
      const type = typeOf(packed);
      if (type === FT_DIR) subdirectories++;
      entries.push({ name, ino: inoOf(packed), type });
    }
    const { data, indexed } = buildDirectory(directory.ino, directory.parent, entries, this.hashSeed);
    const inode = await this.inodes.read(directory.ino);
    const count = data.length / BLOCK;
    const old = await this.inodes.extentsOf(inode);
    const blocks = await this.place(old, count);
    const extents: Extent[] = [];
    for (let i = 0; i < count; i++) {
      const block = blocks[i] as number;
      await this.inodes.disk.write(block * BLOCK, data.subarray(i * BLOCK, (i + 1) * BLOCK));
      appendRun(extents, i, block, 1);
    }
    const tree = await buildExtentTree(
      inode.area,
      extents,
      async () => (await this.inodes.allocator.allocateBlocks(1)).start,
      (block, node) => this.inodes.disk.write(block * BLOCK, node),
    );
    inode.flags = (inode.flags & ~FL_INDEX) | FL_EXTENTS | (indexed ? FL_INDEX : 0);
    inode.size = data.length;
    inode.blocks = count + tree + (inode.xattrBlock ? 1 : 0);
    // Feature dir_nlink: a directory with too many subdirectories counts as having one link.
    inode.links = subdirectories + 2 > MAX_LINKS ? 1 : subdirectories + 2;
    await this.inodes.write(directory.ino, inode);
    directory.dirty = false;
  }

  /**
   * Finds blocks for a directory of `count` blocks. Blocks in grains that are stored anyway are reused; others are freed and replaced by
   * new ones, since changing them would copy their whole grain from the parent.
   */
  private async place(old: { extents: Extent[]; nodes: number[] }, count: number): Promise<number[]> {
    const blocks: number[] = [];
    for (const extent of old.extents) {
      for (let i = 0; i < extent.count; i++) {
        const block = extent.start + i;
        const own = this.inodes.disk.isOwn(Math.floor(block / BLOCKS_PER_GRAIN));
        if (own && blocks.length < count) blocks.push(block);
        else await this.inodes.allocator.freeBlocks(block, 1);
      }
    }
    for (const node of old.nodes) await this.inodes.allocator.freeBlocks(node, 1);
    while (blocks.length < count) {
      const run = await this.inodes.allocator.allocateBlocks(count - blocks.length);
      for (let i = 0; i < run.count; i++) blocks.push(run.start + i);
    }
    return blocks;
  }
}
