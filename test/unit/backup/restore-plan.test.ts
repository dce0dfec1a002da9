/** What a restore makes, under which names. */
import { expect, it } from 'vitest';
import type { Manifest } from '../../../src/backup/index.js';
import { type Present, renames, restorePlan } from '../../../src/cli/backup/restore-plan.js';

const id = (letter: string): string => letter.repeat(64);
const content = { parts: [], chunks: 0, sha256: id('0') };
const UNNAMED = id('e');

const volume = (name: string): Manifest['volumes'][number] => ({
  name,
  driver: 'local',
  options: null,
  labels: null,
  disk: { capacityBytes: 2 ** 24, unitBytes: 2 ** 20, content, base: null, mark: null },
});

const container = (
  letter: string,
  name: string,
  more: Partial<Manifest['containers'][number]> = {},
): Manifest['containers'][number] => ({
  id: id(letter),
  name,
  image: `sha256:${id('1')}`,
  state: 'running',
  config: { Image: 'busybox', Hostname: id(letter).slice(0, 12), Env: ['A=b'] },
  hostConfig: { NetworkMode: 'net' },
  networks: { net: { Aliases: ['x'], IPAddress: '10.0.0.2', EndpointID: 'y' } },
  mounts: [],
  changes: content,
  ...more,
});

const mount = (name: string, path: string, anonymous = false) => ({
  volume: name,
  path,
  readOnly: false,
  subpath: null,
  anonymous,
});

const manifest: Manifest = {
  id: '20260101T000000Z-01234567',
  createdAt: '',
  program: '',
  vch: { id: 'a', name: 'host' },
  read: 0,
  written: 0,
  volumes: [volume('db'), volume('other'), volume(UNNAMED)],
  containers: [
    container('a', 'web', {
      hostConfig: { NetworkMode: `container:${id('b')}`, Links: ['/app:/web/back'] },
      networks: {},
    }),
    container('b', 'app', {
      config: { Image: 'busybox', Hostname: 'chosen' },
      hostConfig: {
        NetworkMode: 'net',
        Binds: ['db:/db'],
        VolumesFrom: ['gone'],
        Mounts: [
          { Type: 'volume', Source: 'db', Target: '/x' },
          { Type: 'tmpfs', Target: '/t' },
        ],
      },
      mounts: [mount('db', '/db'), mount(UNNAMED, '/u', true)],
    }),
  ],
  networks: [{ Name: 'net' }, { Name: 'unused' }],
  images: [
    { id: `sha256:${id('1')}`, tags: ['busybox:latest'], digests: ['busybox@sha256:1'], size: 1, archive: null },
    { id: `sha256:${id('2')}`, tags: ['made:here'], digests: [], size: 1, archive: null },
  ],
};

const none = new Set<string>();
const empty: Present = { volumes: none, containers: none, networks: none, images: none };
const plan = (volumes: string[] = [], containers: string[] = [], present: Partial<Present> = {}, of = manifest) =>
  restorePlan(of, { volumes: renames(volumes), containers: renames(containers) }, { ...empty, ...present });

it('restores everything, in an order in which each finds what it needs', () => {
  const { images, networks, volumes, containers } = plan();
  // An image that is only named, and in no registry, cannot be had; nothing needs it.
  expect(images.map(({ tags }) => tags[0])).toEqual(['busybox:latest']);
  expect(networks.map(({ Name }) => Name)).toEqual(['net', 'unused']);
  expect(volumes.map(({ name }) => name)).toEqual(['db', 'other', UNNAMED]);
  expect(containers.map(({ name }) => name)).toEqual(['app', 'web']);
  expect(containers[0]!.body).toEqual({
    Image: 'busybox',
    Hostname: 'chosen',
    HostConfig: {
      NetworkMode: 'net',
      Binds: null,
      VolumesFrom: null,
      Links: null,
      Mounts: [
        { Type: 'tmpfs', Target: '/t' },
        { Type: 'volume', Source: 'db', Target: '/db', ReadOnly: false, VolumeOptions: { NoCopy: true } },
        { Type: 'volume', Source: UNNAMED, Target: '/u', ReadOnly: false, VolumeOptions: { NoCopy: true } },
      ],
    },
    NetworkingConfig: { EndpointsConfig: { net: { Aliases: ['x'] } } },
  });
  expect(containers[0]!.anonymous).toEqual([UNNAMED]);
  expect(containers[1]!.body).toEqual({
    Image: 'busybox',
    Env: ['A=b'],
    HostConfig: { NetworkMode: 'container:app', Links: ['app:back'], Binds: null, VolumesFrom: null, Mounts: [] },
  });
});

it('restores parts under other names', () => {
  const { images, networks, volumes, containers } = plan(['db:db2'], ['web:web2', 'app:app2'], {
    volumes: new Set([UNNAMED, 'db']),
    images: new Set([`sha256:${id('1')}`]),
    networks: new Set(['net']),
  });
  expect([images, networks]).toEqual([[], []]);
  const [db, unnamed] = volumes.map(({ name }) => name);
  expect(volumes).toHaveLength(2);
  expect(db).toBe('db2');
  // It gets another name, which nobody has chosen either.
  expect(unnamed).toMatch(/^[0-9a-f]{64}$/);
  expect(unnamed).not.toBe(UNNAMED);
  const [app, web] = containers;
  expect([app!.name, web!.name]).toEqual(['app2', 'web2']);
  expect(app!.anonymous).toEqual([unnamed]);
  expect(app!.body.HostConfig).toMatchObject({ Mounts: [{}, { Source: 'db2' }, { Source: unnamed }] });
  expect(web!.body.HostConfig).toMatchObject({ NetworkMode: 'container:app2', Links: ['app2:back'] });
  expect(plan(['other']).volumes.map(({ name }) => name)).toEqual(['other']);
  expect(plan(['other']).containers).toEqual([]);
  // What is not restored is left as it is called.
  expect(plan([], ['web']).containers[0]!.body.HostConfig).toMatchObject({ Links: ['app:back'] });
});

it.each<[string, () => unknown, string]>([
  [
    'a name that is taken',
    () => plan([], [], { volumes: new Set(['db']), containers: new Set(['app']) }),
    "there is a volume 'db' already; there is a container 'app' already. Give it another name",
  ],
  ['one name for two', () => plan(['db:x', 'other:x']), "two are to be the volume 'x'"],
  ['what is not in it', () => plan(['nothing']), "has no volume 'nothing'"],
  ['a container that is not', () => plan([], ['nothing']), "has no container 'nothing'"],
  ['a container without its image', () => plan([], ['app'], {}, { ...manifest, images: [] }), 'load it first'],
  ['no name', () => renames([':x']), 'is not a name'],
  ['half a name', () => renames(['x:']), 'is not a name'],
  ['three names', () => renames(['a:b:c']), 'is not a name'],
  ['a name twice', () => renames(['a', 'a:b']), 'is named twice'],
])('refuses %s', (_what, make, words) => {
  expect(make).toThrow(words);
});
