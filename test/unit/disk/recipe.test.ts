/** Layers' tars made again from their disks. `Stack.add` compares each with what was read. */
import { execFile } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { link, mkdir, open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { applyLayer, Ext4Filesystem, type RecipeSource, tarFromRecipe, VmdkChain } from '../../../src/disk/index.js';
import { type Entry, fsck, Stack, streamOf, tarOf, temporaryDirectory } from './support.js';

const run = promisify(execFile);
const CAPACITY = 256 * 2 ** 20;
let directory: string;
let remove: () => Promise<void>;
let stack: Stack;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  stack = new Stack(directory, CAPACITY);
});
afterEach(() => remove());

const file = (name: string, content: Buffer | string, more: Partial<Entry> = {}): Entry => ({
  name,
  content,
  mode: 0o644,
  ...more,
});
const noise = (length: number, seed = 1): Buffer => {
  const bytes = Buffer.alloc(length);
  let value = seed;
  for (let i = 0; i < length; i++) {
    value = (value * 1103515245 + 12345) % 2 ** 31;
    bytes[i] = value >> 16;
  }
  return bytes;
};

/** The archive that GNU tar makes of what `fill` puts into a directory. */
async function gnuTar(fill: (path: string) => Promise<void>, ...options: string[]): Promise<Buffer> {
  const path = join(directory, 'tree');
  await mkdir(path);
  await fill(path);
  const { stdout } = await run('tar', [...options, '-C', path, '-cf', '-', '.'], {
    encoding: 'buffer',
    maxBuffer: 2 ** 28,
  });
  return stdout;
}

async function oddTree(path: string): Promise<void> {
  await writeFile(join(path, 'n'.repeat(200)), noise(5000));
  await writeFile(join(path, 'ünï-名'), 'x');
  await link(join(path, 'ünï-名'), join(path, 'hard'));
  await run('ln', ['-s', 't'.repeat(300), join(path, 'symlink')]);
  await run('mkfifo', [join(path, 'fifo')]);
  await writeFile(join(path, 'empty'), '');
  const sparse = await open(join(path, 'sparse'), 'w');
  for (let i = 0; i < 40; i++) await sparse.write(`piece ${i}`, i * 2 ** 20 + 4096);
  await sparse.truncate(50 * 2 ** 20);
  await sparse.close();
}

describe('archives of GNU tar', () => {
  test.each([
    ['--format=v7', '--exclude=./nnn*', '--exclude=./symlink', '--exclude=./sparse', '--exclude=./fifo'],
    ['--format=ustar', '--exclude=./nnn*', '--exclude=./symlink', '--exclude=./sparse'],
    ['--format=gnu', '--sparse'],
    ['--format=pax', '--sparse', '--sparse-version=0.0'],
    ['--format=pax', '--sparse', '--sparse-version=0.1'],
    ['--format=pax', '--sparse', '--sparse-version=1.0', '--xattrs'],
    ['--format=gnu', '--blocking-factor=200'],
  ])('%s %s', async (...options) => {
    await stack.add(await gnuTar(oddTree, ...options));
    await fsck(stack.top);
  });
});

describe('what is not on the disk in the end', () => {
  test('a file that the layer has twice, even with holes, and one that it removes again', async () => {
    const sparse = await gnuTar(oddTree, '--format=gnu', '--sparse');
    const twice = Buffer.concat([sparse.subarray(0, -10240 + (sparse.length % 10240)), sparse]);
    const entries = await tarOf([
      file('a', noise(200_000, 2)),
      file('b', 'kept'),
      file('a', noise(100_001, 3)),
      file('dir/c', noise(70_000, 4)),
      file('.wh.dir', ''),
      file('a', ''),
      { name: 'b2', type: 'link', linkname: 'b', mode: 0o600 },
      file('b', 'new'),
    ]);
    const result = await stack.add(entries);
    expect(result.recipe?.replaced).toBe(200_000 + 100_001 + 70_000);
    await stack.add(twice);
    await fsck(stack.top);
  });

  test('what a lower layer had is not kept', async () => {
    await stack.add(await tarOf([file('a', noise(50_000)), file('b', 'b')]));
    const { recipe } = await stack.add(await tarOf([file('a', 'new'), file('.wh.b', '')]));
    expect(recipe?.replaced).toBe(0);
  });

  test("AUFS's own files, and whiteouts with content", async () => {
    await stack.add(
      await tarOf([
        file('.wh..wh.plnk/9.7', noise(10_000)),
        { name: 'linked', type: 'link', linkname: '.wh..wh.plnk/9.7' },
        file('.wh..wh.plnk/9.8', noise(10_000, 2)),
        file('.wh..wh.orph/x', noise(3000, 3)),
        file('.wh.gone', noise(3000, 4)),
      ]),
    );
  });
});

describe('the end of an archive', () => {
  test.each([
    ['no end mark', (tar: Buffer) => tar.subarray(0, -1024)],
    ['half an end mark', (tar: Buffer) => tar.subarray(0, -512)],
    ['no padding after the last file', (tar: Buffer) => tar.subarray(0, -1024 - 512 + 3)],
    ['a megabyte of zeros', (tar: Buffer) => Buffer.concat([tar, Buffer.alloc(2 ** 20)])],
    ['something behind the end', (tar: Buffer) => Buffer.concat([tar, noise(3 * 2 ** 20)])],
  ])('%s', async (_, change) => {
    await stack.add(change(await tarOf([file('file', 'abc')])));
  });

  test('a layer with nothing in it, at the bottom and above', async () => {
    await stack.add(Buffer.alloc(1024));
    await stack.add(await tarOf([file('file', 'abc')]));
    const { unchanged, recipe } = await stack.add(Buffer.alloc(10240));
    expect({ unchanged, tar: recipe?.tar }).toEqual({ unchanged: true, tar: 10240 });
  });

  test('an upper layer that changes nothing, though its tar has entries', async () => {
    await stack.add(await tarOf([{ name: 'dir', type: 'directory', mode: 0o755 }]));
    const { unchanged } = await stack.add(await tarOf([file('dir/.wh.none', noise(100))]));
    expect(unchanged).toBe(true);
  });
});

test('takes some 50 bytes for each file, whatever is in it', async () => {
  const entries = Array.from({ length: 5000 }, (_, i) =>
    file(`usr/share/doc/package-${i % 70}/file-${i}`, noise(100 + i, i)),
  );
  const { recipe } = await stack.add(await tarOf(entries));
  expect(recipe!.recipe / entries.length).toBeLessThan(80);
});

describe('a recipe that is not right', () => {
  const files = () => ({ recipe: join(directory, 'r'), replaced: join(directory, 'm') });
  const source = (recipe: Buffer): RecipeSource => ({
    recipe: async () => Readable.from([recipe]),
    replaced: async (start, end) => createReadStream(files().replaced, { start, end: end - 1 }),
  });

  async function made(): Promise<{ recipe: Buffer; disk: string; tar: Buffer }> {
    const tar = await tarOf([file('a', noise(5000)), file('b', noise(9000, 2)), file('a', noise(30))]);
    const disk = join(directory, 'd.vmdk');
    await applyLayer({ parent: null, tar: streamOf(tar), outPath: disk, parentHint: null, seed: 's', recipe: files() });
    return { recipe: await readFile(files().recipe), disk, tar };
  }

  async function tarOfRecipe(recipe: Buffer, disk: string): Promise<Buffer> {
    const chain = await VmdkChain.open(disk);
    try {
      const parts: Buffer[] = [];
      for await (const part of tarFromRecipe(source(recipe), await Ext4Filesystem.open(chain)))
        parts.push(Buffer.from(part));
      return Buffer.concat(parts);
    } finally {
      await chain.close();
    }
  }

  test('cut off or damaged, it gives an error or another tar, and never hangs', async () => {
    const { recipe, disk, tar } = await made();
    expect(await tarOfRecipe(recipe, disk)).toEqual(tar);
    const plain = gunzipSync(recipe);
    for (let cut = 0; cut < plain.length; cut += 7)
      await expect(tarOfRecipe(gzipSync(plain.subarray(0, cut)), disk)).rejects.toMatchObject({ kind: 'invalid' });
    for (let at = 0; at < plain.length; at += 3) {
      const damaged = Buffer.from(plain);
      damaged[at] = (damaged[at] as number) ^ 0x81;
      const outcome = await tarOfRecipe(gzipSync(damaged), disk).catch((error: { kind?: string }) => error.kind);
      if (Buffer.isBuffer(outcome)) expect(outcome.equals(tar)).toBe(false);
      else expect(outcome).toMatch(/^(invalid|unsupported)$/);
    }
  });

  test('replaced content that was lost', async () => {
    const { recipe, disk } = await made();
    await truncate(files().replaced, 100);
    await expect(tarOfRecipe(recipe, disk)).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('a refused layer leaves neither recipe nor disk', async () => {
    const tar = await tarOf([file('a', noise(5000)), file('a', noise(300))]);
    const outPath = join(directory, 'd.vmdk');
    const options = { parent: null, outPath, parentHint: null, seed: 's', recipe: files() };
    await expect(applyLayer({ ...options, tar: streamOf(tar.subarray(0, 7000)) })).rejects.toMatchObject({
      kind: 'invalid',
    });
    for (const path of [outPath, files().recipe, files().replaced])
      await expect(readFile(path)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});
