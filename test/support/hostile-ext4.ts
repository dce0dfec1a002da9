/** Ext4 filesystems that lie about their structure, as a guest may write them: a good one with changed fields. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { CaissonError } from '../../src/common/errors.js';
import { type BlockReader, Ext4Filesystem, VmdkChain } from '../../src/disk/index.js';
import { DeltaDisk } from '../../src/disk/vmdk/delta.js';

const run = promisify(execFile);
const BLOCK = 4096;
/** Flags of an inode that is mapped by an extent tree. */
const FL_EXTENTS = 0x80000;
const JOURNAL_INO = 8;
const JOURNAL_MAGIC = 0xc03b3998;

/** A run of blocks for {@link HostileExt4.setExtents}. */
export interface Run {
  logical: number;
  start: number;
  count: number;
}

/** A 32 MiB filesystem by `mke2fs` with `directories` directories (`d0`, `d1`, …) of three files each, in memory. */
export async function makeExt4(directory: string, directories: number): Promise<Buffer> {
  const [tree, raw] = [join(directory, 'tree'), join(directory, 'base.raw')];
  for (let i = 0; i < directories; i++) {
    await mkdir(join(tree, `d${i}`), { recursive: true });
    for (const name of ['a', 'b', 'c']) await writeFile(join(tree, `d${i}`, name), name.repeat(5000));
  }
  await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-J', 'size=4', '-O', '64bit', '-d', tree, raw, '32M']);
  const image = await readFile(raw);
  await rm(raw);
  await rm(tree, { recursive: true });
  return image;
}

/** A copy of a good image whose structures can be changed. Block and inode numbers as in ext4. */
export class HostileExt4 {
  readonly image: Buffer;

  constructor(base: Buffer) {
    this.image = Buffer.from(base);
  }

  get blocks(): number {
    return this.image.readUInt32LE(1024 + 4);
  }

  /** An inode's bytes. */
  inode(ino: number): Buffer {
    const perGroup = this.image.readUInt32LE(1024 + 40);
    const size = this.image.readUInt16LE(1024 + 88);
    const descriptor = BLOCK + Math.floor((ino - 1) / perGroup) * this.image.readUInt16LE(1024 + 254);
    const table = this.image.readUInt32LE(descriptor + 8);
    const at = table * BLOCK + ((ino - 1) % perGroup) * size;
    return this.image.subarray(at, at + size);
  }

  block(number: number): Buffer {
    return this.image.subarray(number * BLOCK, (number + 1) * BLOCK);
  }

  /** The first block of a file's content. */
  firstBlock(ino: number): number {
    return this.inode(ino).readUInt32LE(40 + 12 + 8);
  }

  /** The inode number of `name` in the root directory. */
  find(name: string): number {
    const block = this.block(this.firstBlock(2));
    for (let at = 0; at < BLOCK; at += Math.max(8, block.readUInt16LE(at + 4))) {
      if (block.toString('latin1', at + 8, at + 8 + block[at + 6]!) === name) return block.readUInt32LE(at);
    }
    throw new Error(`there is no ${name}`);
  }

  /** Replaces a directory's block. `type` as `file_type`. */
  setDirectory(block: number, entries: { name: string; ino: number; type: number }[]): void {
    const bytes = this.block(block).fill(0);
    let at = 0;
    entries.forEach(({ name, ino, type }, i) => {
      const length = i === entries.length - 1 ? BLOCK - at : (8 + name.length + 3) & ~3;
      bytes.writeUInt32LE(ino, at);
      bytes.writeUInt16LE(length, at + 4);
      bytes[at + 6] = name.length;
      bytes[at + 7] = type;
      bytes.write(name, at + 8, 'latin1');
      at += length;
    });
  }

  /** Gives an inode these extents, in one leaf at `leaf` if there are more than four. */
  setExtents(ino: number, runs: Run[], leaf: number, size: number): void {
    const inode = this.inode(ino);
    inode.writeUInt32LE(inode.readUInt32LE(32) | FL_EXTENTS, 32);
    inode.writeUInt32LE(size % 2 ** 32, 4);
    inode.writeUInt32LE(Math.floor(size / 2 ** 32), 108);
    const root = inode.subarray(40, 100).fill(0);
    const node = runs.length > 4 ? this.block(leaf).fill(0) : root;
    if (runs.length > 4) {
      root.writeUInt16LE(0xf30a, 0);
      root.writeUInt16LE(1, 2);
      root.writeUInt16LE(4, 4);
      root.writeUInt16LE(1, 6);
      root.writeUInt32LE(leaf, 12 + 4);
    }
    node.writeUInt16LE(0xf30a, 0);
    node.writeUInt16LE(runs.length, 2);
    node.writeUInt16LE(runs.length > 4 ? 340 : 4, 4);
    runs.forEach(({ logical, start, count }, i) => {
      node.writeUInt32LE(logical, 12 + i * 12);
      node.writeUInt16LE(count, 12 + i * 12 + 4);
      node.writeUInt32LE(start, 12 + i * 12 + 8);
    });
  }

  /** Makes the journal need a replay, with `length` contiguous blocks. Returns the disk block of its superblock. */
  dirtyJournal(length?: number): number {
    this.image.writeUInt32LE(this.image.readUInt32LE(1024 + 96) | 0x4, 1024 + 96);
    const first = 4000;
    this.block(this.firstBlock(JOURNAL_INO)).copy(this.block(first));
    this.setExtents(JOURNAL_INO, [{ logical: 0, start: first, count: 1024 }], 0, 1024 * BLOCK);
    const superblock = this.block(first);
    if (length !== undefined) superblock.writeUInt32BE(length, 16);
    superblock.writeUInt32BE(1, 20);
    superblock.writeUInt32BE(1, 24);
    superblock.writeUInt32BE(1, 28);
    return first;
  }

  /** Writes a block of the journal: kinds 1 descriptor, 2 commit, 5 revoke. Returns its bytes. */
  journalBlock(block: number, kind: number, sequence: number): Buffer {
    const bytes = this.block(block).fill(0);
    bytes.writeUInt32BE(JOURNAL_MAGIC, 0);
    bytes.writeUInt32BE(kind, 4);
    bytes.writeUInt32BE(sequence, 8);
    return bytes;
  }
}

/** Overwrites a disk with a filesystem, as the guest that has the disk can. */
export async function writeToDisk(disk: string, image: Buffer): Promise<void> {
  const chain = await VmdkChain.open(disk);
  const { cid, parentCid, parentHint } = chain.info;
  await chain.close();
  const parent = parentHint === null ? null : await VmdkChain.open(join(dirname(disk), parentHint));
  const delta = await DeltaDisk.open(disk, parent);
  await delta.write(0, image);
  await delta.finish({ cid, parentCid, parentHint });
  await parent?.close();
}

/** The cost of reading a filesystem. */
export interface Cost {
  /** Why it was refused; null: it was read completely. */
  refused: string | null;
  /** Entries that were reported. */
  entries: number;
  /** Processor time of this process, in ms, which hardly depends on a busy machine. */
  cpuMs: number;
  /** The most processor time between two turns of the event loop, in ms. */
  lagMs: number;
  /** Growth of the heap and of buffers, in bytes. */
  grownBytes: number;
}

const cpuMs = (): number => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
};

const memory = (): number => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

/** The most processor time that reading may take between two turns of the event loop, in ms. */
export const MOST_LAG_MS = 50;
const LOOKS = 3;

/**
 * Reads a whole filesystem and measures the cost. The process is shared with other tests, whose garbage is collected in
 * between: a lag of the reader itself recurs, so a long one is measured again. @param look reads it and returns the
 * number of entries @throws anything that is not a {@link CaissonError}: a hostile filesystem is reported, and breaks
 * nothing
 */
export async function costOf(disk: BlockReader, look: (disk: BlockReader) => Promise<number>): Promise<Cost> {
  const cost = await costOfOne(disk, look);
  for (let looks = 1; cost.lagMs >= MOST_LAG_MS && looks < LOOKS; looks++) {
    const { lagMs } = await costOfOne(disk, look);
    cost.lagMs = Math.min(cost.lagMs, lagMs);
  }
  return cost;
}

async function costOfOne(disk: BlockReader, look: (disk: BlockReader) => Promise<number>): Promise<Cost> {
  const cost: Cost = { refused: null, entries: 0, cpuMs: 0, lagMs: 0, grownBytes: 0 };
  const [startCpu, startMemory] = [cpuMs(), memory()];
  let last = startCpu;
  const turn = setInterval(() => {
    const now = cpuMs();
    cost.lagMs = Math.max(cost.lagMs, now - last);
    cost.grownBytes = Math.max(cost.grownBytes, memory() - startMemory);
    last = now;
  }, 1);
  try {
    cost.entries = await look(disk);
  } catch (error) {
    if (!(error instanceof CaissonError)) throw error;
    cost.refused = error.message;
  } finally {
    clearInterval(turn);
    cost.cpuMs = cpuMs() - startCpu;
    cost.lagMs = Math.max(cost.lagMs, cpuMs() - last);
    cost.grownBytes = Math.max(cost.grownBytes, memory() - startMemory);
  }
  return cost;
}

/** Opens the filesystem and walks all of it, as `docker diff` and `docker ps -s` do. */
export async function walk(disk: BlockReader): Promise<number> {
  const filesystem = await Ext4Filesystem.open(disk);
  const guard = filesystem.treeGuard();
  const pending = [filesystem.root];
  let entries = 0;
  for (let ino = pending.pop(); ino !== undefined; ino = pending.pop()) {
    for await (const { ino: child } of filesystem.readdir(ino, guard)) {
      entries++;
      const { type } = await filesystem.statInode(child);
      if (type === 'directory') pending.push(child);
      if (type === 'symlink') await filesystem.readlink(child);
      if (type === 'file') await filesystem.xattrs(child);
    }
  }
  return entries;
}
