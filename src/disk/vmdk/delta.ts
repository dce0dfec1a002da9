/**
 * Writes a new disk over a parent: a write-back cache of grains in front of one growing VMDK file. Only changed grains are stored; a partly
 * changed grain is filled up from the parent.
 */
import { type FileHandle, open, unlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { invalid, unsupported } from '../../common/errors.js';
import { checkRange } from '../blocks.js';
import type { VmdkChain } from './chain.js';
import { emptyVmdk } from './create.js';
import { decodeHeader, GRAIN_BYTES, GTES_PER_GT, layoutFor, SECTOR, type SparseLayout } from './header.js';

/** A grain in memory. Whoever changes `data` sets `dirty` before the next `await`. */
export interface Grain {
  readonly index: number;
  readonly data: Buffer;
  dirty: boolean;
  used: number;
}

const ZEROS = Buffer.alloc(GRAIN_BYTES);
/** Grains kept in memory (64 KiB each): 64 MiB. */
const CACHE_LIMIT = 1024;
/** New grains are gathered and written this many at a time. */
const BATCH = 16;

/** True when all of `data` (at most a grain) is zero. */
export function isZero(data: Buffer): boolean {
  return data.equals(data.length === GRAIN_BYTES ? ZEROS : ZEROS.subarray(0, data.length));
}

/** Appends grains to a file in batches; the next batch is filled while the last one is being written. */
class GrainAppender {
  private batch = Buffer.allocUnsafeSlow(BATCH * GRAIN_BYTES);
  private spare = Buffer.allocUnsafeSlow(BATCH * GRAIN_BYTES);
  private count = 0;
  private writing: Promise<void> = Promise.resolve();

  constructor(
    private readonly file: FileHandle,
    /** File offset of the current batch. */
    private start: number,
    /** Called before the file grows. */
    private readonly grow: GrowFile | null,
  ) {}

  get end(): number {
    return this.start + this.count * GRAIN_BYTES;
  }

  /** Appends one grain; returns its file offset. */
  async append(data: Buffer): Promise<number> {
    const at = this.end;
    data.copy(this.batch, this.count * GRAIN_BYTES);
    this.count++;
    if (this.count === BATCH) await this.send();
    return at;
  }

  private async send(): Promise<void> {
    await this.writing;
    await this.grow?.(this.count * GRAIN_BYTES);
    const [full, bytes, at] = [this.batch, this.count * GRAIN_BYTES, this.start];
    this.writing = writeAll(this.file, full.subarray(0, bytes), at);
    this.writing.catch(() => {}); // reported by the next await of it
    this.batch = this.spare;
    this.spare = full;
    this.start += bytes;
    this.count = 0;
  }

  async flush(): Promise<void> {
    if (this.count > 0) await this.send();
    await this.writing;
  }

  async read(at: number, target: Buffer): Promise<void> {
    if (at >= this.start) {
      this.batch.copy(target, 0, at - this.start, at - this.start + GRAIN_BYTES);
      return;
    }
    await this.writing;
    const { bytesRead } = await this.file.read(target, 0, GRAIN_BYTES, at);
    if (bytesRead !== GRAIN_BYTES) throw invalid('the spool file of a layer was cut short');
  }

  async rewrite(at: number, data: Buffer): Promise<void> {
    if (at >= this.start) {
      data.copy(this.batch, at - this.start);
      return;
    }
    await this.writing;
    await writeAll(this.file, data, at);
  }
}

async function writeAll(file: FileHandle, data: Buffer, at: number): Promise<void> {
  let done = 0;
  while (done < data.length) {
    done += (await file.write(data, done, data.length - done, at + done)).bytesWritten;
  }
}

/** Called when the file is about to grow by this many bytes. An error that it throws ends the writing. */
export type GrowFile = (bytes: number) => Promise<void>;

/** A disk being written: a new one, or one that is changed. For one caller at a time: operations must not overlap. */
export class DeltaDisk {
  private readonly cache = new Map<number, Grain>();
  /** Sector of each grain stored so far; 0: none. */
  private readonly sectors: Uint32Array;
  private readonly pool: Buffer[] = [];
  private readonly appender: GrainAppender;
  private tick = 0;

  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly parent: VmdkChain | null,
    readonly size: number,
    private readonly layout: SparseLayout,
    /** First sector after the existing grains. */
    end = layout.overHead,
    grow: GrowFile | null = null,
  ) {
    this.sectors = new Uint32Array(layout.tables * GTES_PER_GT);
    this.appender = new GrainAppender(file, end * SECTOR, grow);
  }

  /** Creates the file at `path`, which must not exist, for a disk of `size` bytes (a multiple of 64 KiB) over `parent`. */
  static async create(
    path: string,
    parent: VmdkChain | null,
    size: number,
    grow: GrowFile | null = null,
  ): Promise<DeltaDisk> {
    if (size % GRAIN_BYTES !== 0) throw invalid(`a capacity of ${size} bytes is no multiple of 64 KiB`);
    const layout = layoutFor(size);
    return new DeltaDisk(path, await open(path, 'wx+', 0o640), parent, size, layout, undefined, grow);
  }

  /**
   * Opens the file at `path` for changes in place: a disk over `parent` that this program or a VM has written. `finish` must get the
   * identity it had. @throws invalid, unsupported (a layout that this program does not use)
   */
  static async open(path: string, parent: VmdkChain | null): Promise<DeltaDisk> {
    const file = await open(path, 'r+');
    try {
      const { size: length } = await file.stat();
      const head = Buffer.alloc(SECTOR);
      await file.read(head, 0, SECTOR, 0);
      const header = decodeHeader(head, length);
      const layout = layoutFor(header.capacity * SECTOR);
      if (header.gdOffset !== layout.gdOffset || header.overHead !== layout.overHead || header.zeroGrains)
        throw unsupported('only a disk with the layout that this program gives can be changed');
      const disk = new DeltaDisk(path, file, parent, header.capacity * SECTOR, layout, Math.ceil(length / SECTOR));
      const tables = Buffer.from(disk.sectors.buffer);
      const { bytesRead } = await file.read(tables, 0, tables.length, layout.gtOffset * SECTOR);
      const beyond = disk.sectors.some((sector) => sector !== 0 && sector * SECTOR + GRAIN_BYTES > length);
      if (bytesRead !== tables.length || beyond) throw invalid('a grain table of a VMDK makes no sense');
      return disk;
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** True when the disk's content is its parent's. Cheap: it stops at the first difference. */
  async isUnchanged(): Promise<boolean> {
    if (this.appender.end !== this.layout.overHead * SECTOR) return false;
    for (const { index, data, dirty } of this.cache.values()) {
      if (!dirty) continue;
      const before = await this.parent?.read(index * GRAIN_BYTES, GRAIN_BYTES);
      if (before === undefined ? !isZero(data) : !data.equals(before)) return false;
    }
    return true;
  }

  /** The grain if it is in memory. */
  cached(index: number): Grain | undefined {
    const grain = this.cache.get(index);
    if (grain) grain.used = ++this.tick;
    return grain;
  }

  /** The grain with its current content. Stays valid until the next `await` on this disk. */
  async load(index: number): Promise<Grain> {
    const known = this.cached(index);
    if (known) return known;
    checkRange(this.size, index * GRAIN_BYTES, GRAIN_BYTES);
    if (this.cache.size >= CACHE_LIMIT) await this.evict();
    const data = this.pool.pop() ?? Buffer.allocUnsafeSlow(GRAIN_BYTES);
    const sector = this.sectors[index] as number;
    if (sector !== 0) await this.appender.read(sector * SECTOR, data);
    else if (await this.parent?.hasGrain(index)) {
      (await (this.parent as VmdkChain).read(index * GRAIN_BYTES, GRAIN_BYTES)).copy(data);
    } else data.fill(0);
    const grain: Grain = { index, data, dirty: false, used: ++this.tick };
    this.cache.set(index, grain);
    return grain;
  }

  /** True if the grain is already part of the new disk, so that changing more of it costs nothing. */
  isOwn(index: number): boolean {
    return this.sectors[index] !== 0 || this.cache.get(index)?.dirty === true;
  }

  /** Writes `data` at `offset`. Grains filled to their end are stored at once, so that file data does not push metadata out. */
  async write(offset: number, data: Buffer): Promise<void> {
    checkRange(this.size, offset, data.length);
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const index = Math.floor(at / GRAIN_BYTES);
      const skip = at - index * GRAIN_BYTES;
      const bytes = Math.min(GRAIN_BYTES - skip, data.length - done);
      if (bytes === GRAIN_BYTES) {
        this.drop(index);
        await this.store(index, data.subarray(done, done + bytes));
      } else {
        const grain = this.cached(index) ?? (await this.load(index));
        data.copy(grain.data, skip, done, done + bytes);
        grain.dirty = true;
        if (skip + bytes === GRAIN_BYTES) {
          await this.store(index, grain.data);
          this.drop(index);
        }
      }
      done += bytes;
    }
  }

  private drop(index: number): void {
    const grain = this.cache.get(index);
    if (!grain) return;
    this.cache.delete(index);
    if (this.pool.length < 64) this.pool.push(grain.data);
  }

  private async store(index: number, data: Buffer): Promise<void> {
    const sector = this.sectors[index] as number;
    if (sector !== 0) return this.appender.rewrite(sector * SECTOR, data);
    if (isZero(data) && !(await this.parent?.hasGrain(index))) return;
    this.sectors[index] = (await this.appender.append(data)) / SECTOR;
  }

  private async evict(): Promise<void> {
    const oldest = [...this.cache.values()].sort((a, b) => a.used - b.used).slice(0, CACHE_LIMIT / 4);
    // In disk order, so that neighbours on the disk become neighbours in the file.
    oldest.sort((a, b) => a.index - b.index);
    for (const grain of oldest) {
      if (grain.dirty) await this.store(grain.index, grain.data);
      this.drop(grain.index);
    }
  }

  /** Writes everything out, with header, descriptor and tables, and closes the file. Returns its length in bytes. */
  async finish(identity: { cid: string; parentCid: string | null; parentHint: string | null }): Promise<number> {
    const dirty = [...this.cache.values()].filter((grain) => grain.dirty).sort((a, b) => a.index - b.index);
    for (const grain of dirty) await this.store(grain.index, grain.data);
    this.cache.clear();
    await this.appender.flush();
    await this.file.truncate(this.appender.end);
    const { pieces } = emptyVmdk({ capacity: this.size, ...identity }, basename(this.path));
    for (const [at, bytes] of pieces) await writeAll(this.file, bytes, at);
    const tables = Buffer.from(this.sectors.buffer);
    for (const start of [this.layout.rgtOffset, this.layout.gtOffset]) await this.writeTables(tables, start * SECTOR);
    await this.file.close();
    return this.appender.end;
  }

  /** Writes the runs of grain tables that are not empty; the others stay holes in the file. */
  private async writeTables(tables: Buffer, start: number): Promise<void> {
    const step = GTES_PER_GT * 4;
    const empty = (at: number) => isZero(tables.subarray(at, at + step));
    for (let at = 0; at < tables.length; ) {
      if (empty(at)) {
        at += step;
        continue;
      }
      let end = at + step;
      while (end < tables.length && !empty(end)) end += step;
      await writeAll(this.file, tables.subarray(at, end), start + at);
      at = end;
    }
  }

  /** Gives up: closes and removes the file. */
  async discard(): Promise<void> {
    await this.appender.flush().catch(() => {}); // a write under way must end before the file is closed
    await this.file.close().catch(() => {}); // finish() may have closed it
    await unlink(this.path).catch(() => {});
  }
}
