/** Layers that are large in one way or another: time, memory, disk space, and the reference tools. */
import { stat } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Entry, fsck, Stack, tarOf, temporaryDirectory } from '../../unit/disk/support.js';

const GB = 1e9;
let directory: string;
let remove: () => Promise<void>;
let stack: Stack;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  stack = new Stack(directory);
});
afterEach(() => remove());

/** A tar of one file of `size` bytes, all zero except the last, generated while it is read. */
async function nearlyEmpty(size: number): Promise<Readable> {
  const header = (await tarOf([{ name: 'f', content: 'x' }])).subarray(0, 512);
  header.write(`${size.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
  header.fill(32, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  const zeros = Buffer.alloc(65536);
  const chunks = function* () {
    yield header;
    for (let left = size - 1; left > 0; left -= zeros.length) yield zeros.subarray(0, Math.min(left, zeros.length));
    yield Buffer.concat([Buffer.from('x'), Buffer.alloc((512 - (size % 512)) % 512), Buffer.alloc(1024)]);
  };
  return Readable.from(chunks(), { objectMode: false });
}

test('5 GB of zeros take seconds and no space', async () => {
  const size = 5 * GB;
  const start = performance.now();
  const result = await stack.add(await nearlyEmpty(size));
  expect(result.size).toBe(size);
  expect(performance.now() - start).toBeLessThan(30_000);
  expect((await stat(stack.top)).blocks * 512).toBeLessThan(3 * 2 ** 20);
  expect(await fsck(stack.top)).toMatchObject({ code: 0 });
  await stack.read(async (filesystem) => {
    const file = await filesystem.stat('f');
    expect(file).toMatchObject({ size, allocated: 65536 });
    const last: Buffer[] = [];
    for await (const part of filesystem.readFile(file.ino, { start: size - 3 })) last.push(part as Buffer);
    expect(Buffer.concat(last)).toEqual(Buffer.from('\0\0x'));
  });
});

test('100,000 files in one directory, changed by a second layer', async () => {
  const count = 100_000;
  const name = (i: number) => `dir/some-file-name-${i}`;
  const start = performance.now();
  await stack.add(await tarOf(Array.from({ length: count }, (_, i): Entry => ({ name: name(i), content: `${i}` }))));
  expect(performance.now() - start).toBeLessThan(60_000);
  expect(await fsck(stack.top)).toMatchObject({ code: 0 });
  const { bytesWritten } = await stack.add(
    await tarOf([{ name: 'dir/one-more', content: 'x' }, { name: 'dir/.wh.some-file-name-77' }]),
  );
  // The directory's own blocks (about 5 MB) and next to nothing else.
  expect(bytesWritten).toBeLessThan(15e6);
  expect(await fsck(stack.top)).toMatchObject({ code: 0 });
  await stack.read(async (filesystem) => {
    let seen = 0;
    const { ino } = await filesystem.stat('dir');
    for await (const _ of filesystem.readdir(ino)) seen++;
    expect(seen).toBe(count);
    await expect(filesystem.stat(name(77))).rejects.toMatchObject({ kind: 'notFound' });
    expect((await filesystem.stat(name(count - 1))).size).toBe(5);
  });
});

test('more directories and names than are kept in memory', async () => {
  // 5,000 directories of 100 names, visited in an order that defeats any cache.
  const chunks = async function* () {
    for (let round = 0; round < 100; round += 10) {
      const entries: Entry[] = [];
      for (let i = 0; i < 5000; i++) {
        for (let j = 0; j < 10; j++) {
          entries.push({ name: `d${i % 10}/d${i}/${round + j}`, type: 'symlink', linkname: 'somewhere' });
        }
      }
      const tar = await tarOf(entries);
      yield round === 90 ? tar : tar.subarray(0, tar.length - 1024);
    }
  };
  await stack.add(Readable.from(chunks(), { objectMode: false }));
  expect(await fsck(stack.top)).toMatchObject({ code: 0 });
  await stack.read(async (filesystem) => {
    for (const i of [0, 1234, 4999]) {
      const names: string[] = [];
      const { ino } = await filesystem.stat(`d${i % 10}/d${i}`);
      for await (const entry of filesystem.readdir(ino)) names.push(entry.name);
      expect(names.map(Number).sort((a, b) => a - b)).toEqual(Array.from({ length: 100 }, (_, n) => n));
    }
  });
});

test('a chain of 120 layers', async () => {
  stack = new Stack(directory, 256 * 2 ** 20);
  for (let i = 0; i < 120; i++) {
    await stack.add(
      await tarOf([
        { name: `layer${i}`, content: `${i}` },
        { name: 'same', content: `${i}` },
      ]),
    );
  }
  expect(await fsck(stack.top)).toMatchObject({ code: 0 });
  await stack.read(async (filesystem) => {
    for (const name of ['layer0', 'layer60', 'layer119', 'same']) await filesystem.stat(name);
  });
});
