/** What is read of volumes for backups: together the same as all of the volume, and of a change only what has changed. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { VchConfig } from '../../../port-layer/config.js';
import { DiskReaders } from '../../../port-layer/disks/disk-readers.js';
import { UNIT_BYTES, VolumeBackups } from '../../../port-layer/files/volume-backups.js';
import { type Freeze, VolumeLife } from '../../../port-layer/storage/volume-life.js';
import { MAX_POINTS } from '../../../port-layer/storage/volume-record.js';
import { VolumeUse, type VolumeUser } from '../../../port-layer/storage/volume-use.js';
import { Volumes } from '../../../port-layer/storage/volumes.js';
import { sha256 } from '../../../src/common/ids.js';
import { VmdkChain } from '../../../src/disk/index.js';
import { DeltaDisk } from '../../../src/disk/vmdk/delta.js';
import { localStore } from '../../support/local-store.js';
import { temporaryDirectory } from '../disk/support.js';

const CONFIG = { id: 'a'.repeat(32), imageStore: { datastore: 'datastore1', path: 'store' } } as VchConfig;
const ROOT = `store/VIC/${CONFIG.id}`;
const MIB = 2 ** 20;
/** In the middle of the disk, where the filesystem has nothing. */
const FREE = 16 * MIB;

let directory: { path: string; remove(): Promise<void> };
let users: VolumeUser[];
let frozen: string[];
let readers: DiskReaders;

beforeAll(() => {
  readers = new DiskReaders();
});
afterAll(() => readers.close());
beforeEach(async () => {
  directory = await temporaryDirectory();
  users = [];
  frozen = [];
});
afterEach(() => directory.remove());

const freeze: Freeze = async (_user, volume) => {
  frozen.push(`${volume} frozen`);
  return {
    check: async () => void frozen.push(`${volume} checked`),
    letGo: async () => void frozen.push(`${volume} thawed`),
  };
};

async function endpoint() {
  const files = localStore(directory.path, ROOT);
  const use = new VolumeUse(() => users);
  const layers = { diskOf: () => Promise.reject(new Error('no layers')) } as never;
  const spoolDir = join(directory.path, 'spool');
  const volumes = new Volumes(files, CONFIG, layers, use, spoolDir);
  await volumes.load();
  const life = new VolumeLife(volumes, use, freeze);
  await life.load();
  return { volumes, life, backups: new VolumeBackups({ volumes, life, use, readers, spoolDir }) };
}
type Endpoint = Awaited<ReturnType<typeof endpoint>>;

async function make(at: Endpoint, name: string, capacityBytes = 24 * MIB): Promise<void> {
  await at.volumes.create({ name, driver: 'local', labels: null, options: null, capacityBytes });
}

/** Writes to the disk of a volume, past its filesystem. */
async function write(at: Endpoint, name: string, offset: number, data: Buffer): Promise<void> {
  const path = join(directory.path, at.volumes.diskPath(name));
  const top = await VmdkChain.open(path);
  const { cid, parentCid, parentHint } = top.info;
  await top.close();
  const parent = parentHint === null ? null : await VmdkChain.open(join(path, '..', parentHint));
  const disk = await DeltaDisk.open(path, parent);
  await disk.write(offset, data);
  await disk.finish({ cid, parentCid, parentHint });
  await parent?.close();
}

const isZero = (data: Buffer): boolean => data.equals(Buffer.alloc(data.length));

/** The disk as it is, unit by unit. */
async function content(at: Endpoint, name: string): Promise<Map<number, string>> {
  const chain = await VmdkChain.open(join(directory.path, at.volumes.diskPath(name)));
  const units = new Map<number, string>();
  for (let offset = 0; offset < chain.size; offset += UNIT_BYTES) {
    const data = await chain.read(offset, Math.min(UNIT_BYTES, chain.size - offset));
    if (!isZero(data)) units.set(offset / UNIT_BYTES, sha256(data));
  }
  await chain.close();
  return units;
}

interface Kept {
  base: string | null;
  mark: string | null;
  units: Map<number, string>;
  read: number;
}

/** Reads a volume and applies that to what was kept before. */
async function backup(at: Endpoint, name: string, earlier: Kept[] = []): Promise<Kept> {
  const kept: Kept = { base: null, mark: null, units: new Map(), read: 0 };
  const since = earlier.flatMap(({ mark }) => mark ?? []);
  for await (const piece of at.backups.read([{ volume: name, since }]))
    if (piece.type === 'volume') {
      kept.base = piece.base;
      kept.mark = piece.mark;
      const base = earlier.find(({ mark }) => mark === piece.base && mark !== null);
      kept.units = new Map(base?.units);
    } else if (piece.type === 'unit') {
      kept.read++;
      if (!isZero(piece.data)) kept.units.set(piece.unit, sha256(piece.data));
      else kept.units.delete(piece.unit);
    }
  return kept;
}

describe('a backup of a volume', () => {
  it('has all of it; the next one reads what has changed, and both give the whole', async () => {
    const at = await endpoint();
    await make(at, 'v');
    await write(at, 'v', FREE, Buffer.alloc(3 * MIB, 7));
    const first = await backup(at, 'v');
    expect(first.base).toBeNull();
    expect(first.units).toEqual(await content(at, 'v'));
    await write(at, 'v', FREE + MIB, Buffer.alloc(10, 8));
    await write(at, 'v', FREE + 2 * MIB, Buffer.alloc(MIB, 0));
    const second = await backup(at, 'v', [first]);
    expect(second.base).toBe(first.mark);
    expect(second.read).toBe(2);
    expect(second.units).toEqual(await content(at, 'v'));
    expect(second.units.size).toBe(first.units.size - 1);
    // Without a base it is the same.
    expect((await backup(at, 'v')).units).toEqual(second.units);
  });

  it('of which nothing has changed reads nothing, and makes no further disk', async () => {
    const at = await endpoint();
    await make(at, 'v');
    const first = await backup(at, 'v');
    const second = await backup(at, 'v', [first]);
    expect(second).toMatchObject({ base: first.mark, mark: first.mark, read: 0 });
    expect(second.units).toEqual(first.units);
    expect(at.volumes.get('v')?.points).toHaveLength(1);
    // An endpoint that is started later knows the same state.
    const later = await endpoint();
    expect((await backup(later, 'v', [first])).read).toBe(0);
  });

  it('goes by the newest state that the volume still stands on', async () => {
    const at = await endpoint();
    await make(at, 'v');
    const kept: Kept[] = [];
    for (let n = 0; n < 5; n++) {
      await write(at, 'v', FREE + n * MIB, Buffer.alloc(MIB, n + 1));
      kept.unshift(await backup(at, 'v', kept));
      expect(kept[0]!.units).toEqual(await content(at, 'v'));
    }
    await write(at, 'v', FREE, Buffer.alloc(MIB, 99));
    expect((await backup(at, 'v', kept)).read).toBe(1);
    // The two newest are lost.
    const older = await backup(at, 'v', kept.slice(2));
    expect(older.base).toBe(kept[2]!.mark);
    expect(older.read).toBe(3);
    expect(older.units).toEqual(await content(at, 'v'));
  });

  it('trusts no state whose file has become another one, and no mark of another volume', async () => {
    const at = await endpoint();
    await make(at, 'v');
    const first = await backup(at, 'v');
    await write(at, 'v', FREE, Buffer.alloc(MIB, 1));
    const point = join(directory.path, ROOT, 'volumes/points', `${at.volumes.get('v')!.points![0]}.vmdk`);
    const before = readFileSync(point);
    writeFileSync(point, Buffer.concat([before, Buffer.alloc(65_536)]));
    const second = await backup(at, 'v', [first]);
    expect(second.base).toBeNull();
    expect(second.units).toEqual(await content(at, 'v'));
    writeFileSync(point, before);
    for (const mark of ['', 'x', `${'0'.repeat(16)}.1.00000000`, first.mark!.replace(/.$/, 'x'), '../../etc/passwd']) {
      const third = await backup(at, 'v', [{ ...first, mark }]);
      expect(third.base).toBeNull();
      expect(third.units).toEqual(await content(at, 'v'));
    }
    await make(at, 'w');
    expect((await backup(at, 'w', [first])).base).toBeNull();
  });

  it('goes on when the volume is made larger', async () => {
    const at = await endpoint();
    await make(at, 'v');
    const first = await backup(at, 'v');
    await at.life.grow('v', 32 * MIB);
    await write(at, 'v', 28 * MIB, Buffer.alloc(MIB, 5));
    const second = await backup(at, 'v', [first]);
    expect(second.base).toBe(first.mark);
    expect(second.units).toEqual(await content(at, 'v'));
    // A unit that has become longer is a unit that has changed, whatever the disks say.
    await make(at, 'odd', 24 * MIB + 65_536);
    const odd = await backup(at, 'odd');
    await at.life.grow('odd', 26 * MIB);
    const grown = await backup(at, 'odd', [odd]);
    expect(grown.base).toBeNull();
    expect(grown.units).toEqual(await content(at, 'odd'));
  });

  it('goes on where there cannot be another point, as long as nobody writes to it', async () => {
    const at = await endpoint();
    await make(at, 'v');
    for (let n = 1; n < MAX_POINTS; n++) await at.life.snapshot('v', `s${n}`);
    await write(at, 'v', FREE, Buffer.alloc(65_536, 1));
    const last = [await backup(at, 'v')];
    await write(at, 'v', FREE + MIB, Buffer.alloc(65_536, 1));
    const next = await backup(at, 'v', last);
    expect(next).toMatchObject({ base: last[0]!.mark, mark: null, read: 1 });
    expect(next.units).toEqual(await content(at, 'v'));
  });
});

describe('volumes of one running container', () => {
  it('are frozen together, and let go before they are read', async () => {
    const at = await endpoint();
    for (const name of ['a', 'b', 'c']) await make(at, name);
    const mounts = ['a', 'b'].map((volume) => ({ volume, path: `/${volume}`, readOnly: false }));
    users = [
      { spec: { id: '1', name: 'one', volumes: mounts } as never, running: true, poweredOn: true, state: 'running' },
    ];
    const order: string[] = [];
    for await (const piece of at.backups.read(['b', 'c', 'a'].map((volume) => ({ volume, since: [] }))))
      if (piece.type === 'volume')
        order.push(`${piece.volume} after ${frozen.filter((one) => /thawed/.test(one)).length}`);
    expect(order).toEqual(['b after 2', 'c after 2', 'a after 2']);
    expect(frozen).toEqual(['a frozen', 'b frozen', 'a checked', 'b checked', 'a thawed', 'b thawed']);
  });

  it('are not kept if one of them did not stay frozen', async () => {
    const at = await endpoint();
    for (const name of ['a', 'b']) await make(at, name);
    const mounts = ['a', 'b'].map((volume) => ({ volume, path: `/${volume}`, readOnly: false }));
    users = [
      { spec: { id: '1', name: 'one', volumes: mounts } as never, running: true, poweredOn: true, state: 'running' },
    ];
    const life = new VolumeLife(at.volumes, new VolumeUse(() => users), async (_user, volume) => ({
      check: () => (volume === 'b' ? Promise.reject(new Error('thawed')) : Promise.resolve()),
      letGo: async () => undefined,
    }));
    await expect(life.contentsToRead(['a', 'b'])).rejects.toThrow('thawed');
    // What is left is only what the volumes stand on.
    for (const name of ['a', 'b']) expect(await content(at, name)).toBeDefined();
  });
});
