/** Containers' disks that harm their reader: the call fails, and the engine continues. */
import { mkdir, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { PassThrough, Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterEach, beforeAll, expect, it, vi } from 'vitest';
import { DiskReaders } from '../../../port-layer/disks/disk-readers.js';
import type { DiskSource } from '../../../port-layer/disks/disk-source.js';
import type { ReaderLimits } from '../../../port-layer/disks/reader-watch.js';
import type { ContainerFiles } from '../../../port-layer/files/container-files.js';
import { createChild, FileBlocks } from '../../../src/disk/index.js';
import { HostileExt4, makeExt4, writeToDisk } from '../../support/hostile-ext4.js';
import { hasRun, CONTAINER_ID as ID, stoppedContainer } from '../../support/stopped-container.js';
import { readAll, Stack, tarOf, temporaryDirectory } from '../disk/support.js';

const DIRECTORY = 2;
const FILE = 1;
const unreadable = (why: string): RegExp => new RegExp(`^the filesystem of container ${ID} cannot be read: ${why}`);

let base: Buffer;
let directory: string;
let remove: () => Promise<void>;
let readers: DiskReaders;
let files: ContainerFiles;
let disk: string;
let layer: string;

// The tests start many processes, or have them do much.
vi.setConfig({ testTimeout: 90_000 });

beforeAll(async () => {
  const made = await temporaryDirectory();
  base = await makeExt4(made.path, 40);
  await made.remove();
});
afterEach(async () => {
  readers.close();
  await remove();
});

/** A container whose readers have these limits. */
async function containerWith(limits: ConstructorParameters<typeof DiskReaders>[0] = {}): Promise<void> {
  ({ path: directory, remove } = await temporaryDirectory());
  const stack = new Stack(directory, undefined, basename(directory));
  await stack.add(await tarOf([{ name: 'large', content: Buffer.alloc(24 << 20, 'x') }]));
  readers = new DiskReaders(limits);
  layer = stack.top;
  const made = await stoppedContainer(directory, stack.top, readers);
  ({ files, disk } = made);
  hasRun(made.container);
}

/** The container's disk, for concurrent calls. */
function source(): DiskSource {
  return {
    what: 'a disk',
    path: `${ID}/${ID}.vmdk`,
    layers: [basename(layer)],
    openBlocks: (path) => FileBlocks.open(join(directory, path)),
    datastore: null as never,
    spoolDir: directory,
  };
}

it('directories that are hard links of directories', async () => {
  await containerWith();
  const hostile = new HostileExt4(base);
  const chain = Array.from({ length: 30 }, (_, i) => hostile.find(`d${i}`));
  for (const [i, ino] of chain.slice(0, -1).entries())
    hostile.setDirectory(
      hostile.firstBlock(ino),
      Array.from({ length: 8 }, (_, n) => ({ name: `n${n}`, ino: chain[i + 1]!, type: DIRECTORY })),
    );
  await writeToDisk(disk, hostile.image);
  const refused = unreadable('damaged ext4: directory \\d+ is in two places');
  await expect(files.changes(ID)).rejects.toThrow(refused);
  await expect(files.size(ID)).rejects.toThrow(refused);
  await expect(readAll(await files.export(ID))).rejects.toThrow(refused);
});

/** A directory of 1500 blocks full of names. */
function manyNames(): Buffer {
  const hostile = new HostileExt4(base);
  const ino = hostile.find('d0');
  const [first, count] = [5000, 1500];
  const file = hostile.find('d1');
  hostile.setExtents(ino, [{ logical: 0, start: first, count }], 0, count * 4096);
  for (let block = 0; block < count; block++)
    hostile.setDirectory(
      first + block,
      Array.from({ length: 340 }, (_, i) => ({
        name: (block * 340 + i).toString(36).padStart(4, '0'),
        ino: file,
        type: FILE,
      })),
    );
  return hostile.image;
}

it('a disk that needs more memory than there is', async () => {
  // It collects garbage for a long time before it ends, and is silent meanwhile.
  const long = 600_000;
  await containerWith({ heapMiB: 32, silentMs: long, silentCpuMs: long, stepMs: long, stepCpuMs: long });
  await writeToDisk(disk, manyNames());
  // Not the size, which is given up after some seconds.
  await expect(files.changes(ID)).rejects.toThrow(unreadable('reading it takes too much memory'));
  // The next call is served by another process.
  await expect(files.stat(ID, '/d2/a')).resolves.toMatchObject({ name: 'a', size: 5000 });
});

it('a disk whose reader takes too long to answer', async () => {
  await containerWith({ stepMs: 1000 });
  // It keeps sending signs of life, but never finishes.
  const opening = readers.call().open({
    what: `container ${ID}`,
    path: `${ID}/${ID}.vmdk`,
    layers: [],
    openBlocks: () => new Promise(() => undefined),
    datastore: null as never,
    spoolDir: directory,
  });
  await expect(opening).rejects.toThrow(unreadable('reading it takes too long'));
});

/** The process that sends an export whose client has stopped reading. */
async function exporting(): Promise<{ pid: number; rest: () => Promise<string> }> {
  const tar = await files.export(ID);
  const iterator = tar[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  await iterator.next();
  const [pid] = readers.busy;
  return { pid: pid!, rest: () => text({ [Symbol.asyncIterator]: () => iterator } as never) };
}

it('a reader that dies fails its own call, and no other', async () => {
  await containerWith();
  const { pid, rest } = await exporting();
  process.kill(pid, 'SIGKILL');
  await expect(rest()).rejects.toThrow(unreadable('its reader ended \\(SIGKILL\\)'));
  await expect(files.changes(ID)).resolves.toEqual([]);
});

it('a reader that is silent is ended', async () => {
  await containerWith();
  // So that there is a process.
  await files.changes(ID);
  const limits = (readers as unknown as { limits: ReaderLimits }).limits;
  const { silentMs } = limits;
  const change = readers.call();
  const held = await change
    .open({
      ...source(),
      openBlocks: async () => {
        process.kill(readers.busy[0]!, 'SIGSTOP');
        // Not earlier: on a busy machine a good one may be silent that long, too.
        limits.silentMs = 1000;
        return FileBlocks.open(disk);
      },
    })
    .catch((error: Error) => error.message);
  limits.silentMs = silentMs;
  expect(held).toBe('the filesystem of a disk cannot be read: its reader does not answer');
  await expect(files.changes(ID)).resolves.toEqual([]);
});

/** A separate client that reads a bit of a disk and stops, and a function that reads on. */
async function stalled(): Promise<() => Promise<number>> {
  const call = readers.call();
  const opened = await call.open(source());
  const pieces = async function* (): AsyncGenerator<Buffer> {
    for await (const one of opened.tree('/', { content: true })) if (Buffer.isBuffer(one)) yield one;
  };
  const data = Readable.from(call.client.sent(pieces()), { objectMode: false });
  call.client.serves((error) => data.destroy(error));
  data.on('error', () => undefined).once('close', () => void opened.close());
  const iterator = data[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  await iterator.next();
  return async () => {
    let length = 0;
    for (let one = await iterator.next(); one.done !== true; one = await iterator.next()) length += one.value.length;
    return length;
  };
}

it('clients that stop reading hold up nobody, and may continue later', async () => {
  await containerWith({ slowClientMs: 100 });
  const first = await Promise.all(Array.from({ length: 8 }, stalled));
  expect(await files.stat(ID, '/large')).toMatchObject({ size: 24 << 20 });
  expect(await files.changes(ID)).toEqual([]);
  const lengths = await Promise.all(first.map((rest) => rest()));
  expect(Math.min(...lengths)).toBeGreaterThanOrEqual(23 << 20);
  await expect.poll(() => readers.busy, { timeout: 30_000 }).toEqual([]);
});

it('when others wait, the slowest of many slow clients is given up', async () => {
  await containerWith({ slowClientMs: 100 });
  const slow = await Promise.all(Array.from({ length: 16 }, stalled));
  expect(await files.stat(ID, '/large')).toMatchObject({ size: 24 << 20 });
  const ends = await Promise.allSettled(slow.map((rest) => rest()));
  const refused = ends.flatMap((end) => (end.status === 'rejected' ? [String(end.reason)] : []));
  expect(refused.length).toBeGreaterThan(0);
  expect(refused.length).toBeLessThan(16);
  expect(refused[0]).toMatch(/its client is slow, and others wait/);
  await expect.poll(() => readers.busy, { timeout: 30_000 }).toEqual([]);
});

it('a client that neither reads nor sends for long is given up', async () => {
  await containerWith({ clientMs: 300, slowClientMs: 100 });
  const { rest } = await exporting();
  await expect.poll(() => readers.busy, { timeout: 30_000 }).toEqual([]);
  await expect(rest()).rejects.toThrow(/its client did nothing for/);
  const silent = new PassThrough();
  silent.write(Buffer.alloc(100));
  const options = { keepKind: false, asUser: false };
  await expect(files.extract(ID, '/', silent, options)).rejects.toThrow(/its client did nothing for/);
  expect(silent.destroyed).toBe(true);
});

it('a disk that names another container’s as its parent', async () => {
  await containerWith();
  const other = join(directory, 'other', 'other.vmdk');
  await mkdir(dirname(other));
  await createChild(other, join(directory, `${basename(directory)}0.vmdk`)).catch(() => createChild(other, disk));
  const forged = join(directory, 'forged.vmdk');
  await createChild(forged, other, '../other/other.vmdk');
  await rename(forged, disk);
  await expect(files.changes(ID)).rejects.toThrow(
    unreadable('it names other/other.vmdk as its parent, which is not the layer it stands on'),
  );
});

it('several calls run side by side, and their processes end when they are not needed', async () => {
  await containerWith({ idleMs: 50, lastIdleMs: 500 });
  const sizes = await Promise.all(Array.from({ length: 20 }, () => files.size(ID)));
  expect(new Set(sizes).size).toBe(1);
  await expect.poll(() => readers.size, { timeout: 30_000 }).toBeLessThanOrEqual(1);
  await expect.poll(() => readers.size, { timeout: 30_000 }).toBe(0);
});
