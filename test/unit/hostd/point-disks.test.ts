/** Points of volumes' disks, made while a VM writes to them, and by a hostd that is killed in between. */
import { existsSync } from 'node:fs';
import { link, mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createChild, createEmpty, VmdkChain } from '../../../src/disk/index.js';
import { createDisk } from '../../../src/hostd/disks/disk-files.js';
import { copyRecord, recordDisk } from '../../../src/hostd/disks/disk-records.js';
import { OpenDisks } from '../../../src/hostd/disks/open-disks.js';
import { makePoint, settleSwitch } from '../../../src/hostd/disks/point-disks.js';

const MIB = 2 ** 20;
const POINT = '0123456789abcdef';
let store: string;
let disk: string;
let point: string;

beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), 'caisson-points-'));
  disk = join(store, 'VIC/x/volumes/v/v.vmdk');
  point = join(store, `VIC/x/volumes/points/${POINT}.vmdk`);
  await mkdir(dirname(disk), { recursive: true });
  await createEmpty(disk, MIB);
  await recordDisk(disk);
});

afterEach(() => rm(store, { recursive: true }));

/** The files that a VM with the disk gets. */
async function start(path: string, readOnly = false): Promise<string[]> {
  const vm = { disks: [{ bus: 0, unit: 0, path, readOnly }], extraConfig: new Map([['caisson.vch', 'x']]) };
  const opened = await OpenDisks.open(vm, [{ name: 'datastore1', directory: store }]);
  await opened.close();
  return opened.disks.flatMap(({ own, parents }) => [own.path, ...parents.map((file) => file.path)]);
}

const left = async (): Promise<string[]> => (await readdir(dirname(disk))).sort();
const WHOLE = ['v.vmdk', 'v.vmdk.caisson-disk'];

describe('a point', () => {
  it('has the disk’s content, and the disk stands on it', async () => {
    const before = (await stat(disk)).ino;
    await makePoint(disk, point, null);
    expect((await stat(point)).ino).toBe(before);
    expect(await start(disk)).toEqual([disk, point]);
    const clone = join(store, 'VIC/x/volumes/c/c.vmdk');
    await createDisk(clone, point, 0);
    expect(await start(clone)).toEqual([clone, point]);
    expect(await left()).toEqual(WHOLE);
    await expect(makePoint(disk, point, null)).rejects.toMatchObject({ code: 'EEXIST' });
    expect(await start(disk)).toEqual([disk, point]);
    expect(await left()).toEqual(WHOLE);
  });

  it('is written to by nobody, and stood on only from beside it', async () => {
    await makePoint(disk, point, null);
    await expect(start(point)).rejects.toThrow('belongs to a snapshot of a volume');
    expect(await start(point, true)).toEqual([point]);
    const foreign = join(store, 'VIC/y/volumes/w/w.vmdk');
    await mkdir(dirname(foreign), { recursive: true });
    await createChild(foreign, point);
    await expect(start(foreign)).rejects.toThrow('not in the directory of its images');
  });

  it('is not made if the VM cannot be switched', async () => {
    const refuse = {
      pid: process.pid,
      switchDisk: () => Promise.reject(new Error('QEMU has ended')),
      release: async () => undefined,
    };
    await expect(makePoint(disk, point, refuse)).rejects.toThrow('QEMU has ended');
    expect([await left(), await readdir(dirname(point))]).toEqual([WHOLE, []]);
    expect(await start(disk)).toEqual([disk]);
  });
});

describe('a switch that was interrupted', () => {
  /** What a hostd that is killed leaves: after the new disk, after the point, or after the VM was switched. */
  async function interrupt(step: 'next' | 'point'): Promise<void> {
    await mkdir(dirname(point), { recursive: true });
    await createChild(`${disk}.switching`, disk, `../points/${POINT}.vmdk`);
    if (step === 'next') return;
    await link(disk, point);
    await copyRecord(disk, point);
  }

  it.each([
    ['next', 'nobody', [false]],
    ['point', 'nobody', [true]],
    ['point', 'old', [false]],
    ['point', 'new', [true]],
  ] as const)('after the %s, with %s open for writing, is taken to an end', async (step, writer, [switched]) => {
    await interrupt(step);
    const file = writer === 'nobody' ? null : await open(writer === 'old' ? disk : `${disk}.switching`, 'r+');
    try {
      await settleSwitch(disk, [
        { pid: process.pid, switchDisk: async () => undefined, release: async () => undefined },
      ]);
      if (file !== null) expect((await file.stat()).ino).toBe((await stat(disk)).ino);
    } finally {
      await file?.close();
    }
    expect(await left()).toEqual(WHOLE);
    expect(existsSync(point)).toBe(switched);
    expect(await start(disk)).toEqual(switched ? [disk, point] : [disk]);
    const chain = await VmdkChain.open(disk);
    await chain.close();
  });

  it('is settled before the next one', async () => {
    await interrupt('next');
    await makePoint(disk, point, null);
    expect(await start(disk)).toEqual([disk, point]);
  });

  it('with a new disk that is damaged leaves the old one', async () => {
    await interrupt('point');
    await writeFile(`${disk}.switching`, 'no disk');
    await settleSwitch(disk, []);
    expect(await left()).toEqual(WHOLE);
    expect(await start(disk)).toEqual([disk]);
    expect((await readFile(disk)).length).toBeGreaterThan(0);
  });
});
