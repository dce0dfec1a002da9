/** Changes to a disk that no VM is using. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { ChangedDisk, createChild, VmdkChain } from '../../../src/disk/index.js';
import { contentOf, fsck, Stack, tarOf, temporaryDirectory, withFilesystem } from './support.js';

const ATTRIBUTES = {
  mode: 0o640,
  uid: 5,
  gid: 70_000,
  mtime: { sec: 1_500_000_000, nsec: 7 },
  atime: { sec: 1_500_000_001, nsec: 0 },
  xattrs: new Map([['user.note', Buffer.from('kept')]]),
};

let directory: string;
let remove: () => Promise<void>;
let stack: Stack;
let child: string;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  stack = new Stack(directory);
  await stack.add(
    await tarOf([
      { name: 'etc/passwd', content: 'root:x:0:0\n' },
      { name: 'full/a', content: 'a'.repeat(100_000) },
      { name: 'full/b', content: 'b' },
    ]),
  );
  child = join(directory, 'child.vmdk');
  await createChild(child, stack.top);
});
afterEach(() => remove());

async function change(body: (disk: ChangedDisk) => Promise<void>): Promise<void> {
  const parent = await VmdkChain.open(stack.top);
  try {
    const disk = await ChangedDisk.open(child, parent);
    await body(disk);
    await disk.finish();
  } finally {
    await parent.close();
  }
}

async function putFile({ filesystem }: ChangedDisk, path: string[], content: Buffer | string): Promise<void> {
  const parent = await filesystem.directoryAt(path.slice(0, -1), ATTRIBUTES.mtime);
  const writer = await filesystem.beginFile(parent!, path.at(-1)!);
  await writer.write(Buffer.from(content));
  await filesystem.endFile(parent!, path.at(-1)!, ATTRIBUTES);
}

describe('a disk that is changed in place', () => {
  test('holds what was put each time, and keeps its identity and its parent', async () => {
    const parentBefore = await readFile(stack.top);
    const chainBefore = await VmdkChain.open(child);
    const { cid, parentCid, parentHint } = chainBefore.info;
    await chainBefore.close();
    await change(async (disk) => {
      await putFile(disk, ['made', 'up', 'file'], 'first');
      await putFile(disk, ['etc', 'passwd'], 'replaced');
      await disk.filesystem.remove(2, 'full');
    });
    expect((await fsck(child)).output).toMatch(/Pass 5[^!]*files/);
    for (let round = 0; round < 3; round++) {
      await change(async (disk) => {
        await putFile(disk, ['made', 'up', 'file'], `round ${round}`);
        await putFile(disk, ['large'], Buffer.alloc(3_000_000, `round ${round}`));
      });
    }
    const checked = await fsck(child);
    expect(checked.code, checked.output).toBe(0);
    await withFilesystem(child, async (filesystem) => {
      expect(await contentOf(filesystem, 'made/up/file')).toBe('round 2');
      expect(await contentOf(filesystem, 'etc/passwd')).toBe('replaced');
      expect(await contentOf(filesystem, 'large')).toBe(Buffer.alloc(3_000_000, 'round 2').toString());
      await expect(filesystem.stat('full')).rejects.toMatchObject({ kind: 'notFound' });
      const stat = await filesystem.stat('large');
      expect(stat).toMatchObject({ mode: 0o640, uid: 5, gid: 70_000, mtime: 1_500_000_000_000_000_007n });
      expect((await filesystem.xattrs(stat.ino)).get('user.note')?.toString()).toBe('kept');
    });
    const chain = await VmdkChain.open(child);
    expect(chain.info).toMatchObject({ cid, parentCid, parentHint });
    await chain.close();
    expect((await readFile(stack.top)).equals(parentBefore)).toBe(true);
  });

  test('does not grow when the same content is put again', async () => {
    const put = (): Promise<void> => change((disk) => putFile(disk, ['one'], Buffer.alloc(1_000_000, 'x')));
    await put();
    const first = (await readFile(child)).length;
    for (let i = 0; i < 4; i++) await put();
    // Freed blocks are reused; directories and the first allocation may take one more grain.
    expect((await readFile(child)).length).toBeLessThan(first + 300_000);
    expect((await fsck(child)).code).toBe(0);
  });

  test('refuses a disk on another parent, and leaves the file alone', async () => {
    await stack.add(await tarOf([{ name: 'x', content: 'x' }]));
    const before = await readFile(child);
    await expect(change(async () => undefined)).rejects.toMatchObject({ kind: 'unsupported' });
    expect((await readFile(child)).equals(before)).toBe(true);
  });

  test('refuses damaged tables', async () => {
    const damaged = await readFile(child);
    // The grain directory's copy is at sector 21; the tables in use come after the second directory.
    const tables = Number(damaged.readBigUInt64LE(56)) * 512;
    const first = damaged.readUInt32LE(tables) * 512;
    damaged.writeUInt32LE(0x7fffffff, first);
    await writeFile(child, damaged);
    await expect(change(async () => undefined)).rejects.toMatchObject({ kind: 'invalid' });
  });
});
