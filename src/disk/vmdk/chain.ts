/** A whole disk: a VMDK and its parents, read as one. */
import { posix } from 'node:path';
import { invalid } from '../../common/errors.js';
import { type BlockReader, checkRange, FileBlocks } from '../blocks.js';
import { VmdkExtent, type VmdkInfo } from './extent.js';
import { GRAIN_BYTES, GTES_PER_GT } from './header.js';

/** The longest chain opened. Docker's images have at most 127 layers. */
export const MAX_CHAIN = 256;

/**
 * Opens the file at `path`: local, on a datastore, … The chain closes what this returns. A {@link VmdkExtent} is a file that somebody else
 * has opened already; closing it is up to its reader.
 */
export type OpenFile = (path: string) => Promise<BlockReader | VmdkExtent>;

/** `length` bytes of a disk: those at `at` in a file of its chain, or zeros if there is no file. */
export interface ChainRun {
  extent: VmdkExtent | null;
  at: number;
  length: number;
}

/** A read-only view of a VMDK with its chain of parents. Concurrent reads are fine. */
export class VmdkChain implements BlockReader {
  /** Capacity in bytes. */
  readonly size: number;

  private constructor(private readonly extents: VmdkExtent[]) {
    this.size = (extents[0] as VmdkExtent).info.capacity;
  }

  /**
   * Opens the VMDK at `path` and its parents, which are found by their hints, relative to the file that names them. Parents must have the
   * content ids that their children expect. The default `open` reads local files.
   */
  static async open(path: string, open: OpenFile = FileBlocks.open): Promise<VmdkChain> {
    const extents: VmdkExtent[] = [];
    const seen = new Set<string>();
    try {
      let next: string | null = path;
      while (next !== null) {
        const current: string = posix.normalize(next);
        if (seen.has(current)) throw invalid(`the chain of ${path} has a cycle at ${current}`);
        if (extents.length === MAX_CHAIN) throw invalid(`the chain of ${path} has more than ${MAX_CHAIN} disks`);
        seen.add(current);
        const opened = await open(current);
        const extent = opened instanceof VmdkExtent ? opened : await VmdkExtent.open(opened);
        const child = extents.at(-1)?.info;
        extents.push(extent);
        if (child && child.parentCid !== extent.info.cid) {
          throw invalid(`${current} was changed after its child was made: content id ${extent.info.cid}`);
        }
        if (child && extent.info.capacity > child.capacity) throw invalid(`${current} is larger than its child`);
        const hint: string | null = extent.info.parentHint;
        if (hint?.startsWith('/')) throw invalid(`${current} names its parent by an absolute path`);
        next = hint === null ? null : posix.join(posix.dirname(current), hint);
      }
      return new VmdkChain(extents);
    } catch (error) {
      await Promise.all(extents.map((extent) => extent.close()));
      throw error;
    }
  }

  /** What the topmost file says about itself. */
  get info(): VmdkInfo {
    return (this.extents[0] as VmdkExtent).info;
  }

  /** Number of files. */
  get depth(): number {
    return this.extents.length;
  }

  private async find(grain: number): Promise<{ extent: VmdkExtent; at: number } | null> {
    for (const extent of this.extents) {
      if (grain >= extent.grains) return null;
      const state = await extent.locate(grain);
      if (state === 'zero') return null;
      if (state !== 'absent') return { extent, at: state };
    }
    return null;
  }

  /** True if a file of the chain holds grain `index` (in units of 64 KiB); otherwise it reads as zeros. */
  async hasGrain(index: number): Promise<boolean> {
    return (await this.find(index)) !== null;
  }

  /** The first grain at or after `from` that may hold data, or null: skips whole empty grain tables. */
  async nextGrain(from: number): Promise<number | null> {
    const count = Math.ceil(this.size / GRAIN_BYTES);
    let grain = from;
    while (grain < count) {
      const table = Math.floor(grain / GTES_PER_GT);
      let empty = true;
      for (const extent of this.extents) {
        if (table * GTES_PER_GT < extent.grains && !(await extent.isTableEmpty(table))) {
          empty = false;
          break;
        }
      }
      if (empty) {
        grain = (table + 1) * GTES_PER_GT;
        continue;
      }
      const end = Math.min(count, (table + 1) * GTES_PER_GT);
      for (; grain < end; grain++) if (await this.hasGrain(grain)) return grain;
    }
    return null;
  }

  /**
   * The first grain at or after `from` that one of the first `files` files of the chain says anything about, be it that it is zeros: a
   * superset of what differs from the disk below them. Null if there is none.
   */
  async nextSaid(from: number, files: number): Promise<number | null> {
    const extents = this.extents.slice(0, files);
    const count = Math.ceil(this.size / GRAIN_BYTES);
    for (let grain = from; grain < count; ) {
      const table = Math.floor(grain / GTES_PER_GT);
      const end = Math.min(count, (table + 1) * GTES_PER_GT);
      const having: VmdkExtent[] = [];
      for (const extent of extents)
        if (table * GTES_PER_GT < extent.grains && !(await extent.isTableEmpty(table))) having.push(extent);
      for (; having.length > 0 && grain < end; grain++)
        for (const extent of having)
          if (grain < extent.grains && (await extent.locate(grain)) !== 'absent') return grain;
      grain = end;
    }
    return null;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    checkRange(this.size, offset, length);
    const first = Math.floor(offset / GRAIN_BYTES);
    const within = offset - first * GRAIN_BYTES;
    if (within + length <= GRAIN_BYTES) {
      const found = await this.find(first);
      return found ? found.extent.readAt(found.at + within, length) : Buffer.alloc(length);
    }
    // What is adjacent on the disk is mostly adjacent in one file: fetch such runs with one read.
    const out = Buffer.alloc(length);
    let run: { extent: VmdkExtent; at: number; to: number; length: number } | null = null;
    const pending: Promise<unknown>[] = [];
    const fetchRun = () => {
      if (!run) return;
      const { extent, at, to, length: bytes } = run;
      pending.push(extent.readAt(at, bytes).then((data) => data.copy(out, to)));
      run = null;
    };
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const grain = Math.floor(at / GRAIN_BYTES);
      const skip = at - grain * GRAIN_BYTES;
      const bytes = Math.min(GRAIN_BYTES - skip, length - done);
      const found = await this.find(grain);
      if (found && run && run.extent === found.extent && run.at + run.length === found.at + skip) run.length += bytes;
      else {
        fetchRun();
        if (found) run = { extent: found.extent, at: found.at + skip, to: done, length: bytes };
      }
      done += bytes;
    }
    fetchRun();
    await Promise.all(pending);
    return out;
  }

  /** Which files of the chain hold `length` bytes from `offset` on, and where; adjacent runs are merged. */
  async *runs(offset: number, length: number): AsyncGenerator<ChainRun> {
    checkRange(this.size, offset, length);
    let run: ChainRun | null = null;
    for (let done = 0; done < length; ) {
      const grain = Math.floor((offset + done) / GRAIN_BYTES);
      const skip = offset + done - grain * GRAIN_BYTES;
      const bytes = Math.min(GRAIN_BYTES - skip, length - done);
      const found = await this.find(grain);
      const at = found === null ? 0 : found.at + skip;
      const extent = found?.extent ?? null;
      if (run !== null && run.extent === extent && (extent === null || run.at + run.length === at)) run.length += bytes;
      else {
        if (run !== null) yield run;
        run = { extent, at, length: bytes };
      }
      done += bytes;
    }
    if (run !== null) yield run;
  }

  async close(): Promise<void> {
    await Promise.all(this.extents.map((extent) => extent.close()));
  }
}
