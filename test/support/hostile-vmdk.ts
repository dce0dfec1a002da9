/** VMDKs that lie about their structure, as a compromised QEMU may write them: a good chain with changed fields. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { notFound } from '../../src/common/errors.js';
import { type BlockReader, createChild, createFilesystem, MemoryBlocks, VmdkChain } from '../../src/disk/index.js';
import { DeltaDisk } from '../../src/disk/vmdk/delta.js';

const SECTOR = 512;
/** Names of the two disks. */
export const TOP = 'top/top.vmdk';
export const BASE = 'base/base.vmdk';

/** The files of a chain, held in memory. */
export type VmdkFiles = Map<string, Buffer>;

/** A child of a disk with a filesystem and a few files. */
export async function makeVmdks(directory: string): Promise<VmdkFiles> {
  const [base, top] = [join(directory, 'base.vmdk'), join(directory, 'top.vmdk')];
  const attributes = {
    mode: 0o644,
    uid: 0,
    gid: 0,
    mtime: { sec: 1, nsec: 0 },
    atime: { sec: 1, nsec: 0 },
    xattrs: null,
  };
  await createFilesystem({
    outPath: base,
    capacity: 64 << 20,
    seed: 'hostile',
    label: 'hostile',
    fill: async (filesystem) => {
      for (let i = 0; i < 20; i++)
        await filesystem.putFile(filesystem.root, `f${i}`, attributes, (writer) =>
          writer.write(Buffer.alloc(200_000, 'x')),
        );
    },
  });
  await createChild(top, base, '../base/base.vmdk');
  const parent = await VmdkChain.open(top).catch(() => VmdkChain.open(base));
  const info = { cid: parent.info.cid };
  await parent.close();
  const below = await VmdkChain.open(base);
  const delta = await DeltaDisk.open(top, below);
  await delta.write(32 << 20, Buffer.alloc(1 << 20, 'y'));
  await delta.finish({ cid: 'abcdef01', parentCid: info.cid, parentHint: '../base/base.vmdk' });
  await below.close();
  return new Map([
    [TOP, await readFile(top)],
    [BASE, await readFile(base)],
  ]);
}

/** A copy whose structures can be changed. */
export class HostileVmdks {
  readonly files: VmdkFiles;
  /** Files claim to be larger than they are; the rest is a hole. */
  readonly claimed = new Map<string, number>();

  constructor(base: VmdkFiles) {
    this.files = new Map([...base].map(([name, bytes]) => [name, Buffer.from(bytes)]));
  }

  get top(): Buffer {
    return this.files.get(TOP)!;
  }

  /** The argument for `VmdkChain.open`. */
  open = async (path: string): Promise<BlockReader> => {
    const bytes = this.files.get(path);
    if (bytes === undefined) throw notFound(`there is no ${path}`);
    const claimed = this.claimed.get(path);
    return claimed === undefined ? new MemoryBlocks(bytes) : new Holed(bytes, Math.max(claimed, bytes.length));
  };

  /** The sectors of the descriptor. */
  descriptor(file: Buffer): Buffer {
    const [offset, size] = [Number(file.readBigUInt64LE(28)), Number(file.readBigUInt64LE(36))];
    return file.subarray(offset * SECTOR, (offset + size) * SECTOR);
  }

  /** Replaces text in a descriptor, truncating it if it becomes too long. */
  rewrite(file: Buffer, change: (text: string) => string): void {
    const bytes = this.descriptor(file);
    const text = change(bytes.toString('utf8').replace(/\0+$/, ''));
    bytes.fill(0);
    bytes.write(text.slice(0, bytes.length));
  }

  /** The grain directory, or a table of it. */
  directory(file: Buffer): Buffer {
    const tables = Math.ceil(Number(file.readBigUInt64LE(12)) / (128 * 512));
    const at = Number(file.readBigUInt64LE(56)) * SECTOR;
    return file.subarray(at, at + Math.min(tables, 65_536) * 4);
  }

  table(file: Buffer, index: number): Buffer {
    const at = this.directory(file).readUInt32LE(index * 4) * SECTOR;
    return file.subarray(at, at + 2048);
  }
}

class Holed implements BlockReader {
  constructor(
    private readonly bytes: Buffer,
    readonly size: number,
  ) {}

  async read(offset: number, length: number): Promise<Buffer> {
    const out = Buffer.alloc(length);
    this.bytes.copy(out, 0, Math.min(offset, this.bytes.length));
    return out;
  }

  async close(): Promise<void> {}
}
