import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { VchConfig } from '../../../port-layer/config.js';
import { DiskReaders } from '../../../port-layer/disks/disk-readers.js';
import type { ContainerSpec, NewVolume, VolumeMount } from '../../../port-layer/index.js';
import { DatastoreBlocks } from '../../../port-layer/storage/datastore-blocks.js';
import { volumeDiskPath, volumeDisks, volumeId } from '../../../port-layer/storage/volume-disks.js';
import { VolumeUse, type VolumeUser } from '../../../port-layer/storage/volume-use.js';
import { Volumes } from '../../../port-layer/storage/volumes.js';
import { ChangedDisk, Ext4Filesystem, VmdkChain } from '../../../src/disk/index.js';
import { asDockerSays, sayingAsDocker } from '../../support/docker-words.js';
import { localStore } from '../../support/local-store.js';
import { fsck, Stack, tarOf, temporaryDirectory } from '../disk/support.js';

const CONFIG = { id: 'a'.repeat(32), imageStore: { datastore: 'datastore1', path: 'store' } } as VchConfig;
const mountOf = (volume: string, path = `/${volume}`, readOnly = false): VolumeMount => ({ volume, path, readOnly });
const user = (id: string, state: VolumeUser['state'], ...volumes: VolumeMount[]): VolumeUser => ({
  spec: { id, name: `name-${id}`, volumes } as ContainerSpec,
  state,
  running: state === 'running',
  poweredOn: false,
});

describe('the disks of volumes', () => {
  it('take the units after the container’s own, skipping the controller’s, each once', () => {
    const volumes = ['a', 'b', 'a', 'c', 'd', 'e', 'f', 'g', 'h'].map((name) => mountOf(name));
    expect(volumeDisks({ volumes }).map(({ volume, unit }) => `${volume}${unit}`)).toEqual([
      'a1',
      'b2',
      'c3',
      'd4',
      'e5',
      'f6',
      'g8',
      'h9',
    ]);
    expect(volumeDisks({})).toEqual([]);
    const many = Array.from({ length: 60 }, (_, i) => mountOf(`v${i}`));
    expect(() => volumeDisks({ volumes: many })).toThrow('can have 59 volumes, not 60');
    const places = volumeDisks({ volumes: many.slice(1) }).map(({ bus, unit }) => `${bus}:${unit}`);
    expect(new Set(places).size).toBe(59);
    expect([13, 14, 20, 21, 28, 29, 58].map((index) => places[index])).toEqual([
      '0:15',
      '1:0',
      '1:6',
      '1:8',
      '1:15',
      '2:0',
      '3:15',
    ]);
    expect(places.filter((place) => place.endsWith(':7'))).toEqual([]);
  });

  it('are writable when one of their mounts is', () => {
    const volumes = [mountOf('a', '/a', true), mountOf('b', '/b', true), mountOf('a', '/c')];
    expect(volumeDisks({ volumes }).map(({ readOnly }) => readOnly)).toEqual([false, true]);
  });

  it('are not those that the guest mounts, of which only what is in memory is for one container', () => {
    const mounted = (volume: string, type: 'tmpfs' | 'nfs'): VolumeMount => ({
      ...mountOf(volume),
      mount: { type, device: ':/x', flags: 0, data: '' },
    });
    const volumes = [mounted('m', 'tmpfs'), mounted('n', 'nfs'), mountOf('d')];
    expect(volumeDisks({ volumes }).map(({ volume }) => volume)).toEqual(['d']);
    const use = new VolumeUse(() => [user('1', 'running', ...volumes)]);
    expect(use.admit(user('2', 'created', mounted('n', 'nfs')).spec)).toBeNull();
    expect(() => use.admit(user('2', 'created', mounted('m', 'tmpfs')).spec)).toThrow(
      'a volume in memory is in that of one',
    );
    expect(use.mountedIn('n', '2')?.spec.id).toBe('1');
    expect(use.mountedIn('n', '1')).toBeUndefined();
  });

  it('have valid paths for any name', () => {
    expect(volumeDiskPath(CONFIG, 'A')).toMatch(/^store\/VIC\/a{32}\/volumes\/([0-9a-f]{64})\/\1\.vmdk$/);
    expect(volumeId('A')).not.toBe(volumeId('a'));
  });
});

describe('the use of a volume', () => {
  const MESSAGE =
    'volume "v" is in use by container name-1 (1): a volume on a virtual disk can be written to by one running container at a time';

  it.each([
    ['running', false, false, true],
    ['starting', false, false, true],
    ['running', true, false, true],
    ['running', false, true, true],
    ['running', true, true, false],
    ['exited', false, false, false],
    ['created', false, false, false],
  ] as const)('beside one that is %s (read-only %s), read-only %s: refused %s', (state, theirs, ours, refused) => {
    const first = user('1', state, mountOf('v', '/x', theirs));
    const use = new VolumeUse(() => [first]);
    if (state === 'starting') use.admit(first.spec);
    const { spec } = user('2', 'starting', mountOf('other'), mountOf('v', '/y', ours));
    if (refused) expect(() => use.admit(spec)).toThrow(MESSAGE);
    else expect(use.admit(spec)).toBeNull();
  });

  it('is refused while another machine is still on, but not to the same container', () => {
    const one = { ...user('1', 'exited', mountOf('v')), poweredOn: true };
    const use = new VolumeUse(() => [one]);
    expect(() => use.admit(user('2', 'starting', mountOf('v')).spec)).toThrow(MESSAGE);
    expect(use.admit(one.spec)).toBeNull();
  });

  it('by the endpoint makes a start wait, unless both only read', async () => {
    const use = new VolumeUse(() => []);
    const release = await use.hold('v', { write: false });
    await use.free(user('1', 'starting', mountOf('v', '/v', true)).spec);
    const order: string[] = [];
    const start = use.free(user('1', 'starting', mountOf('v')).spec).then(() => order.push('started'));
    const second = use.hold('v', { write: true }).then((letGo) => {
      order.push('held');
      return letGo;
    });
    await (await use.hold('v', { write: false }))();
    order.push('let go');
    release();
    (await second)();
    await start;
    expect(order[0]).toBe('let go');
    expect(order.sort()).toEqual(['held', 'let go', 'started']);
  });

  it('by the endpoint is refused while a container writes, and writing is refused while one reads', async () => {
    const use = new VolumeUse(() => [
      user('1', 'running', mountOf('v', '/v', true)),
      user('2', 'running', mountOf('w')),
    ]);
    await expect(use.hold('v', { write: true })).rejects.toThrow('volume "v" is in use by container name-1 (1)');
    (await use.hold('v', { write: false }))();
    await expect(use.hold('w', { write: false })).rejects.toMatchObject({ kind: 'conflict' });
    (await use.hold('w', { write: true, besides: '2' }))();
  });
});

describe('volumes', () => {
  let directory: string;
  let remove: () => Promise<void>;
  let image: Stack;
  let users: VolumeUser[];
  beforeEach(async () => {
    ({ path: directory, remove } = await temporaryDirectory());
    image = new Stack(directory, 2 ** 27);
    users = [];
  });
  afterEach(() => remove());

  const root = `store/VIC/${CONFIG.id}`;
  const make = async (): Promise<Volumes> => {
    const store = localStore(directory, root);
    const layers = {
      diskOf: async () => basename(image.top),
      openDisk: (path: string) => DatastoreBlocks.open(store.datastore, path),
    };
    const use = new VolumeUse(() => users);
    const more = new Map([['fast', { files: localStore(directory, `fast/VIC/${CONFIG.id}`), room: null }]]);
    const spool = join(directory, 'spool');
    const config = { ...CONFIG, volumeStores: [{ label: 'fast', datastore: 'ssd', path: 'fast' }] };
    const volumes = new Volumes(store, config, layers, use, spool, new DiskReaders(), null, more);
    await volumes.load();
    return volumes;
  };
  const named = (name: string): NewVolume => ({ name, driver: 'local', labels: null, options: null });
  const disk = (name: string): string => join(directory, volumeDiskPath(CONFIG, name));
  const looked = async <T>(name: string, look: (filesystem: Ext4Filesystem) => Promise<T>): Promise<T> => {
    const chain = await VmdkChain.open(disk(name));
    try {
      return await look(await Ext4Filesystem.open(chain));
    } finally {
      await chain.close();
    }
  };

  it('are in the store that they ask for, and found there again', async () => {
    const volumes = await make();
    await volumes.create({ ...named('f'), store: 'fast' });
    await volumes.create({ ...named('d'), store: 'default' });
    const fast = `fast/VIC/${CONFIG.id}/volumes/${volumeId('f')}`;
    expect(volumes.placeOf('f')).toBe(`[ssd] ${fast}/${volumeId('f')}.vmdk`);
    expect(existsSync(join(directory, fast, 'volume.json'))).toBe(true);
    const again = await make();
    expect(again.get('f')).toMatchObject({ store: 'fast' });
    expect(again.get('d')).not.toHaveProperty('store');
    expect(again.placed(mountOf('f'))).toEqual({ ...mountOf('f'), store: 'fast' });
    expect(volumeDisks({ volumes: [again.placed(mountOf('f'))] })[0]).toMatchObject({ volume: 'f', store: 'fast' });
    expect(await again.usage('f')).toBe(0);
    await again.remove('f');
    expect(await readdir(join(directory, `fast/VIC/${CONFIG.id}/volumes`))).toEqual([]);
    await expect(again.create({ ...named('x'), store: 'nope' })).rejects.toThrow("there is no volume store 'nope'");
  });

  it('need no disk when the guest mounts them', async () => {
    const mount = { type: 'nfs' as const, device: ':/x', flags: 0, data: 'addr=10.0.0.1' };
    const volumes = await make();
    expect(await volumes.create({ ...named('n'), mount })).toMatchObject({ capacityBytes: 0, mount });
    expect(await readdir(join(directory, root, 'volumes', volumeId('n')))).toEqual(['volume.json']);
    const again = await make();
    expect(again.placed(mountOf('n'))).toEqual({ ...mountOf('n'), mount });
    expect(again.placeOf('n')).toBe('');
    expect(await again.populate('n', { layer: null, path: '/etc' })).toBe(false);
    await expect(again.usage('n')).rejects.toMatchObject({ kind: 'conflict' });
    await again.remove('n');
    expect(await readdir(join(directory, root, 'volumes'))).toEqual([]);
  });

  it('are found again, without leftovers of half-made or removed ones', async () => {
    const volumes = await make();
    const info = await volumes.create({ ...named('v'), labels: { k: 'v' }, capacityBytes: 10_000_000 });
    expect(info.capacityBytes).toBe(Math.ceil(10_000_000 / 65_536) * 65_536);
    expect(await volumes.create(named('v'))).toBe(info);
    expect((await fsck(disk('v'))).code).toBe(0);
    for (const name of [`${volumeId('w')}.upload-1`, `${volumeId('w')}.removed-1`, 'x', volumeId('y')])
      await mkdir(join(directory, root, 'volumes', name));
    await writeFile(join(directory, root, 'volumes', volumeId('y'), 'volume.json'), JSON.stringify(info));
    const again = await make();
    expect(again.list()).toEqual([info]);
    expect((await readdir(join(directory, root, 'volumes'))).sort()).toEqual(
      [volumeId('v'), volumeId('y'), 'x'].sort(),
    );
    await expect(again.create({ ...named('z'), capacityBytes: 2 ** 20 })).rejects.toMatchObject({ kind: 'invalid' });
    await again.remove('v');
    expect(again.list()).toEqual([]);
    expect((await readdir(join(directory, root, 'volumes'))).sort()).toEqual([volumeId('y'), 'x']);
    expect(await readdir(join(directory, 'spool'))).toEqual([]);
  });

  it('are not removed while in use, and recreated only once they are gone', async () => {
    const volumes = await make();
    const before = await volumes.create(named('v'));
    const release = volumes.keep(['v', 'v']);
    await expect(volumes.remove('v')).rejects.toMatchObject({ kind: 'conflict' });
    release();
    volumes.usedByContainers = () => new Set(['v']);
    await expect(volumes.remove('v')).rejects.toMatchObject({ kind: 'conflict' });
    volumes.usedByContainers = () => new Set();
    const removed = volumes.remove('v');
    expect(volumes.get('v')).toBeUndefined();
    expect(sayingAsDocker(() => volumes.keep(['v']))).toThrow('get v: no such volume');
    const anew = await volumes.create(named('v'));
    await removed;
    expect(volumes.get('v')).toBe(anew);
    expect(anew).not.toBe(before);
    expect((await fsck(disk('v'))).code).toBe(0);
  });

  it('start with the image’s content, with all attributes', async () => {
    const xattr = { 'SCHILY.xattr.user.note': 'kept', 'SCHILY.xattr.security.capability': 'cap' };
    await image.add(
      await tarOf([
        { name: 'srv', type: 'directory', mode: 0o2750, uid: 7, gid: 8, mtime: new Date(5000) },
        { name: 'srv/file', content: 'x'.repeat(200_000), mode: 0o4755, uid: 9, pax: xattr },
        { name: 'srv/sub', type: 'directory', mode: 0o700 },
        { name: 'srv/sub/other', type: 'link', linkname: 'srv/file', mode: 0o4755, uid: 9 },
        { name: 'srv/sub/way', type: 'symlink', linkname: `/${'long/'.repeat(30)}` },
        { name: 'srv/null', type: 'character-device', devmajor: 1, devminor: 3 },
        { name: 'srv/pipe', type: 'fifo' },
        { name: 'alias', type: 'symlink', linkname: 'srv' },
      ]),
    );
    const volumes = await make();
    await volumes.create(named('v'), { layer: 'x', path: '/alias/' });
    expect((await fsck(disk('v'))).code).toBe(0);
    await looked('v', async (filesystem) => {
      expect(await filesystem.stat('/')).toMatchObject({ mode: 0o2750, uid: 7, gid: 8, mtime: 5_000_000_000n });
      const file = await filesystem.stat('/file');
      expect(file).toMatchObject({ mode: 0o4755, uid: 9, size: 200_000, nlink: 2 });
      expect((await filesystem.stat('/sub/other')).ino).toBe(file.ino);
      expect(Object.fromEntries(await filesystem.xattrs(file.ino))).toMatchObject({ 'user.note': Buffer.from('kept') });
      expect(await filesystem.stat('/null')).toMatchObject({ type: 'char', major: 1, minor: 3 });
      expect(await filesystem.stat('/pipe')).toMatchObject({ type: 'fifo' });
      const way = await filesystem.resolve('/sub/way', { followLast: false });
      expect((await filesystem.readlink(way)).toString()).toBe(`/${'long/'.repeat(30)}`);
    });
    expect(await volumes.usage('v')).toBe(200_000 + 151);
  });

  it('are filled later only if they are empty and not in use', async () => {
    await image.add(await tarOf([{ name: 'srv/file', content: 'x' }, { name: 'plain' }]));
    const volumes = await make();
    const content = { layer: 'x', path: '/srv' };
    await volumes.create(named('v'));
    expect(await volumes.populate('v', { ...content, path: '/nosuch' })).toBe(false);
    await expect(asDockerSays(volumes.populate('v', { ...content, path: '/plain' }))).rejects.toThrow(
      'source /plain is not directory',
    );
    await expect(asDockerSays(volumes.populate('v', { ...content, path: '/plain/x' }))).rejects.toThrow(
      'lstat /plain/x: not a directory',
    );
    users = [user('1', 'running', mountOf('v', '/v', true))];
    expect(await volumes.populate('v', content)).toBe(false);
    users = [];
    expect(await volumes.populate('v', content)).toBe(true);
    expect(await volumes.usage('v')).toBe(1);
    expect(await volumes.populate('v', content)).toBe(false);
    await expect(volumes.populate('w', content)).rejects.toMatchObject({ kind: 'notFound' });
  });

  it('that were not unmounted are recovered for machines that only read', async () => {
    const volumes = await make();
    await volumes.create({ ...named('v'), capacityBytes: 2 ** 26 });
    const before = await readdir(join(directory, 'spool'));
    await volumes.recover('v');
    expect(await looked('v', async ({ needsRecovery }) => needsRecovery)).toBe(false);
    expect(await readdir(join(directory, 'spool'))).toEqual(before);
    const changed = await ChangedDisk.open(disk('v'), null);
    await changed.finish();
    expect((await fsck(disk('v'))).code).toBe(0);
  });
});
