/** Writes a file's content as it streams in. */
import { invalid } from '../../common/errors.js';
import { type DeltaDisk, isZero } from '../vmdk/delta.js';
import type { Allocator } from './allocator.js';
import { BLOCK } from './constants.js';
import { appendRun, type Extent } from './extents.js';

/** Content is handled in units of this size; a unit of zeros becomes a hole. */
const UNIT = 65536;
/** Largest file: block numbers within a file have 32 bits. */
export const MAX_FILE = (2 ** 32 - 1) * BLOCK;

/**
 * Gathers content into units of 64 KiB, so that what is written does not depend on how the bytes arrive, and allocates
 * blocks unit by unit. Reused from file to file.
 */
export class FileWriter {
  private readonly unit = Buffer.allocUnsafeSlow(UNIT);
  private position = 0;
  private extents: Extent[] = [];
  private blocks = 0;

  constructor(
    private readonly disk: DeltaDisk,
    private readonly allocator: Allocator,
  ) {}

  /** Begins a new file. */
  begin(): void {
    this.position = 0;
    this.extents = [];
    this.blocks = 0;
  }

  /** Appends `data`. */
  async write(data: Buffer): Promise<void> {
    let done = 0;
    while (done < data.length) {
      const within = this.position % UNIT;
      const bytes = Math.min(UNIT - within, data.length - done);
      data.copy(this.unit, within, done, done + bytes);
      done += bytes;
      this.position += bytes;
      if (within + bytes === UNIT) await this.emit(UNIT);
    }
  }

  /** Appends `length` zeros, at no cost for whole units. */
  async skip(length: number): Promise<void> {
    let left = length;
    while (left > 0) {
      const within = this.position % UNIT;
      if (within === 0 && left >= UNIT) {
        const whole = left - (left % UNIT);
        this.position += whole;
        left -= whole;
        continue;
      }
      const bytes = Math.min(UNIT - within, left);
      this.unit.fill(0, within, within + bytes);
      this.position += bytes;
      left -= bytes;
      if (within + bytes === UNIT) await this.emit(UNIT);
    }
  }

  /** Writes the unit that ends at the present position. */
  private async emit(length: number): Promise<void> {
    if (this.position > MAX_FILE) throw invalid('a file of more than 16 TiB cannot be stored');
    if (isZero(this.unit.subarray(0, length))) return;
    const padded = Math.ceil(length / BLOCK) * BLOCK;
    this.unit.fill(0, length, padded);
    let logical = (this.position - length) / BLOCK;
    for (let done = 0; done < padded; ) {
      const { start, count } = await this.allocator.allocateBlocks((padded - done) / BLOCK);
      await this.disk.write(start * BLOCK, this.unit.subarray(done, done + count * BLOCK));
      appendRun(this.extents, logical, start, count);
      this.blocks += count;
      logical += count;
      done += count * BLOCK;
    }
  }

  /** Ends the file. Returns its size in bytes, its extents, and its number of blocks. */
  async end(): Promise<{ size: number; extents: Extent[]; blocks: number }> {
    const rest = this.position % UNIT;
    if (rest > 0) await this.emit(rest);
    return { size: this.position, extents: this.extents, blocks: this.blocks };
  }
}
