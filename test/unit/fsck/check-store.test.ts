/** What `vic-machine fsck` finds in a state directory, one kind of damage after the other, and what it repairs. */
import { execFileSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { sha256 } from '../../../src/common/ids.js';
import { checkStore, type Finding, repairStore } from '../../../src/fsck/index.js';
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

it('volumes without a disk, and those of other volume stores, are sound too', async () => {
  const id = basename(store.root);
  const further = join(directory.path, `further-${copies}`);
  writeFileSync(join(store.stateDir, 'datastores.json'), JSON.stringify([`fast=${further}`]));
  const record = { createdAt: '', driver: 'local', labels: null, options: null };
  const stored = (root: string, name: string, content: object): string => {
    const path = join(root, 'VIC', id, 'volumes', sha256(`volume ${name}`));
    mkdirSync(path, { recursive: true });
    writeFileSync(join(path, 'volume.json'), JSON.stringify({ ...record, name, ...content }));
    return path;
  };
  const mount = { type: 'nfs', device: ':/x', flags: 0, data: '' };
  stored(join(store.stateDir, 'datastore1'), 'mounted', { capacityBytes: 0, mount });
  const lost = stored(join(further, 'a/b'), 'lost', { capacityBytes: 1 << 24 });
  const { findings, counts } = await checkStore(store.stateDir);
  expect(findings).toMatchObject([{ where: expect.stringContaining(basename(lost)) }]);
  expect(counts).toMatchObject({ volumes: 3 });
  rmSync(further, { recursive: true });
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

describe('it finds, and repairs what is no data', () => {
  it.each(CASES)('%s', async (_name, damage, found, left = found, leftAside) => {
    damage();
    // Only the tests of what is inside disks need to read them.
    const quick = !found.some((code) => ['layer.tar', 'volume.filesystem'].includes(code));
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
