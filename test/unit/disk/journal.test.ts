import { execFile } from 'node:child_process';
import { copyFile, mkdtemp, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Ext4Filesystem, FileBlocks, MemoryBlocks } from '../../../src/disk/index.js';
import { contentOf, describe as describeFiles, flatten, program, Stack, tarOf, temporaryDirectory } from './support.js';

const run = promisify(execFile);
let directory: string;
let remove: () => Promise<void>;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(() => remove());

/** Has debugfs write `data` for `blocks` to the journal, or revoke blocks, in transactions without a checkpoint. */
async function journalled(raw: string, transactions: { blocks?: number[]; data?: Buffer; revoke?: number[] }[]) {
  const commands = ['journal_open'];
  for (const [i, { blocks = [], data, revoke }] of transactions.entries()) {
    if (data) {
      const file = join(directory, `transaction${i}`);
      await writeFile(file, Buffer.concat(blocks.map(() => data)));
      commands.push(`journal_write -b ${blocks.join(',')} ${file}`);
    }
    if (revoke) commands.push(`journal_write -r ${revoke.join(',')}`);
  }
  commands.push('journal_close');
  const script = `${raw}.script`;
  await writeFile(script, `${commands.join('\n')}\n`);
  await run('debugfs', ['-w', '-f', script, raw]);
}

async function openRaw(path: string): Promise<{ filesystem: Ext4Filesystem; close: () => Promise<void> }> {
  const file = await FileBlocks.open(path);
  return { filesystem: await Ext4Filesystem.open(file), close: () => file.close() };
}

/** The first block of a file's content. */
async function blockOf(raw: string, path: string): Promise<number> {
  return Number((await program('debugfs', '-R', `bmap ${path} 0`, raw)).output.split('\n')[0]);
}

async function prepare(format: 'ours' | 'kernel-default'): Promise<string> {
  const own = await mkdtemp(join(directory, 'disk-'));
  const raw = join(own, 'disk.raw');
  const stack = new Stack(own, 64 * 2 ** 20);
  await stack.add(
    await tarOf([
      { name: 'd/a', content: 'a' },
      { name: 'd/b', content: 'b' },
      { name: 'longlink', type: 'symlink', linkname: `/${'x'.repeat(100)}` },
      { name: 'otherlink', type: 'symlink', linkname: `/${'y'.repeat(100)}` },
    ]),
  );
  await flatten(stack.top, raw);
  if (format === 'kernel-default') {
    // Checksums in metadata and journal, wide descriptors: what `mkfs.ext4` produces today.
    const tree = join(own, 'tree');
    await run('mkdir', ['-p', join(tree, 'd')]);
    await writeFile(join(tree, 'd', 'a'), 'a');
    await writeFile(join(tree, 'd', 'b'), 'b');
    await run('ln', ['-s', `/${'x'.repeat(100)}`, join(tree, 'longlink')]);
    await run('ln', ['-s', `/${'y'.repeat(100)}`, join(tree, 'otherlink')]);
    await run('mke2fs', ['-q', '-F', '-t', 'ext4', '-b', '4096', '-O', '64bit,metadata_csum', '-d', tree, raw, '64M']);
  }
  return raw;
}

describe.each(['ours', 'kernel-default'] as const)('a journal to be replayed (%s)', (format) => {
  test('committed blocks apply, revoked ones do not; e2fsck agrees', async () => {
    const raw = await prepare(format);
    const [link, other] = [await blockOf(raw, '/longlink'), await blockOf(raw, '/otherlink')];
    const first = Buffer.alloc(4096);
    first.write(`/${'1'.repeat(100)}`);
    // This one begins with the journal's own magic and so is escaped.
    const second = Buffer.alloc(4096);
    second.write(`c03b3998${'32'.repeat(97)}`, 'hex');
    await journalled(raw, [
      { blocks: [link, other], data: first },
      { blocks: [other], data: second },
    ]);
    const replayed = join(directory, 'replayed.raw');
    await copyFile(raw, replayed);
    expect((await program('e2fsck', '-E', 'journal_only', '-y', replayed)).code).toBeLessThan(2);

    const before = await openRaw(raw);
    const after = await openRaw(replayed);
    const read = async ({ filesystem }: typeof before, path: string) =>
      (await filesystem.readlink((await filesystem.stat(path)).ino)).toString('latin1');
    expect(await read(before, 'longlink')).toBe(`/${'1'.repeat(100)}`);
    expect(await read(before, 'otherlink')).toBe(`\u00c0;9\u0098${'2'.repeat(97)}`);
    expect(await read(before, 'otherlink')).toBe(await read(after, 'otherlink'));
    expect((await describeFiles(before.filesystem)).files).toEqual((await describeFiles(after.filesystem)).files);
    expect(await contentOf(before.filesystem, 'd/a')).toBe('a');
    await before.close();
    await after.close();

    const revoked = await prepare(format);
    await journalled(revoked, [{ blocks: [link], data: first }, { revoke: [link] }]);
    const { filesystem, close } = await openRaw(revoked);
    expect((await filesystem.readlink((await filesystem.stat('longlink')).ino)).toString()).toBe(`/${'x'.repeat(100)}`);
    await close();
  });
});

describe('damaged filesystems', () => {
  test('random damage gives a known error or some answer, but never hangs', async () => {
    const raw = await prepare('ours');
    const target = await blockOf(raw, '/longlink');
    await journalled(raw, [{ blocks: [target], data: Buffer.alloc(4096, 65) }]);
    const file = await FileBlocks.open(raw);
    const good = await file.read(0, file.size);
    await file.close();
    // The location of metadata: superblock and descriptors, inodes, journal, directories.
    const inodes = Number(/Inode table at (\d+)/.exec((await program('dumpe2fs', raw)).output)?.[1]) * 4096;
    const journal = (await blockOf(raw, '<8>')) * 4096;
    const root = (await blockOf(raw, '/')) * 4096;
    const places: [number, number][] = [
      [1024, 400],
      [4096, 32],
      [inodes, 20 * 256],
      [journal, 3 * 4096],
      [root, 200],
    ];
    let seed = 3;
    const random = (limit: number) => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return (seed >> 8) % limit;
    };
    let answered = 0;
    for (let round = 0; round < 300; round++) {
      const undo: [number, number][] = [];
      for (let i = 0; i < 1 + random(3); i++) {
        const [start, length] = places[random(places.length)] as [number, number];
        const at = start + random(length);
        undo.push([at, good[at] as number]);
        good[at] = random(256);
      }
      try {
        const filesystem = await Ext4Filesystem.open(new MemoryBlocks(good));
        for (const path of ['/', 'd', 'd/a', 'longlink']) {
          const stat = await filesystem.stat(path, { follow: false });
          await filesystem.xattrs(stat.ino);
          if (stat.type === 'directory') for await (const _ of filesystem.readdir(stat.ino));
          if (stat.type === 'symlink') await filesystem.readlink(stat.ino);
          if (stat.type === 'file' && stat.size < 2 ** 20) await contentOf(filesystem, path);
        }
        answered++;
      } catch (error) {
        expect(['invalid', 'unsupported', 'notFound']).toContain((error as { kind?: string }).kind);
      }
      for (const [at, value] of undo.reverse()) good[at] = value;
    }
    expect(answered).toBeGreaterThan(30);
  });
});
