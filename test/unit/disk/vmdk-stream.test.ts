/** Stream-optimized disks: written, read by qemu-img, read back, and read when they come from somebody hostile. */
import { execFileSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { deflateSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  createChild,
  createEmpty,
  type DiskGrain,
  diskGrains,
  extendDisk,
  GRAIN_BYTES,
  readVmdkStream,
  SECTOR,
  VmdkChain,
  vmdkKind,
  writeDisk,
  writeVmdkStream,
} from '../../../src/disk/index.js';
import { temporaryDirectory } from './support.js';

const CAPACITY = 100 * 2 ** 20;
const grain = (index: number, text: string): DiskGrain => ({ index, data: Buffer.alloc(GRAIN_BYTES, text) });
const GRAINS = [grain(0, 'a'), grain(1, 'bc'), grain(511, 'd'), grain(512, 'e'), grain(1599, 'last')];

async function* each<T>(items: T[]): AsyncGenerator<T> {
  yield* items;
}

async function whole(bytes: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of bytes) parts.push(part);
  return Buffer.concat(parts);
}

async function list(grains: AsyncIterable<DiskGrain>): Promise<DiskGrain[]> {
  const found: DiskGrain[] = [];
  for await (const { index, data } of grains) found.push({ index, data: Buffer.from(data) });
  return found;
}

let directory: Awaited<ReturnType<typeof temporaryDirectory>>;
let stream: Buffer;

beforeEach(async () => {
  directory = await temporaryDirectory();
  stream = await whole(writeVmdkStream(CAPACITY, each(GRAINS), 'a volume.vmdk'));
});
afterEach(() => directory.remove());
const at = (name: string): string => join(directory.path, name);

/** Reads a stream that arrives in pieces of `size` bytes. */
async function read(bytes: Buffer, size = 1000): Promise<{ capacity: number; grains: DiskGrain[] }> {
  const pieces = Array.from({ length: Math.ceil(bytes.length / size) }, (_, i) =>
    bytes.subarray(i * size, (i + 1) * size),
  );
  const { capacity, grains } = await readVmdkStream(each(pieces));
  return { capacity, grains: await list(grains) };
}

describe('a stream-optimized disk', () => {
  it('is one for QEMU, with the content', async () => {
    await writeFile(at('stream.vmdk'), stream);
    execFileSync('qemu-img', ['check', at('stream.vmdk')]);
    execFileSync('qemu-img', ['convert', '-O', 'raw', at('stream.vmdk'), at('raw')]);
    await writeDisk(at('sparse.vmdk'), CAPACITY, each(GRAINS));
    execFileSync('qemu-img', ['compare', '-f', 'raw', '-F', 'vmdk', at('raw'), at('sparse.vmdk')]);
    expect(vmdkKind(stream)).toBe('stream');
  });

  it.each([1, 512, 70_000])('is read back from pieces of %i bytes', async (size) => {
    expect(await read(stream, size)).toEqual({ capacity: CAPACITY, grains: GRAINS });
  });

  it('that QEMU has made is read', async () => {
    await writeDisk(at('sparse.vmdk'), CAPACITY, each(GRAINS));
    const make = ['convert', '-O', 'vmdk', '-o', 'subformat=streamOptimized', at('sparse.vmdk'), at('q.vmdk')];
    execFileSync('qemu-img', make);
    const { capacity, grains } = await readVmdkStream(createReadStream(at('q.vmdk')));
    expect({ capacity, grains: await list(grains) }).toEqual({ capacity: CAPACITY, grains: GRAINS });
  });

  it('may be empty', async () => {
    const empty = await whole(writeVmdkStream(CAPACITY, each<DiskGrain>([]), 'x'));
    expect(await read(empty)).toEqual({ capacity: CAPACITY, grains: [] });
  });

  const changed = (change: (bytes: Buffer) => Buffer | undefined): Buffer => {
    const bytes = Buffer.from(stream);
    return change(bytes) ?? bytes;
  };
  /** Where the first grain's marker is. */
  const FIRST = 128 * SECTOR;
  it.each<[string, (bytes: Buffer) => Buffer | undefined, string]>([
    ['that is cut short', (bytes) => bytes.subarray(0, bytes.length - 600), 'cut short'],
    ['that is no VMDK', (bytes) => void bytes.writeUInt32LE(0, 0), 'no stream-optimized VMDK'],
    ['of 100 TiB', (bytes) => void bytes.writeBigUInt64LE(2n ** 38n, 12), 'out of range'],
    ['of no size', (bytes) => void bytes.writeBigUInt64LE(0n, 12), 'out of range'],
    ['with offsets beyond everything', (bytes) => void bytes.writeBigUInt64LE(2n ** 60n, 64), 'out of range'],
    ['with other grains', (bytes) => void bytes.writeBigUInt64LE(16n, 20), 'another grain size'],
    ['with a huge descriptor', (bytes) => void bytes.writeBigUInt64LE(2n ** 30n, 36), 'without a descriptor'],
    ['with a grain outside the disk', (bytes) => void bytes.writeBigUInt64LE(2n ** 40n, FIRST), 'a grain of'],
    ['with a grain between grains', (bytes) => void bytes.writeBigUInt64LE(5n, FIRST), 'a grain of'],
    ['with a grain of 4 GiB', (bytes) => void bytes.writeUInt32LE(0xffffffff, FIRST + 8), 'a grain of'],
    ['with damaged content', (bytes) => void bytes.writeUInt32LE(0x12345678, FIRST + 12), 'is damaged'],
    [
      'with a grain that expands without end',
      (bytes) => {
        const bomb = deflateSync(Buffer.alloc(100 * 2 ** 20));
        const out = Buffer.alloc(Math.ceil((12 + bomb.length) / SECTOR) * SECTOR);
        out.writeUInt32LE(bomb.length, 8);
        bomb.copy(out, 12);
        return Buffer.concat([bytes.subarray(0, FIRST), out]);
      },
      'a grain of',
    ],
    [
      'with grains in another order',
      (bytes) => Buffer.concat([bytes.subarray(0, FIRST + SECTOR), bytes.subarray(FIRST)]),
      'not in order',
    ],
    [
      'that stands on another disk',
      (bytes) => {
        const text = bytes.toString('latin1', SECTOR, 21 * SECTOR).replace(/\0+$/, '');
        const child = text.replace('parentCID=ffffffff', 'parentCID=12345678\nparentFileNameHint="/etc/passwd"');
        bytes.write(child, SECTOR, 'latin1');
        return undefined;
      },
      'the child of another disk',
    ],
  ])('%s is refused', async (_what, change, why) => {
    await expect(read(changed(change))).rejects.toThrow(why);
  });
});

describe('a sparse disk from somebody', () => {
  it('is read, unless it stands on another one', async () => {
    await writeDisk(at('sparse.vmdk'), CAPACITY, each(GRAINS));
    const { capacity, grains } = await diskGrains(at('sparse.vmdk'));
    expect({ capacity, grains: await list(grains) }).toEqual({ capacity: CAPACITY, grains: GRAINS });
    await createChild(at('child.vmdk'), at('sparse.vmdk'));
    await expect(diskGrains(at('child.vmdk'))).rejects.toThrow('the child of another disk');
  });
});

describe('a disk that is made larger', () => {
  it('has the same content, and is one for QEMU', async () => {
    await writeDisk(at('small.vmdk'), CAPACITY, each(GRAINS));
    await extendDisk(at('small.vmdk'), at('large.vmdk'), 40 * 2 ** 30);
    execFileSync('qemu-img', ['check', at('large.vmdk')]);
    const { capacity, grains } = await diskGrains(at('large.vmdk'));
    expect({ capacity, grains: await list(grains) }).toEqual({ capacity: 40 * 2 ** 30, grains: GRAINS });
    await expect(extendDisk(at('large.vmdk'), at('no.vmdk'), CAPACITY)).rejects.toThrow('cannot be made one of');
  });

  it('stands on the same disk', async () => {
    await createEmpty(at('below.vmdk'), CAPACITY);
    await createChild(at('child.vmdk'), at('below.vmdk'));
    await extendDisk(at('child.vmdk'), at('larger.vmdk'), 2 * CAPACITY);
    const chain = await VmdkChain.open(at('larger.vmdk'));
    expect([chain.size, chain.depth]).toEqual([2 * CAPACITY, 2]);
    await chain.close();
  });
});
