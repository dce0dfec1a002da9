/** Filesystems that a hostile guest builds to exhaust their reader: each is refused cheaply. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { MemoryBlocks } from '../../../src/disk/index.js';
import { type Cost, costOf, HostileExt4, MOST_LAG_MS, makeExt4, walk } from '../../support/hostile-ext4.js';
import { temporaryDirectory } from './support.js';

const DIRECTORY = 2;
let base: Buffer;
let directory: { path: string; remove: () => Promise<void> };
beforeAll(async () => {
  directory = await temporaryDirectory();
  base = await makeExt4(directory.path, 40);
});
afterAll(() => directory.remove());

/** Walks the filesystem, and checks that it costs no more than a walk may. */
async function look(hostile: HostileExt4): Promise<Cost> {
  const cost = await costOf(new MemoryBlocks(hostile.image), walk);
  expect(cost.cpuMs).toBeLessThan(1000);
  expect(cost.lagMs).toBeLessThan(MOST_LAG_MS);
  expect(cost.grownBytes).toBeLessThan(200 << 20);
  return cost;
}

/** The inode numbers of d0, d1, … */
const directoriesOf = (hostile: HostileExt4, count: number): number[] =>
  Array.from({ length: count }, (_, i) => hostile.find(`d${i}`));

test('the intact filesystem is read completely', async () => {
  expect(await look(new HostileExt4(base))).toMatchObject({ refused: null, entries: 40 * 4 + 1 });
});

test('directories that are hard links of directories: 8^30 paths without a cycle', async () => {
  const hostile = new HostileExt4(base);
  const chain = directoriesOf(hostile, 30);
  for (const [i, ino] of chain.slice(0, -1).entries())
    hostile.setDirectory(
      hostile.firstBlock(ino),
      Array.from({ length: 8 }, (_, n) => ({ name: `n${n}`, ino: chain[i + 1]!, type: DIRECTORY })),
    );
  expect((await look(hostile)).refused).toMatch(/directory \d+ is in two places/);
});

test('a directory inside itself', async () => {
  const hostile = new HostileExt4(base);
  const [ino] = directoriesOf(hostile, 1);
  hostile.setDirectory(hostile.firstBlock(ino!), [{ name: 'again', ino: ino!, type: DIRECTORY }]);
  expect((await look(hostile)).refused).toMatch(/directory \d+ is in two places/);
});

test('a directory with 340 extents over the same blocks', async () => {
  const hostile = new HostileExt4(base);
  const [ino] = directoriesOf(hostile, 1);
  const runs = Array.from({ length: 340 }, (_, i) => ({ logical: i * 4096, start: 2000, count: 4096 }));
  hostile.setExtents(ino!, runs, 7000, 340 * 4096 * 4096);
  expect((await look(hostile)).refused).toMatch(/a block is in a file twice/);
});

test('separate directories over the same blocks', async () => {
  const hostile = new HostileExt4(base);
  const [first, ...others] = directoriesOf(hostile, 40);
  const block = hostile.firstBlock(first!);
  for (const ino of others) hostile.setExtents(ino, [{ logical: 0, start: block, count: 1 }], 0, 4096);
  expect((await look(hostile)).refused).toMatch(/block \d+ belongs to two directories/);
});

test('empty directories whose block maps share the same blocks', async () => {
  const hostile = new HostileExt4(base);
  const runs = Array.from({ length: 340 }, (_, i) => ({ logical: i * 2, start: 3000 + i * 2, count: 1 }));
  for (const ino of directoriesOf(hostile, 40)) hostile.setExtents(ino, runs, 7000, 0);
  expect((await look(hostile)).refused).toMatch(/block 7000 belongs to two directories/);
});

test('blocks beyond the end of a directory are ignored', async () => {
  const hostile = new HostileExt4(base);
  const [ino] = directoriesOf(hostile, 1);
  const start = hostile.firstBlock(ino!);
  hostile.setExtents(
    ino!,
    [
      { logical: 0, start, count: 1 },
      { logical: 1, start: 4000, count: 3000 },
    ],
    0,
    4096,
  ); // prettier-ignore
  expect(await look(hostile)).toMatchObject({ refused: null, entries: 40 * 4 + 1 });
});

test('a directory with a block map full of holes', async () => {
  const hostile = new HostileExt4(base);
  for (const ino of directoriesOf(hostile, 40)) {
    const inode = hostile.inode(ino);
    inode.writeUInt32LE(0, 32);
    inode.writeUInt32LE(2 ** 30, 4);
    inode.subarray(40, 100).fill(0);
    // Doubly indirect: a block of block numbers that all name the same block of zeros.
    inode.writeUInt32LE(7000, 40 + 13 * 4);
    for (let i = 0; i < 1024; i++) hostile.block(7000).writeUInt32LE(7001, i * 4);
    hostile.block(7001).fill(0);
  }
  expect((await look(hostile)).refused).toMatch(/damaged ext4/);
});

test('a journal with overlapping extents', async () => {
  const hostile = new HostileExt4(base);
  const first = hostile.dirtyJournal(200 * 1024);
  const runs = Array.from({ length: 200 }, (_, i) => ({ logical: i * 1024, start: first, count: 1024 }));
  hostile.setExtents(8, runs, 7000, 200 * 1024 * 4096);
  expect((await look(hostile)).refused).toMatch(/a block is in a file twice/);
});

test('a journal that claims an impossible size', async () => {
  const hostile = new HostileExt4(base);
  hostile.dirtyJournal();
  hostile.inode(8).writeUInt32LE(1, 108);
  expect((await look(hostile)).refused).toMatch(/larger than 1 GiB/);
});

test('a journal that revokes endlessly', async () => {
  const hostile = new HostileExt4(base);
  const first = hostile.dirtyJournal();
  let block = 0;
  for (let i = 1; i < 1000; i++) {
    const bytes = hostile.journalBlock(first + i, 5, 1);
    bytes.writeUInt32BE(4096, 12);
    for (let at = 16; at + 8 <= 4096; at += 4) bytes.writeUInt32BE(block++, at);
  }
  expect((await look(hostile)).refused).toMatch(/revokes so many blocks/);
});

test('a journal full of tags', async () => {
  const hostile = new HostileExt4(base);
  const first = hostile.dirtyJournal();
  for (let i = 1; i < 1000; i++) {
    const bytes = hostile.journalBlock(first + i, 1, 1);
    for (let at = 12; at + 8 <= 4096; at += 8) {
      bytes.writeUInt32BE(5000, at);
      bytes.writeUInt16BE(2, at + 6);
    }
  }
  hostile.journalBlock(first + 1000, 2, 1);
  await look(hostile);
});

test('a symbolic link whose extent tree has inner nodes', async () => {
  const hostile = new HostileExt4(base);
  const ino = hostile.find('d0');
  hostile.setExtents(
    ino,
    Array.from({ length: 10 }, (_, i) => ({ logical: i, start: 3000 + i, count: 1 })),
    7000,
    100,
  ); // prettier-ignore
  hostile.inode(ino).writeUInt16LE(0o120777, 0);
  expect((await look(hostile)).refused).toMatch(/symbolic link makes no sense/);
});
