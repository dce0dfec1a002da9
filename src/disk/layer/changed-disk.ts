/** Changes the filesystem on a container's disk while its VM is off, in a local copy of the disk's file. */
import { unsupported } from '../../common/errors.js';
import { type BlockReader, FileBlocks } from '../blocks.js';
import { BLOCK } from '../ext4/constants.js';
import { Ext4Filesystem } from '../ext4/filesystem.js';
import { WritableExt4 } from '../ext4/writable.js';
import type { VmdkChain } from '../vmdk/chain.js';
import { DeltaDisk } from '../vmdk/delta.js';
import { readVmdkInfo, type VmdkInfo } from '../vmdk/extent.js';
import { GRAIN_BYTES } from '../vmdk/header.js';

/** A disk that is being changed. */
export class ChangedDisk {
  private constructor(
    private readonly disk: DeltaDisk,
    private readonly info: VmdkInfo,
    /** For one caller at a time; see {@link WritableExt4}. */
    readonly filesystem: WritableExt4,
  ) {}

  /**
   * Opens the VMDK at `path`, a file of our own, over its parent's chain (null if it has none, like a volume's). A journal that a killed VM
   * left is replayed first.
   * @throws invalid, unsupported (a filesystem or disk that this program did not make)
   */
  static async open(path: string, parent: VmdkChain | null): Promise<ChangedDisk> {
    const file = await FileBlocks.open(path);
    const info = await readVmdkInfo(file).finally(() => file.close());
    if (info.parentCid !== (parent?.info.cid ?? null)) throw unsupported('the disk is not a child of its layer');
    const disk = await DeltaDisk.open(path, parent);
    try {
      const before = await Ext4Filesystem.open(new DeltaBlocks(disk));
      for await (const { block, data } of before.recovery()) await disk.write(block * BLOCK, data);
      return new ChangedDisk(disk, info, await WritableExt4.open(disk, true));
    } catch (error) {
      await disk.discard();
      throw error;
    }
  }

  /** Writes everything and closes the file. Returns its length in bytes. */
  async finish(): Promise<number> {
    await this.filesystem.flush();
    const { cid, parentCid, parentHint } = this.info;
    return this.disk.finish({ cid, parentCid, parentHint });
  }

  /** Gives up: removes the file. */
  discard(): Promise<void> {
    return this.disk.discard();
  }
}

/** A disk's present content, for reading. */
class DeltaBlocks implements BlockReader {
  readonly size: number;

  constructor(private readonly disk: DeltaDisk) {
    this.size = disk.size;
  }

  async read(offset: number, length: number): Promise<Buffer> {
    const out = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      const at = offset + done;
      const index = Math.floor(at / GRAIN_BYTES);
      const bytes = Math.min(length - done, (index + 1) * GRAIN_BYTES - at);
      const { data } = await this.disk.load(index);
      data.copy(out, done, at % GRAIN_BYTES, (at % GRAIN_BYTES) + bytes);
      done += bytes;
    }
    return out;
  }

  async close(): Promise<void> {}
}
