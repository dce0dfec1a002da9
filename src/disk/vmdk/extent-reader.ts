/** Reading a sparse extent, and a chain of them as one disk. */
import { invalid } from '../../common/errors.js';
import type { BlockReader } from '../block-device.js';
import { decodeHead, type ExtentInfo, GRAIN, HEAD_BYTES, SECTOR, TABLE_ENTRIES } from './format.js';

/** Longest chain that is opened. */
export const MAX_CHAIN = 256;

/** One extent. */
export class ExtentReader {
  private readonly tables = new Map<number, Promise<Buffer>>();
  private directory: Promise<Buffer> | null = null;

  private constructor(
    private readonly file: BlockReader,
    readonly info: ExtentInfo,
  ) {}

  static async open(file: BlockReader): Promise<ExtentReader> {
    return new ExtentReader(file, decodeHead(await file.read(0, HEAD_BYTES)));
  }

  /** A grain's bytes, `'zero'`, or null where this extent has none and the parent's counts. */
  async grain(index: number): Promise<Buffer | 'zero' | null> {
    const sector = await this.entry(index);
    if (sector === 0) return null;
    if (sector === 1) return 'zero';
    return this.file.read(sector * SECTOR, GRAIN);
  }

  private async entry(index: number): Promise<number> {
    const number = Math.floor(index / TABLE_ENTRIES);
    let table = this.tables.get(number);
    if (table === undefined) {
      table = this.loadTable(number);
      this.tables.set(number, table);
    }
    return (await table).readUInt32LE((index % TABLE_ENTRIES) * 4);
  }

  private async loadTable(number: number): Promise<Buffer> {
    const { layout } = this.info;
    this.directory ??= this.file.read(layout.directoryOffset, layout.tableCount * 4);
    const sector = (await this.directory).readUInt32LE(number * 4);
    if (sector === 0) return Buffer.alloc(TABLE_ENTRIES * 4);
    if (sector * SECTOR >= this.file.size) throw invalid('damaged VMDK: a grain table lies beyond the file');
    return this.file.read(sector * SECTOR, TABLE_ENTRIES * 4);
  }
}

/** Grains kept in memory: metadata is read again and again. */
const CACHED_GRAINS = 512;

/** A disk: extents from the newest to the base. */
export class ChainReader implements BlockReader {
  private readonly cache = new Map<number, Promise<Buffer | null>>();

  /** @param extents newest first. @throws invalid when capacities differ or the chain is too long */
  constructor(private readonly extents: ExtentReader[]) {
    if (extents.length === 0 || extents.length > MAX_CHAIN)
      throw invalid(`a chain of ${extents.length} disks is not supported`);
    if (extents.some((extent) => extent.info.layout.capacity !== extents[0]!.info.layout.capacity))
      throw invalid('the disks of a chain differ in capacity');
  }

  get size(): number {
    return this.extents[0]!.info.layout.capacity;
  }

  /** A grain's bytes (do not change them), or null for all zeros. */
  grain(index: number): Promise<Buffer | null> {
    let grain = this.cache.get(index);
    if (grain === undefined) {
      grain = this.load(index);
      this.cache.set(index, grain);
      if (this.cache.size > CACHED_GRAINS) this.cache.delete(this.cache.keys().next().value!);
    }
    return grain;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const result = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const inside = at % GRAIN;
      const size = Math.min(GRAIN - inside, length - done);
      const grain = await this.grain(Math.floor(at / GRAIN));
      grain?.copy(result, done, inside, inside + size);
      done += size;
    }
    return result;
  }

  private async load(index: number): Promise<Buffer | null> {
    for (const extent of this.extents) {
      const grain = await extent.grain(index);
      if (grain === 'zero') return null;
      if (grain !== null) return grain;
    }
    return null;
  }
}
