/** Writing a delta: a new extent over a parent (or over nothing), in a local file. Deterministic: grains in the order of first writing. */
import { type FileHandle, open } from 'node:fs/promises';
import type { ChainReader } from './extent-reader.js';
import {
  type Descriptor,
  type ExtentLayout,
  encodeHead,
  GRAIN,
  layoutFor,
  SECTOR,
  TABLE_ENTRIES,
  tablesOffset,
} from './format.js';

/** Collects grains; {@link DeltaWriter.finish} writes the tables. */
export class DeltaWriter {
  private readonly layout: ExtentLayout;
  /** Sector of each grain in this file, 0 where it has none. */
  private readonly sectors: Uint32Array;
  private next: number;

  private constructor(
    private readonly file: FileHandle,
    private readonly parent: ChainReader | null,
    capacity: number,
  ) {
    this.layout = layoutFor(capacity);
    this.sectors = new Uint32Array(this.layout.tableCount * TABLE_ENTRIES);
    this.next = this.layout.dataOffset / SECTOR;
  }

  static async open(path: string, parent: ChainReader | null, capacity: number): Promise<DeltaWriter> {
    return new DeltaWriter(await open(path, 'wx+', 0o640), parent, capacity);
  }

  get capacity(): number {
    return this.layout.capacity;
  }

  /** Reads the disk as it stands with what was written. */
  async read(offset: number, length: number): Promise<Buffer> {
    const result = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const index = Math.floor(at / GRAIN);
      const inside = at % GRAIN;
      const size = Math.min(GRAIN - inside, length - done);
      const sector = this.sectors[index]!;
      if (sector !== 0) await this.file.read(result, done, size, sector * SECTOR + inside);
      else (await this.parent?.grain(index))?.copy(result, done, inside, inside + size);
      done += size;
    }
    return result;
  }

  /** Writes anywhere. Neighbouring grains written for the first time lie together, and go out in one write. */
  async write(offset: number, data: Buffer): Promise<void> {
    for (let done = 0; done < data.length; ) {
      const at = offset + done;
      const index = Math.floor(at / GRAIN);
      const inside = at % GRAIN;
      if (inside === 0 && this.sectors[index] === 0) {
        // As many whole new grains as follow.
        let count = 0;
        while (data.length - done >= (count + 1) * GRAIN && this.sectors[index + count] === 0) {
          this.sectors[index + count] = this.next + (count * GRAIN) / SECTOR;
          count++;
        }
        if (count > 0) {
          await this.file.write(data, done, count * GRAIN, this.next * SECTOR);
          this.next += (count * GRAIN) / SECTOR;
          done += count * GRAIN;
          continue;
        }
      }
      const size = Math.min(GRAIN - inside, data.length - done);
      await this.writePart(index, inside, data.subarray(done, done + size));
      done += size;
    }
  }

  private async writePart(index: number, inside: number, data: Buffer): Promise<void> {
    const sector = this.sectors[index]!;
    if (sector !== 0) {
      await this.file.write(data, 0, data.length, sector * SECTOR + inside);
      return;
    }
    const grain = Buffer.alloc(GRAIN);
    (await this.parent?.grain(index))?.copy(grain);
    data.copy(grain, inside);
    this.sectors[index] = this.next;
    await this.file.write(grain, 0, GRAIN, this.next * SECTOR);
    this.next += GRAIN / SECTOR;
  }

  /** Writes header and tables; returns the file's size. */
  async finish(descriptor: Descriptor, fileName: string): Promise<number> {
    const tables = Buffer.from(this.sectors.buffer, this.sectors.byteOffset, this.sectors.byteLength);
    await this.file.write(encodeHead(this.layout, descriptor, fileName), 0, undefined, 0);
    await this.file.write(tables, 0, tables.length, tablesOffset(this.layout));
    const size = this.next * SECTOR;
    await this.file.truncate(size);
    return size;
  }

  async close(): Promise<void> {
    await this.file.close();
  }
}
