/** A disk as it is after its filesystem's journal has been carried out: what a kernel that mounts it sees. */
import { type BlockReader, checkRange } from '../blocks.js';
import { BLOCK } from '../ext4/constants.js';
import type { Ext4Filesystem } from '../ext4/filesystem.js';

/** See the file's head. Closing it closes nothing. */
export class RecoveredDisk implements BlockReader {
  readonly size: number;
  /** Numbers of the blocks that are not as on the disk. */
  readonly changed: readonly number[];

  private constructor(
    private readonly disk: BlockReader,
    private readonly newer: ReadonlyMap<number, Buffer>,
  ) {
    this.size = disk.size;
    this.changed = [...newer.keys()];
  }

  /** @param filesystem the one on `disk`. @throws invalid for a damaged journal */
  static async of(disk: BlockReader, filesystem: Ext4Filesystem): Promise<RecoveredDisk> {
    const newer = new Map<number, Buffer>();
    for await (const { block, data } of filesystem.recovery()) newer.set(block, Buffer.from(data));
    return new RecoveredDisk(disk, newer);
  }

  async read(offset: number, length: number): Promise<Buffer> {
    checkRange(this.size, offset, length);
    const data = await this.disk.read(offset, length);
    if (this.newer.size === 0) return data;
    const patched = Buffer.from(data);
    for (let block = Math.floor(offset / BLOCK); block * BLOCK < offset + length; block++) {
      const newer = this.newer.get(block);
      if (newer === undefined) continue;
      newer.copy(patched, Math.max(0, block * BLOCK - offset), Math.max(0, offset - block * BLOCK));
    }
    return patched;
  }

  async close(): Promise<void> {}
}
