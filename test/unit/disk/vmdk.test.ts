import { copyFile, open, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  createChild,
  createEmpty,
  FileBlocks,
  MemoryBlocks,
  readVmdkInfo,
  VmdkChain,
} from '../../../src/disk/index.js';
import { DeltaDisk } from '../../../src/disk/vmdk/delta.js';
import { decodeDescriptor } from '../../../src/disk/vmdk/descriptor.js';
import { program, temporaryDirectory } from './support.js';

const GRAIN = 65536;
const CAPACITY = 64 * 2 ** 20;
let directory: string;
let remove: () => Promise<void>;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(() => remove());

const at = (name: string) => join(directory, name);

async function write(path: string, parent: string | null, writes: [number, Buffer][]): Promise<void> {
  const chain = parent === null ? null : await VmdkChain.open(parent);
  const disk = await DeltaDisk.create(path, chain, CAPACITY);
  for (const [offset, data] of writes) await disk.write(offset, data);
  await disk.finish({
    cid: path.endsWith('0.vmdk') ? '00000abc' : '00000def',
    parentCid: chain?.info.cid ?? null,
    parentHint: parent === null ? null : (parent.split('/').at(-1) as string),
  });
  await chain?.close();
}

describe('new disks', () => {
  test('qemu-img accepts an empty disk and its child, and they take little room', async () => {
    await createEmpty(at('base.vmdk'), 32 * 2 ** 30);
    await createChild(at('child.vmdk'), at('base.vmdk'));
    expect((await stat(at('child.vmdk'))).blocks * 512).toBeLessThan(64 * 1024);
    for (const name of ['base.vmdk', 'child.vmdk']) expect((await program('qemu-img', 'check', at(name))).code).toBe(0);
    const info = JSON.parse((await program('qemu-img', 'info', '--output=json', at('child.vmdk'))).output);
    expect(info).toMatchObject({ format: 'vmdk', 'virtual-size': 32 * 2 ** 30, 'backing-filename': 'base.vmdk' });
    const [parent, child] = await Promise.all(
      ['base.vmdk', 'child.vmdk'].map(async (name) => {
        const file = await FileBlocks.open(at(name));
        const result = await readVmdkInfo(file);
        await file.close();
        return result;
      }),
    );
    expect(child?.parentCid).toBe(parent?.cid);
    expect(child).toMatchObject({ parentHint: 'base.vmdk', capacity: 32 * 2 ** 30 });
    expect(parent).toMatchObject({ parentHint: null, parentCid: null });
  });

  test('an existing file is not overwritten', async () => {
    await createEmpty(at('a.vmdk'), GRAIN);
    await expect(createEmpty(at('a.vmdk'), GRAIN)).rejects.toMatchObject({ code: 'EEXIST' });
  });

  test.each([0, -512, 511, 2 ** 60, Number.NaN])('a capacity of %s is refused', async (capacity) => {
    await expect(createEmpty(at('a.vmdk'), capacity)).rejects.toMatchObject({ kind: 'invalid' });
  });

  test.each(['/abs/olute.vmdk', 'nbd:host', 'json:{}', 'a"b', 'a\nb', ''])('the hint %j is refused', async (hint) => {
    await createEmpty(at('a.vmdk'), GRAIN);
    await expect(createChild(at('b.vmdk'), at('a.vmdk'), hint)).rejects.toMatchObject({ kind: 'invalid' });
  });
});

describe('chains', () => {
  test('a chain reads as in QEMU, also after QEMU has written to a child', async () => {
    const pattern = (byte: number, length: number) => Buffer.alloc(length, byte);
    await write(at('0.vmdk'), null, [
      [0, pattern(1, 3 * GRAIN)],
      [40 * 2 ** 20, pattern(2, 5000)],
    ]);
    await write(at('1.vmdk'), at('0.vmdk'), [
      [GRAIN + 100, pattern(3, 50)],
      [2 * GRAIN, pattern(0, GRAIN)],
      [50 * 2 ** 20, pattern(4, 2 * GRAIN)],
    ]);
    await createChild(at('2.vmdk'), at('1.vmdk'));
    const before = [await readFile(at('0.vmdk')), await readFile(at('1.vmdk'))];
    const io = await program(
      'qemu-io',
      '-f',
      'vmdk',
      '-c',
      `write -P 5 ${GRAIN} 512`,
      '-c',
      'write -P 6 20M 1M',
      at('2.vmdk'),
    );
    expect(io).toMatchObject({ code: 0 });
    for (const name of ['0.vmdk', '1.vmdk', '2.vmdk']) {
      expect(await program('qemu-img', 'check', at(name))).toMatchObject({ code: 0 });
    }
    expect(before[0]?.equals(await readFile(at('0.vmdk')))).toBe(true);
    expect(before[1]?.equals(await readFile(at('1.vmdk')))).toBe(true);
    const converted = await program('qemu-img', 'convert', '-O', 'raw', at('2.vmdk'), at('2.raw'));
    expect(converted).toMatchObject({ code: 0 });
    const truth = await readFile(at('2.raw'));
    const chain = await VmdkChain.open(at('2.vmdk'));
    expect(chain.depth).toBe(3);
    expect((await chain.read(0, CAPACITY)).equals(truth)).toBe(true);
    for (const [offset, length] of [
      [GRAIN - 10, 20],
      [GRAIN + 90, 100],
      [20 * 2 ** 20 - 5, 3 * GRAIN],
      [CAPACITY - 1, 1],
    ] as const) {
      expect((await chain.read(offset, length)).equals(truth.subarray(offset, offset + length))).toBe(true);
    }
    const held: number[] = [];
    for (let grain = await chain.nextGrain(0); grain !== null; grain = await chain.nextGrain(grain + 1))
      held.push(grain);
    for (let grain = 0; grain < CAPACITY / GRAIN; grain++) {
      if (!held.includes(grain))
        expect(truth.subarray(grain * GRAIN, (grain + 1) * GRAIN).every((b) => b === 0)).toBe(true);
    }
    await expect(chain.read(CAPACITY - 1, 2)).rejects.toMatchObject({ kind: 'invalid' });
    await chain.close();
  });

  test('a parent that was changed is refused', async () => {
    await createEmpty(at('0.vmdk'), CAPACITY);
    await createChild(at('1.vmdk'), at('0.vmdk'));
    const other = at('other.vmdk');
    await createEmpty(other, CAPACITY);
    await copyFile(other, at('0.vmdk'));
    await expect(VmdkChain.open(at('1.vmdk'))).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('a cycle is refused', async () => {
    await createEmpty(at('0.vmdk'), CAPACITY, '11111111');
    await createChild(at('1.vmdk'), at('0.vmdk'));
    const bytes = await readFile(at('1.vmdk'));
    const text = bytes.toString('latin1').replace('"0.vmdk"', '"1.vmdk"');
    await writeFile(at('1.vmdk'), Buffer.from(text, 'latin1'));
    await expect(VmdkChain.open(at('1.vmdk'))).rejects.toThrow(/cycle|changed/);
  });

  test('more than 256 disks are refused', async () => {
    let opened = 0;
    await createEmpty(at('0.vmdk'), CAPACITY, '22222222');
    await createChild(at('c.vmdk'), at('0.vmdk'), 'deeper/c.vmdk');
    const bytes = await readFile(at('c.vmdk'));
    const text = bytes.toString('latin1').replace(/^CID=.*$/m, 'CID=22222222');
    const endless = new MemoryBlocks(Buffer.from(text, 'latin1'));
    const open = async () => {
      opened++;
      return endless;
    };
    await expect(VmdkChain.open('c.vmdk', open)).rejects.toThrow(/more than 256/);
    expect(opened).toBe(256);
  });
});

describe('hostile files', () => {
  test('a damaged header never reads outside the file, hangs, or throws anything but a known error', async () => {
    await write(at('0.vmdk'), null, [[0, Buffer.alloc(4 * GRAIN, 7)]]);
    const good = await readFile(at('0.vmdk'));
    let seed = 1;
    const random = (limit: number) => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed % limit;
    };
    let survived = 0;
    for (let round = 0; round < 400; round++) {
      const bad = Buffer.from(good);
      const region = random(3) === 0 ? 21 * 512 : 80;
      for (let i = 0; i <= random(4); i++) bad[random(region)] = random(256);
      if (random(4) === 0) bad.writeUInt32LE(random(2 ** 31), 21 * 512 + random(64) * 4);
      try {
        const chain = await VmdkChain.open('x', async () => new MemoryBlocks(bad));
        await chain.read(0, Math.min(chain.size, 8 * GRAIN));
        survived++;
      } catch (error) {
        expect(['invalid', 'unsupported']).toContain((error as { kind?: string }).kind);
      }
    }
    expect(survived).toBeGreaterThan(10);
  });

  test('a truncated file is refused when its missing part is read', async () => {
    await write(at('0.vmdk'), null, [[0, Buffer.alloc(4 * GRAIN, 7)]]);
    const file = await open(at('0.vmdk'), 'r+');
    await file.truncate((await file.stat()).size - GRAIN);
    await file.close();
    const chain = await VmdkChain.open(at('0.vmdk'));
    await expect(chain.read(3 * GRAIN, 10)).rejects.toMatchObject({ kind: 'invalid' });
    await chain.close();
  });
});

test.each([
  ['CID=', '"x"y'],
  ['parentFileNameHint=', 'x""'],
  ['createType', '=x'],
])('a descriptor line %s with a megabyte of spaces is parsed quickly', (before, after) => {
  const start = process.cpuUsage();
  const text = `CID=01234567\n${before}${' '.repeat(1 << 20)}${after}\ncreateType="monolithicSparse"\n`;
  expect(decodeDescriptor(Buffer.from(text))).toMatchObject({ cid: '01234567', parentCid: null });
  const { user, system } = process.cpuUsage(start);
  expect(user + system).toBeLessThan(1_000_000);
});

test('a descriptor of several extents is refused', () => {
  const extents = 'RW 8 SPARSE "a.vmdk"\nRW 8 FLAT "/etc/shadow" 0\n';
  expect(() => decodeDescriptor(Buffer.from(`CID=01234567\ncreateType="monolithicSparse"\n${extents}`))).toThrow(
    'a VMDK of 2 extents is not supported',
  );
});
