/** What `vic-machine fsck` finds in a state directory, one kind of damage after the other, and what it repairs. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sha256 } from '../../../src/common/ids.js';
import { createChild } from '../../../src/disk/index.js';
import { checkStore, type Finding, repairStore } from '../../../src/fsck/index.js';
import { SNAPSHOT_FILES, SnapshotFiles } from '../../../src/hostd/qemu/snapshot-files.js';
import { CONTAINER, type KeptStore, keptStore } from '../../support/kept-store.js';
import { temporaryDirectory } from '../disk/support.js';

let directory: { path: string; remove: () => Promise<void> };
let original: KeptStore;
let store: KeptStore;
let copies = 0;

beforeAll(async () => {
  directory = await temporaryDirectory();
  original = await keptStore(join(directory.path, 'original'));
});
afterAll(() => directory.remove());
beforeEach(() => {
  const stateDir = join(directory.path, `copy-${++copies}`);
  execFileSync('cp', ['-a', '--sparse=always', original.stateDir, stateDir]);
  const moved = (path: string): string => path.replace(original.stateDir, stateDir);
  store = {
    ...original,
    stateDir,
    root: moved(original.root),
    layers: original.layers.map(moved),
    volume: moved(original.volume),
    machine: moved(original.machine),
  };
  edit(join(stateDir, 'endpoint-users.json'), (text) => moved(text));
});
afterEach(() => rmSync(store.stateDir, { recursive: true }));

function edit(path: string, change: (text: string) => string): void {
  writeFileSync(path, change(readFileSync(path, 'utf8')));
}
/** Changes bytes of a file. */
function patch(path: string, at: number, bytes: Buffer | number[]): void {
  const content = readFileSync(path);
  Buffer.from(bytes).copy(content, at < 0 ? content.length + at : at);
  writeFileSync(path, content);
}
/** Makes a layer one whose blob was kept. @param found what is there of it; null: nothing */
function keepBlob(layer: string, content: string, found: string | null): void {
  const blob = { digest: `sha256:${sha256(content)}`, size: content.length };
  edit(join(layer, 'layer.json'), (text) => JSON.stringify({ ...(JSON.parse(text) as object), blob }));
  if (found !== null) writeFileSync(join(layer, 'blob'), found);
}
const diskIn = (path: string): string => join(path, `${basename(path)}.vmdk`);
const inventory = (): string => join(store.stateDir, 'inventory.json');
const kv = (name: string): string => join(store.root, 'kv', name);
const codes = (findings: readonly Finding[]): string[] => [...new Set(findings.map(({ code }) => code))].sort();

it('a sound store is clean, whichever way it is looked at', async () => {
  for (const options of [{}, { quick: true }, { e2fsck: false }]) {
    const { findings, unchecked, counts } = await checkStore(store.stateDir, options);
    expect({ findings, unchecked }).toEqual({ findings: [], unchecked: [] });
    expect(counts).toMatchObject({ hosts: 1, images: 2, layers: 4, volumes: 1, machines: 2 });
  }
});

it('there must be a state directory', async () => {
  await expect(checkStore(join(store.stateDir, 'nowhere'))).rejects.toThrow('there is no state directory');
});

/** Damage, the findings' codes, and what is left of them after a repair (the same unless given). */
const CASES: [name: string, damage: () => void, found: string[], left?: string[], leftAside?: string[]][] = [
  [
    'a layer without its record',
    () => rmSync(join(store.layers[3]!, 'layer.json')),
    ['image.layer', 'layer.record'],
    ['image.layer', 'layer.record'],
    ['image.layer'],
  ],
  [
    'a record that is no JSON',
    () => writeFileSync(join(store.layers[3]!, 'layer.json'), '{"chainId'),
    ['image.layer', 'layer.record'],
  ],
  [
    'the record of another layer',
    () => writeFileSync(join(store.layers[3]!, 'layer.json'), readFileSync(join(store.layers[0]!, 'layer.json'))),
    ['image.layer', 'layer.record'],
  ],
  [
    'a layer with another parent than its chain id says',
    () => edit(join(store.layers[1]!, 'layer.json'), (text) => text.replace(/"parent":"[^"]+"/, '"parent":null')),
    ['image.layer', 'layer.parent', 'layer.record'],
  ],
  ['a missing parent layer', () => rmSync(store.layers[0]!, { recursive: true }), ['image.layer', 'layer.parent']],
  ['a missing disk of a layer', () => rmSync(diskIn(store.layers[3]!)), ['layer.missing']],
  [
    'a header with another magic',
    () => patch(diskIn(store.layers[3]!), 0, [0]),
    ['layer.disk'],
    ['layer.disk'],
    ['layer.missing'],
  ],
  ['a disk that was cut', () => truncateSync(diskIn(store.layers[1]!), 2 ** 19), ['layer.disk', 'machine.parent']],
  [
    'a descriptor without its content id',
    () => editDescriptor(diskIn(store.layers[3]!), /CID=/, 'XID='),
    ['layer.disk'],
  ],
  [
    'a disk that was changed after others were made on it',
    () => editDescriptor(diskIn(store.layers[0]!), /\nCID=......../, '\nCID=01234567'),
    ['layer.parent'],
  ],
  ['a content that was changed', () => patchContent(diskIn(store.layers[1]!)), ['layer.tar']],
  ['a recipe that was cut', () => truncateSync(join(store.layers[0]!, 'tar-recipe'), 10), ['layer.tar']],
  ['a recipe with another byte', () => patch(join(store.layers[0]!, 'tar-recipe'), 200, [0xff, 0xff]), ['layer.tar']],
  ['a kept blob that is gone', () => keepBlob(store.layers[0]!, 'blob', null), ['layer.blob']],
  ['a kept blob that was cut', () => keepBlob(store.layers[0]!, 'blob', 'blo'), ['layer.blob']],
  ['a kept blob that was changed', () => keepBlob(store.layers[0]!, 'blob', 'blab'), ['layer.blob']],
  ['a kept blob, whole', () => keepBlob(store.layers[0]!, 'blob', 'blob'), []],
  ['a recipe that is gone', () => rmSync(join(store.layers[0]!, 'tar-recipe')), ['layer.tar']],
  [
    'replaced content that was changed',
    () => patch(join(store.layers[1]!, 'tar-replaced'), 3, [0xff, 0xff]),
    ['layer.tar'],
  ],
  ['what a pull left', () => mkdirSync(`${store.layers[0]}.upload-01234567`), ['layer.unfinished'], []],
  ['a layer that nothing needs', () => dropImage(1), ['layer.unused', 'record.orphan'], []],
  ['an index of images that is no JSON', () => writeFileSync(kv('images'), '{'), ['image.index']],
  [
    'a name for an image that is not there',
    () =>
      editJson(kv('images'), (index) =>
        Object.assign(index.references as object, { 'docker.io/library/x:latest': `sha256:${'0'.repeat(64)}` }),
      ),
    ['image.reference'],
    [],
  ],
  [
    'a configuration that is gone',
    () => rmSync(kv(`image-${original.images[1]!.slice(7)}`)),
    ['image.config', 'layer.unused'],
    ['image.config'],
  ],
  [
    'a configuration that was changed',
    () => appendFileSync(kv(`image-${original.images[1]!.slice(7)}`), ' '),
    ['image.config', 'layer.unused'],
    ['image.config'],
  ],
  [
    'the health of a container that is gone',
    () => writeFileSync(kv(`health.${'e'.repeat(64)}`), '{}'),
    ['record.orphan'],
    [],
  ],
  ['where layers came from, unreadable', () => writeFileSync(kv('blob-sources'), 'x'), ['record.unreadable'], []],
  [
    'a volume without its record',
    () => rmSync(join(store.volume, 'volume.json')),
    ['container.volume', 'volume.record'],
    undefined,
    ['container.volume', 'machine.missing'],
  ],
  [
    'a volume with the record of another one',
    () => edit(join(store.volume, 'volume.json'), (text) => text.replace('"data"', '"other"')),
    ['container.volume', 'volume.record'],
  ],
  ['a volume without its disk', () => rmSync(diskIn(store.volume)), ['machine.missing', 'volume.missing']],
  [
    'a volume of another size',
    () =>
      edit(join(store.volume, 'volume.json'), (text) => text.replace(/"capacityBytes":\d+/, '"capacityBytes":65536')),
    ['volume.size'],
  ],
  ['a volume with a damaged table', () => patchTable(diskIn(store.volume)), ['volume.disk']],
  ['a volume with a damaged filesystem', () => patchSuperblock(diskIn(store.volume)), ['volume.filesystem']],
  ['what a volume left', () => mkdirSync(`${store.volume}.removed-01234567`), ['volume.unfinished'], []],
  [
    'a definition that was cut',
    () => truncateSync(join(store.machine, `${CONTAINER}.vmx`), 900),
    ['machine.definition'],
  ],
  [
    'a definition that is empty',
    () => truncateSync(join(store.machine, `${CONTAINER}.vmx`), 0),
    ['machine.definition'],
  ],
  [
    'a container that cannot be read',
    () => edit(join(store.machine, `${CONTAINER}.vmx`), (text) => text.replace('version|22:1', 'version|22:')),
    ['machine.definition'],
  ],
  ["a container's disk that is gone", () => rmSync(diskIn(store.machine)), ['machine.missing']],
  [
    "a container's disk with another parent",
    () =>
      editDescriptor(
        diskIn(store.machine),
        new RegExp(basename(original.layers[1]!), 'g'),
        basename(original.layers[0]!),
      ),
    ['machine.changed'],
  ],
  [
    "a record of a container's disk that cannot be read",
    () => writeFileSync(`${diskIn(store.machine)}.caisson-disk`, '{'),
    ['machine.changed'],
  ],
  [
    'a virtual machine without definition',
    () => rmSync(join(store.machine, `${CONTAINER}.vmx`)),
    ['inventory.noFile', 'machine.unfinished'],
    ['machine.unfinished'],
    [],
  ],
  [
    'a directory without anything',
    () => mkdirSync(join(store.stateDir, 'datastore1', 'f'.repeat(64))),
    ['machine.unfinished'],
    [],
  ],
  [
    'a virtual machine that is not registered',
    () => editJson(inventory(), (content) => (content.vms as unknown[]).pop()),
    ['machine.unregistered'],
    undefined,
    [],
  ],
  ['an inventory that is no JSON', () => writeFileSync(inventory(), ''), ['inventory.record']],
  ['an inventory that is gone', () => rmSync(inventory()), ['inventory.record']],
  [
    'a virtual machine in a pool that is gone',
    () => editJson(inventory(), (content) => (content.pools as unknown[]).pop()),
    ['inventory.pool'],
  ],
  [
    'a port group that is gone',
    () => edit(inventory(), (text) => text.replace('"default-n1",', '').replace(',"default-n1"]', ']')),
    ['network.portGroup'],
  ],
  [
    "a card's port group that is gone",
    () => edit(inventory(), (text) => text.replace('"default-bridge"', '"other"')),
    ['machine.network'],
  ],
  [
    'a port group of no network',
    () => editJson(inventory(), (content) => Object.assign(content.owners as object, { lost: 'a'.repeat(32) })),
    ['network.orphan'],
  ],
  [
    'networks that cannot be read',
    () =>
      edit(join(store.stateDir, 'datastore1/default/default.vmx'), (text) =>
        text.replace('caisson.networks = "[', 'caisson.networks = "'),
      ),
    ['network.record'],
  ],
  ['an endpoint that is gone', () => dropEndpoint(), ['host.orphan'], undefined, ['machine.missing', 'machine.parent']],
  [
    'users that cannot be read',
    () => writeFileSync(join(store.stateDir, 'access.json'), '{"users":1}'),
    ['access.record'],
  ],
  [
    'a permission of nobody',
    () => edit(join(store.stateDir, 'access.json'), (text) => text.replace('"principal":"vch"', '"principal":"gone"')),
    ['access.permission'],
  ],
  [
    'two endpoints with one user',
    () => editJson(join(store.stateDir, 'endpoint-users.json'), (all) => Object.assign(all, { '/elsewhere': 63_100 })),
    ['users.twice'],
  ],
  [
    'drafts of files',
    () => {
      const drafts = [kv('images.new'), join(store.stateDir, 'inventory.json.new')];
      for (const path of [...drafts, join(store.layers[0]!, '.0123456789abcdef.caisson-upload')])
        writeFileSync(path, 'x');
    },
    ['file.draft'],
    [],
  ],
];

it('disks of snapshots are checked, and one that nothing stands on is left over', async () => {
  const points = join(store.root, 'volumes', 'points');
  const point = (digit: string): string => join(points, `${digit.repeat(16)}.vmdk`);
  mkdirSync(points);
  copyFileSync(diskIn(store.volume), point('1'));
  rmSync(diskIn(store.volume));
  await createChild(diskIn(store.volume), point('1'));
  const snapshots = (one: string): void =>
    editJson(join(store.volume, 'volume.json'), (volume) =>
      Object.assign(volume, {
        snapshots: [{ name: 'before', points: [one.repeat(16)], createdAt: '', capacityBytes: 1 }],
      }),
    );
  snapshots('1');
  expect((await checkStore(store.stateDir)).findings).toEqual([]);
  copyFileSync(point('1'), point('2'));
  snapshots('3');
  const { findings } = await checkStore(store.stateDir, { quick: true });
  expect(codes(findings)).toEqual(['volume.point', 'volume.snapshot']);
  await repairStore(store.stateDir, findings, { moveAside: false });
  expect(codes((await checkStore(store.stateDir, { quick: true })).findings)).toEqual(['volume.snapshot']);
  expect(existsSync(point('1'))).toBe(true);
  patchSuperblock(point('1'));
  expect(codes((await checkStore(store.stateDir)).findings)).toContain('volume.filesystem');
});

it('volumes of other datastores are found, and those without a disk have none', async () => {
  const other = `${store.stateDir}-other`;
  const volumes = join(other, 'here', 'VIC', basename(store.root), 'volumes');
  mkdirSync(volumes, { recursive: true });
  renameSync(store.volume, join(volumes, basename(store.volume)));
  edit(join(store.machine, `${CONTAINER}.vmx`), (text) =>
    text.replace(/(\/vmfs\/volumes\/)datastore1(\/VIC)/g, '$1more/here$2'),
  );
  writeFileSync(join(store.stateDir, 'datastores.json'), JSON.stringify([`more=${other}`]));
  const memory = join(store.root, 'volumes', sha256('volume memory'));
  mkdirSync(memory, { recursive: true });
  writeFileSync(
    join(memory, 'volume.json'),
    JSON.stringify({ name: 'memory', capacityBytes: 0, mount: { type: 'tmpfs', device: 'tmpfs', options: [] } }),
  );
  const { findings, counts } = await checkStore(store.stateDir);
  expect(findings).toEqual([]);
  expect(counts).toMatchObject({ hosts: 1, volumes: 2 });
  rmSync(other, { recursive: true });
  expect(codes((await checkStore(store.stateDir, { quick: true })).findings)).toEqual([
    'container.volume',
    'machine.missing',
  ]);
});

it('boot snapshots and spools in the cache directory', async () => {
  const cacheDir = join(store.stateDir, 'cache');
  const [good, bad, dead] = ['good', 'bad', 'key.999999999.building'].map((name) => join(cacheDir, 'snapshots', name));
  for (const path of [good!, bad!, dead!]) {
    mkdirSync(path, { recursive: true });
    for (const name of SNAPSHOT_FILES) writeFileSync(join(path, name), name);
    const files = await SnapshotFiles.open(path);
    writeFileSync(join(path, 'info.json'), JSON.stringify({ host: 'x', digests: await files.digests() }));
    await files.close();
  }
  writeFileSync(join(bad!, 'memory'), 'Memory');
  const spool = join(cacheDir, 'spool', basename(store.root), 'downloads');
  mkdirSync(spool, { recursive: true });
  writeFileSync(join(spool, 'blob'), 'x');
  const { findings } = await checkStore(store.stateDir, { cacheDir });
  expect(codes(findings)).toEqual(['snapshot.damaged', 'snapshot.unfinished', 'spool.leftover']);
  await repairStore(store.stateDir, findings, { moveAside: false });
  expect((await checkStore(store.stateDir, { cacheDir })).findings).toEqual([]);
  expect(existsSync(good!)).toBe(true);
});

describe('it finds, and repairs what is no data', () => {
  it.each(CASES)('%s', async (_name, damage, found, left = found, leftAside) => {
    damage();
    // Only the tests of what is inside disks need to read them.
    const quick = !found.some((code) => ['layer.blob', 'layer.tar', 'volume.filesystem'].includes(code));
    const { findings } = await checkStore(store.stateDir, { quick });
    expect(codes(findings)).toEqual(found);
    for (const { where, what, means, todo } of findings)
      for (const text of [where, what, means, todo]) expect(text).not.toMatch(/^$|\.$|undefined|null/);
    const data = existsSync(diskIn(store.volume));
    await repairStore(store.stateDir, findings, { moveAside: false });
    const after = await checkStore(store.stateDir, { quick });
    expect(codes(after.findings)).toEqual(left);
    // Nobody's data went.
    expect(existsSync(diskIn(store.volume))).toBe(data);
    if (leftAside === undefined) return;
    await repairStore(store.stateDir, after.findings, { moveAside: true });
    expect(codes((await checkStore(store.stateDir, { quick })).findings)).toEqual(leftAside);
  });
});

/** Changes the text of a disk's descriptor without moving anything. */
function editDescriptor(path: string, from: RegExp, to: string): void {
  const content = readFileSync(path);
  const text = content.toString('latin1', 512, 512 * 21).replace(from, to);
  content.fill(0, 512, 512 * 21);
  content.write(text.slice(0, 512 * 20), 512, 'latin1');
  writeFileSync(path, content);
}

function editJson(path: string, change: (content: Record<string, unknown>) => unknown): void {
  const content = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  change(content);
  writeFileSync(path, JSON.stringify(content));
}

function dropImage(index: number): void {
  editJson(kv('images'), (content) => {
    content.images = (content.images as string[]).filter((id) => id !== original.images[index]);
    content.references = Object.fromEntries(
      Object.entries(content.references as object).filter(([, id]) => id !== original.images[index]),
    );
  });
}

function dropEndpoint(): void {
  rmSync(join(store.stateDir, 'datastore1/default'), { recursive: true });
  edit(join(store.stateDir, 'endpoint-users.json'), () => '{}');
  editJson(inventory(), (content) => {
    content.vms = (content.vms as { id: string }[]).filter(({ id }) => id !== 'vm-2');
    content.owners = {};
  });
}

/** Where the random content of the layer's large file begins. */
function patchContent(path: string): void {
  const content = readFileSync(path);
  const at = content.indexOf(Buffer.from(sha256('data 5'), 'hex'));
  expect(at).toBeGreaterThan(0);
  patch(path, at, [1, 2, 3]);
}

/** Offsets of a disk's grain directory and its first grains. */
function tablesOf(path: string): { table: number; grain: number } {
  const content = readFileSync(path);
  const directory = Number(content.readBigUInt64LE(56)) * 512;
  const table = content.readUInt32LE(directory) * 512;
  return { table, grain: content.readUInt32LE(table) * 512 };
}

function patchTable(path: string): void {
  const { table } = tablesOf(path);
  patch(path, table, [0xff, 0xff, 0xff, 0x0f]);
}

function patchSuperblock(path: string): void {
  patch(path, tablesOf(path).grain + 1024 + 56, [0, 0]);
}
