/** Layers on the datastore: the cost of long chains, and layers that change nothing. */
import { once } from 'node:events';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { VchConfig } from '../../../port-layer/config.js';
import { DiskReaders } from '../../../port-layer/disks/disk-readers.js';
import { imageDifferences } from '../../../port-layer/files/image-differences.js';
import type { LayerInfo } from '../../../port-layer/index.js';
import { Layers } from '../../../port-layer/storage/layers.js';
import { StorageReserve, storageLimits } from '../../../port-layer/storage/storage-reserve.js';
import { chainId, sha256 } from '../../../src/common/ids.js';
import { Ext4Filesystem, VmdkChain } from '../../../src/disk/index.js';
import { localStore } from '../../support/local-store.js';
import { type Described, describe, readAll, tarOf, temporaryDirectory } from '../disk/support.js';

const ROOT = 'store/VIC/v';
const CONFIG = { container: { baseImageSizeGiB: 1 } } as VchConfig;
const EMPTY = Buffer.alloc(1024);

let directory: string;
let remove: () => Promise<void>;
let layers: Layers;
/** Files of the datastore that were opened. */
let opened: string[];

async function openLayers(room: StorageReserve | null = null): Promise<Layers> {
  const store = localStore(directory, ROOT);
  const size = store.datastore.size.bind(store.datastore);
  store.datastore.size = (path) => {
    opened.push(path);
    return size(path);
  };
  const found = new Layers(store, CONFIG, join(directory, 'spool'), room);
  await found.load();
  return found;
}

beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  opened = [];
  layers = await openLayers();
});
afterEach(() => remove());

/** Writes layers, each on top of the previous one. */
async function write(tars: Buffer[], onto: string | null = null): Promise<LayerInfo[]> {
  const infos: LayerInfo[] = [];
  let parent = onto;
  for (const tar of tars) {
    const diffId = `sha256:${sha256(tar)}`;
    const layer = { chainId: chainId(parent, diffId), parent, diffId };
    infos.push(await layers.write(layer, Readable.from([tar]), { verify: async () => undefined }));
    parent = layer.chainId;
  }
  return infos;
}

/** A layer's tar as it is given back. */
async function tarBack(chain: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of await layers.tar(chain)) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

const fileTar = (name: string): Promise<Buffer> => tarOf([{ name, content: name, mode: 0o644 }]);

async function names(chain: string): Promise<string[]> {
  const disk = await VmdkChain.open(await layers.diskOf(chain), (path) => layers.openDisk(path));
  const filesystem = await Ext4Filesystem.open(disk);
  const found: string[] = [];
  for await (const { name } of filesystem.readdir(filesystem.root)) found.push(name);
  await disk.close();
  return found.sort();
}

/** Everything in an image's filesystem, and which paths are one file. */
async function treeOf(chain: string): Promise<{ files: Map<string, Described>; links: string[] }> {
  const disk = await VmdkChain.open(await layers.diskOf(chain), (path) => layers.openDisk(path));
  const { files, links } = await describe(await Ext4Filesystem.open(disk));
  await disk.close();
  return { files, links: [...links.values()].map(String).sort() };
}

it('each layer of a long chain is opened once, not once for each layer above it', async () => {
  const tars = await Promise.all(Array.from({ length: 12 }, (_, i) => fileTar(`f${i}`)));
  const infos = await write(tars);
  expect(new Set(opened).size).toBe(opened.length);
  expect(opened.length).toBeLessThanOrEqual(tars.length);
  expect(await names(infos.at(-1)!.chainId)).toHaveLength(12);
});

it('an empty layer shares the disk of the one below, also for layers above it and after a restart', async () => {
  const [base, first, second, upper] = await write([await fileTar('a'), EMPTY, EMPTY, await fileTar('b')]);
  expect([first!.disk, second!.disk]).toEqual([base!.chainId, base!.chainId]);
  expect(upper!.disk).toBeUndefined();
  expect(new Set([base, first, second, upper].map((info) => info!.chainId)).size).toBe(4);
  expect(await layers.diskOf(second!.chainId)).toBe(await layers.diskOf(base!.chainId));
  expect(await names(upper!.chainId)).toEqual(['a', 'b']);
  const stored = join(directory, `${ROOT}/images`, second!.chainId.slice(7));
  expect((await readdir(stored)).sort()).toEqual(['layer.json', 'tar-recipe']);

  layers = await openLayers();
  expect(layers.list()).toHaveLength(4);
  expect(await layers.diskOf(second!.chainId)).toBe(await layers.diskOf(base!.chainId));
  const [over] = await write([await fileTar('c')], second!.chainId);
  expect(await names(over!.chainId)).toEqual(['a', 'c']);
});

it('a disk stays as long as a layer uses it', async () => {
  const [base, empty] = await write([await fileTar('a'), EMPTY]);
  await expect(layers.delete(base!.chainId)).rejects.toMatchObject({ kind: 'conflict' });
  layers.usedByContainers = () => new Set([empty!.chainId]);
  await expect(layers.delete(empty!.chainId)).rejects.toMatchObject({ kind: 'conflict' });
  layers.usedByContainers = () => new Set();
  await layers.delete(empty!.chainId);
  await layers.delete(base!.chainId);
  expect(await readdir(join(directory, `${ROOT}/images`))).toEqual([]);
  // Data cached for a removed layer is not used for a new one.
  const again = await write([await fileTar('a'), await fileTar('b')]);
  expect(await names(again[1]!.chainId)).toEqual(['a', 'b']);
});

it('layers leave as they came, also after a restart, those without a disk too', async () => {
  const large = await tarOf([{ name: 'large', content: Buffer.alloc(3_000_000, 'ab') }]);
  const twice = await tarOf(['first', 'second'].map((content) => ({ name: 'twice', content })));
  const tars = [await fileTar('a'), EMPTY, large, twice];
  const infos = await write(tars);
  for (const [index, { chainId }] of infos.entries()) expect((await tarBack(chainId)).equals(tars[index]!)).toBe(true);
  layers = await openLayers();
  for (const [index, { chainId }] of infos.entries()) expect((await tarBack(chainId)).equals(tars[index]!)).toBe(true);
  await expect(layers.tar('sha256:none')).rejects.toMatchObject({ kind: 'notFound' });
});

it('a layer whose files were damaged, or that an earlier version stored, is refused by name', async () => {
  const tar = await fileTar('a');
  const [info] = await write([tar]);
  const stored = join(directory, `${ROOT}/images`, info!.chainId.slice(7));
  const recipe = join(stored, 'tar-recipe');
  const plain = gunzipSync(await readFile(recipe));
  plain[20] = (plain[20] as number) ^ 1;
  await writeFile(recipe, gzipSync(plain));
  await expect(tarBack(info!.chainId)).rejects.toThrow(/is damaged: its tar has the digest sha256:.* instead of/);
  const { recipe: _, ...old } = JSON.parse(await readFile(join(stored, 'layer.json'), 'utf8')) as LayerInfo;
  await writeFile(join(stored, 'layer.json'), JSON.stringify(old));
  layers = await openLayers();
  await expect(layers.tar(info!.chainId)).rejects.toMatchObject({ kind: 'unsupported' });
});

it('a layer that an earlier version stored gives a new tar, the same each time, with everything that it changes', async () => {
  const base = await tarOf([
    { name: 'etc/', type: 'directory', mode: 0o755 },
    { name: 'etc/gone', content: 'gone' },
    { name: 'etc/changed', content: 'before' },
    { name: 'dir/', type: 'directory', mode: 0o700, uid: 5, gid: 6 },
    { name: 'dir/below', content: 'below' },
  ]);
  const upper = await tarOf([
    { name: 'etc/.wh.gone', content: '' },
    { name: 'etc/changed', content: 'after', mode: 0o4711, uid: 7, mtime: new Date(5_000) },
    { name: '.wh.dir', content: '' },
    { name: 'link', type: 'symlink', linkname: 'etc/changed' },
    { name: 'hard', type: 'link', linkname: 'etc/changed' },
    // In containers these are the engine's; here they are the image's.
    { name: 'etc/hosts', content: '', mode: 0o755 },
    { name: 'dev/', type: 'directory', mode: 0o755 },
  ]);
  const infos = await write([base, upper, EMPTY]);
  const readers = new DiskReaders();
  const { datastore } = localStore(directory, ROOT);
  const openBlocks = (path: string): ReturnType<Layers['openBlocks']> => layers.openBlocks(path);
  const place = { openBlocks, datastore, spoolDir: join(directory, 'spool') };
  layers.differences = (...of) => imageDifferences(readers, place, ...of);
  try {
    const tars: Buffer[] = [];
    for (const { chainId: chain } of infos) {
      const [tar, again] = [await readAll(await layers.newTar(chain)), await readAll(await layers.newTar(chain))];
      expect(again.equals(tar)).toBe(true);
      tars.push(tar);
    }
    expect(tars[2]!.equals(EMPTY)).toBe(true);
    const rewritten = await write(tars);
    const [was, is] = [await treeOf(infos[2]!.chainId), await treeOf(rewritten[2]!.chainId)];
    expect(is).toEqual(was);
    expect([...is.files.keys()]).toEqual(expect.arrayContaining(['/etc/hosts', '/dev', '/hard']));
    expect(is.links).toContain('/etc/changed,/hard');
    await layers.delete(infos[2]!.chainId);
  } finally {
    readers.close();
  }
});

it('a layer is kept while its tar is read', async () => {
  const [info] = await write([await fileTar('a')]);
  const tar = await layers.tar(info!.chainId);
  await expect(layers.delete(info!.chainId)).rejects.toMatchObject({ kind: 'conflict' });
  tar.destroy();
  await once(tar, 'close');
  await layers.delete(info!.chainId);
});

it('the first layer of an image may be empty', async () => {
  const [empty, upper] = await write([EMPTY, await fileTar('a')]);
  expect(empty!.disk).toBeUndefined();
  expect(await names(empty!.chainId)).toEqual([]);
  expect(await names(upper!.chainId)).toEqual(['a']);
});

it('layers written concurrently keep to the quota together, and refused ones leave nothing behind', async () => {
  const limits = { ...storageLimits(), imageQuota: 250 };
  const room = new StorageReserve({}, limits, () => layers.list().reduce((sum, one) => sum + one.size, 0));
  layers = await openLayers(room);
  // Each alone is within the quota, and grows without knowing about the others.
  const tars = await Promise.all(['a', 'b', 'c'].map((name) => tarOf([{ name, content: Buffer.alloc(100, name) }])));
  const ends = await Promise.allSettled(
    tars.map((tar) => {
      const diffId = `sha256:${sha256(tar)}`;
      const layer = { chainId: chainId(null, diffId), parent: null, diffId };
      return layers.write(layer, Readable.from([tar]), { verify: async () => undefined });
    }),
  );
  expect(ends.filter(({ status }) => status === 'fulfilled')).toHaveLength(2);
  expect(String(ends.find((end) => end.status === 'rejected')?.reason)).toMatch(
    /no space left on device: images may take/,
  );
  expect(room.quota).toEqual({ used: 200, most: 250 });
  expect(await readdir(join(directory, ROOT, 'images'))).toHaveLength(2);
});

it('a file of more bytes than images may take is refused before it is unpacked', async () => {
  layers = await openLayers(new StorageReserve({}, { ...storageLimits(), imageQuota: 2 ** 30 }, () => 0));
  const header = (await tarOf([{ name: 'zeros', content: 'x' }])).subarray(0, 512);
  const sized = Buffer.from(header);
  sized.write(`${(10 * 2 ** 30).toString(8).padStart(11, '0')}`.slice(-12), 124, 12, 'latin1');
  sized.fill(' ', 148, 156);
  const sum = sized.reduce((total, byte) => total + byte, 0);
  sized.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1');
  let sent = 0;
  const bomb = Readable.from(
    (function* () {
      yield sized;
      for (; sent < 10 * 2 ** 30; sent += 1 << 20) yield Buffer.alloc(1 << 20);
    })(),
  );
  const write = layers.write({ chainId: 'sha256:b', parent: null, diffId: 'sha256:b' }, bomb, {
    verify: async () => undefined,
  });
  await expect(write).rejects.toThrow('images may take 1.074GB in all (disk quota exceeded)');
  expect(sent).toBeLessThan(64 << 20);
  expect(await readdir(join(directory, 'spool'))).toEqual([]);
});

it('a layer whose digest is not known before its end is the same layer, once it is published', async () => {
  const [base] = await write([await fileTar('a')]);
  const tar = await fileTar('b');
  const diffId = `sha256:${sha256(tar)}`;
  const prepared = await layers.prepare(base!.chainId, Readable.from([tar.subarray(0, 700), tar.subarray(700)]));
  expect(prepared).toMatchObject({ diffId, chainId: chainId(base!.chainId, diffId), tarSize: tar.length });
  expect(layers.has(prepared.chainId)).toBe(false);
  await prepared.publish();
  await prepared.discard();
  expect(await names(prepared.chainId)).toEqual(['a', 'b']);
  expect(await tarBack(prepared.chainId)).toEqual(tar);
  const [over] = await write([await fileTar('c')], prepared.chainId);
  expect(await names(over!.chainId)).toEqual(['a', 'b', 'c']);

  const again = await layers.prepare(base!.chainId, Readable.from([tar]));
  expect(await again.publish()).toEqual(layers.get(prepared.chainId));
  await again.discard();
  const empty = await layers.prepare(base!.chainId, Readable.from([EMPTY]));
  expect(await empty.publish()).toMatchObject({ disk: base!.chainId });
  await empty.discard();
  expect(await readdir(join(directory, 'spool'))).toEqual([]);
});

it('a layer that is not published, or no tar, leaves nothing', async () => {
  const dropped = await layers.prepare(null, Readable.from([await fileTar('a')]));
  await dropped.discard();
  const garbage = Readable.from([Buffer.from('no tar'.repeat(200))]);
  await expect(layers.prepare(null, garbage)).rejects.toMatchObject({ kind: 'invalid' });
  const broken = new Readable({ read: () => broken.destroy(new Error('the guest is gone')) });
  await expect(layers.prepare(null, broken)).rejects.toThrow('the guest is gone');
  const abort = new AbortController();
  const waiting = layers.prepare(null, new Readable({ read: () => undefined }), abort.signal);
  abort.abort();
  await expect(waiting).rejects.toMatchObject({ kind: 'cancelled' });
  expect(layers.list()).toEqual([]);
  expect(await readdir(join(directory, 'spool'))).toEqual([]);
});
