/** A disk whose files were removed takes less room when its VM is off, and nothing else of it changes. */
import { randomBytes } from 'node:crypto';
import { open, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ChangedDisk, createChild, VmdkChain } from '../../../src/disk/index.js';
import { giveBack } from '../../../src/hostd/disks/give-back.js';
import { contentOf, fsck, program, Stack, tarOf, temporaryDirectory, withFilesystem } from '../disk/support.js';

const TIME = { sec: 1_500_000_000, nsec: 0 };
const ATTRIBUTES = { mode: 0o644, uid: 0, gid: 0, mtime: TIME, atime: TIME, xattrs: new Map() };
const MB = 1e6;

let directory: string;
let remove: () => Promise<void>;
let parent: string;
let disk: string;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  const stack = new Stack(directory);
  await stack.add(await tarOf([{ name: 'below', content: 'of the image' }]));
  parent = stack.top;
  disk = join(directory, 'disk.vmdk');
  await createChild(disk, parent);
});
afterEach(() => remove());

async function change(body: (changed: ChangedDisk) => Promise<void>): Promise<void> {
  const chain = await VmdkChain.open(parent);
  const changed = await ChangedDisk.open(disk, chain);
  await body(changed);
  await changed.finish();
  await chain.close();
}

async function put({ filesystem }: ChangedDisk, name: string, content: Buffer): Promise<void> {
  const root = await filesystem.directoryAt([], TIME);
  const writer = await filesystem.beginFile(root!, name);
  await writer.write(content);
  await filesystem.endFile(root!, name, ATTRIBUTES);
}

const taken = async (): Promise<number> => (await stat(disk)).blocks * 512;
const give = (): Promise<number> =>
  giveBack({ disks: [{ bus: 0, unit: 0, path: disk, readOnly: false }], extraConfig: new Map() }, [
    { name: 'datastore1', directory },
  ]);

it('gives back the blocks of removed files, keeps all others, and can be written again', async () => {
  const kept = randomBytes(5 * MB);
  await change(async (changed) => {
    await put(changed, 'first', randomBytes(20 * MB));
    await put(changed, 'kept', kept);
    await put(changed, 'second', randomBytes(20 * MB));
  });
  expect(await give()).toBe(0);
  await change(async ({ filesystem }) => {
    for (const name of ['first', 'second']) await filesystem.remove(filesystem.root, name);
  });
  const { size } = await stat(disk);
  const before = await taken();
  expect(before).toBeGreaterThan(45 * MB);
  const freed = await give();
  expect(freed).toBeGreaterThan(38 * MB);
  expect(await taken()).toBe(before - freed);
  expect((await stat(disk)).size).toBe(size);

  const judged = async (): Promise<void> => {
    expect((await program('qemu-img', 'check', disk)).output).toContain('No errors');
    expect((await fsck(disk)).code).toBe(0);
    await withFilesystem(disk, async (filesystem) => {
      expect(await contentOf(filesystem, 'kept')).toBe(kept.toString('utf8'));
      expect(await contentOf(filesystem, 'below')).toBe('of the image');
    });
  };
  await judged();
  await change((changed) => put(changed, 'third', randomBytes(20 * MB)));
  await judged();
});

it('leaves alone a small disk, and one whose filesystem was not unmounted or is none', async () => {
  await change((changed) => put(changed, 'small', randomBytes(MB)));
  expect(await give()).toBe(0);
  await change((changed) => put(changed, 'large', randomBytes(40 * MB)));
  await change(({ filesystem }) => filesystem.remove(filesystem.root, 'large'));
  const chain = await VmdkChain.open(disk);
  const at = 1024;
  const sound = await chain.read(at, 1024);
  const superblock = Buffer.from(sound);
  const descriptors = await chain.read(4096, 4);
  await chain.close();
  const bytes = await readFile(disk);
  const place = bytes.indexOf(superblock);
  expect(place).toBeGreaterThan(0);
  const file = await open(disk, 'r+');
  // Its journal has to be replayed first.
  superblock.writeUInt32LE(superblock.readUInt32LE(96) | 0x4, 96);
  await file.write(superblock, 0, 1024, place);
  expect(await give()).toBe(0);
  // A bitmap outside of the filesystem.
  superblock.writeUInt32LE(superblock.readUInt32LE(96) & ~0x4, 96);
  await file.write(superblock, 0, 1024, place);
  await file.write(Buffer.alloc(4, 0xff), 0, 4, place - 1024 + 4096);
  expect(await give()).toBe(0);
  await file.write(Buffer.alloc(1024), 0, 1024, place);
  expect(await give()).toBe(0);
  await file.write(sound, 0, 1024, place);
  await file.write(descriptors, 0, 4, place - 1024 + 4096);
  expect(await give()).toBeGreaterThan(38 * MB);
  await file.close();
});
