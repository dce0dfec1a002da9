/** Reads one monolithicSparse VMDK file: header, descriptor, grain directory and tables. */
import { invalid, unsupported } from '../../common/errors.js';
import { type BlockReader, CachedBlocks, checkRange, PageCache } from '../blocks.js';
import { decodeDescriptor, type VmdkDescriptor } from './descriptor.js';
import { decodeHeader, GRAIN_BYTES, GRAIN_SECTORS, GTES_PER_GT, SECTOR, type SparseHeader } from './header.js';

/** What a VMDK file says about itself. */
export interface VmdkInfo extends VmdkDescriptor {
  /** Capacity in bytes. */
  capacity: number;
}

async function readHead(file: BlockReader): Promise<{ header: SparseHeader; info: VmdkInfo }> {
  if (file.size < SECTOR) throw invalid('not a VMDK: the file is too short');
  // In the usual layout, one read gets header and descriptor: over HTTP each read is a request.
  const head = await file.read(0, Math.min(file.size, 21 * SECTOR));
  const header = decodeHeader(head, file.size);
  const start = header.descriptorOffset * SECTOR;
  const length = header.descriptorSize * SECTOR;
  const text = start + length <= head.length ? head.subarray(start, start + length) : await file.read(start, length);
  const descriptor = decodeDescriptor(text);
  if (descriptor.createType !== 'monolithicSparse') {
    throw unsupported(`VMDKs of type "${descriptor.createType}" are not supported`);
  }
  return { header, info: { ...descriptor, capacity: header.capacity * SECTOR } };
}

/** Reads what the VMDK in `file` says about itself: capacity, content id, parent. Throws `invalid` or `unsupported`. */
export async function readVmdkInfo(file: BlockReader): Promise<VmdkInfo> {
  return (await readHead(file)).info;
}

/** What one file of a chain has for a grain. */
export type GrainState = 'absent' | 'zero' | number;

/** Grain tables kept per file: 512 tables of 2 KiB. */
const TABLES_KEPT = 512;

/** One open VMDK file. Grain contents come from this file alone; see `VmdkChain` for the whole disk. */
export class VmdkExtent {
  private readonly tables = new Map<number, Promise<Uint32Array | null>>();

  private constructor(
    private readonly file: BlockReader,
    private readonly meta: CachedBlocks,
    private readonly header: SparseHeader,
    private readonly directory: Uint32Array,
    readonly info: VmdkInfo,
  ) {}

  /** Opens the VMDK in `file`; takes ownership of `file`, even on failure. @param pages where its tables are cached */
  static async open(file: BlockReader, pages = new PageCache(65536, 16)): Promise<VmdkExtent> {
    try {
      const { header, info } = await readHead(file);
      const count = Math.ceil(header.capacity / (GRAIN_SECTORS * GTES_PER_GT));
      const bytes = await file.read(header.gdOffset * SECTOR, count * 4);
      const directory = new Uint32Array(count);
      for (let i = 0; i < count; i++) directory[i] = bytes.readUInt32LE(i * 4);
      return new VmdkExtent(file, new CachedBlocks(file, pages), header, directory, info);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** Number of grains; the last one may be partial. */
  get grains(): number {
    return Math.ceil(this.info.capacity / GRAIN_BYTES);
  }

  private async loadTable(index: number): Promise<Uint32Array | null> {
    const sector = this.directory[index];
    if (sector === undefined) throw invalid(`grain table ${index} lies outside the disk`);
    if (sector === 0) return null;
    const bytes = await this.meta.read(sector * SECTOR, GTES_PER_GT * 4);
    const table = new Uint32Array(GTES_PER_GT);
    let used = false;
    for (let i = 0; i < GTES_PER_GT; i++) {
      const entry = bytes.readUInt32LE(i * 4);
      table[i] = entry;
      used ||= entry !== 0;
    }
    return used ? table : null;
  }

  private table(index: number): Promise<Uint32Array | null> {
    const known = this.tables.get(index);
    if (known) return known;
    const loading = this.loadTable(index);
    this.tables.set(index, loading);
    loading.catch(() => this.tables.delete(index));
    if (this.tables.size > TABLES_KEPT) {
      const oldest = this.tables.keys().next();
      if (!oldest.done) this.tables.delete(oldest.value);
    }
    return loading;
  }

  /** Where this file has grain `index`: a byte offset, `zero` (reads as zeros), or `absent` (ask the parent). */
  async locate(index: number): Promise<GrainState> {
    const table = await this.table(Math.floor(index / GTES_PER_GT));
    const entry = table === null ? 0 : (table[index % GTES_PER_GT] as number);
    if (entry === 0) return 'absent';
    if (entry === 1 && this.header.zeroGrains) return 'zero';
    return entry * SECTOR;
  }

  /** `length` bytes at a file offset that {@link locate} returned. */
  readAt(fileOffset: number, length: number): Promise<Buffer> {
    checkRange(this.file.size, fileOffset, length);
    return this.file.read(fileOffset, length);
  }

  /** True if a table has no grains at all, so that a scan can skip 32 MiB at a time. */
  async isTableEmpty(table: number): Promise<boolean> {
    return (await this.table(table)) === null;
  }

  close(): Promise<void> {
    return this.file.close();
  }
}
