/** Disks that a compromised QEMU has written to, when a VM is started with them again. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, open, readFile, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createChild, createEmpty } from '../../../src/disk/index.js';
import {
  copyRecord,
  diskReplaced,
  forgetRecord,
  moveRecord,
  recordDisk,
  recordPath,
} from '../../../src/hostd/disks/disk-records.js';
import { OpenDisks } from '../../../src/hostd/disks/open-disks.js';

const MIB = 2 ** 20;
const VCH = 'VIC/default';
let store: string;

const at = (path: string): string => join(store, path);
const layerPath = (name: string, vch = VCH): string => at(`${vch}/images/${name}/${name}.vmdk`);

/** A layer's disk, on top of its parent's if it has one. */
async function layer(name: string, parent?: string, vch = VCH): Promise<string> {
  const path = layerPath(name, vch);
  await mkdir(dirname(path), { recursive: true });
  if (parent === undefined) await createEmpty(path, MIB);
  else await createChild(path, parent);
  return path;
}

async function container(name: string, parent: string): Promise<string> {
  const path = at(`${name}/${name}.vmdk`);
  await mkdir(dirname(path));
  await createChild(path, parent);
  return path;
}

async function volume(name: string): Promise<string> {
  const path = at(`${VCH}/volumes/${name}/${name}.vmdk`);
  await mkdir(dirname(path), { recursive: true });
  await createEmpty(path, MIB);
  return path;
}

/** What a start does with one disk. @returns the names of the files that QEMU would get */
async function start(path: string, { vch = 'default', readOnly = false } = {}): Promise<string[]> {
  const extraConfig = new Map(vch === '' ? [] : [['caisson.vch', vch]]);
  const opened = await OpenDisks.open({ disks: [{ bus: 0, unit: 0, path, readOnly }], extraConfig }, [
    { name: 'datastore1', directory: store },
  ]);
  try {
    return opened.disks.flatMap(({ own, parents }) => [own.path, ...parents.map((file) => file.path)]);
  } finally {
    await opened.close();
  }
}

/** What a QEMU can do through its descriptor: the file stays the same. */
async function tamper(path: string, change: (text: string) => string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const bytes = Buffer.alloc(20 * 512);
    await file.read(bytes, 0, bytes.length, 512);
    const text = bytes.toString('latin1').replace(/\0+$/, '');
    const changed = Buffer.alloc(bytes.length);
    changed.write(change(text), 'latin1');
    await file.write(changed, 0, changed.length, 512);
  } finally {
    await file.close();
  }
}

async function overwrite(path: string, content: string | Buffer, offset = 0): Promise<void> {
  const file = await open(path, 'r+');
  await file.write(Buffer.from(content), 0, undefined, offset);
  await file.close();
}

beforeEach(async () => {
  store = await mkdtemp(join(tmpdir(), 'caisson-disks-'));
});
afterEach(() => rm(store, { recursive: true, force: true }));

describe("a container's disk", () => {
  let disk: string;
  let victim: string;
  beforeEach(async () => {
    const base = await layer('a');
    disk = await container('box', await layer('b', base));
    victim = await container('victim', base);
    await start(victim);
    await start(disk);
  });

  it('is opened with its parent layers, also after QEMU has given it another content id', async () => {
    await tamper(disk, (text) => text.replace(/^CID=.*$/m, 'CID=1234567'));
    expect(await start(disk)).toEqual([disk, layerPath('b'), layerPath('a')]);
  });

  it.each<[string, (text: string) => string, RegExp]>([
    [
      'another container’s disk as its parent',
      (t) => t.replace(/Hint=".*"/, 'Hint="../victim/victim.vmdk"'),
      /its parent is "..\/victim/,
    ],
    [
      'a file of the host as its parent',
      (t) => t.replace(/Hint=".*"/, 'Hint="/etc/shadow"'),
      /its parent is "\/etc\/shadow"/,
    ],
    ['itself as its parent', (t) => t.replace(/Hint=".*"/, 'Hint="box.vmdk"'), /its parent is "box.vmdk"/],
    [
      'another layer as its parent',
      (t) => t.replace(/Hint=".*"/, 'Hint="../VIC/default/images/a/a.vmdk"'),
      /its parent is/,
    ],
    ['no parent', (t) => t.replace(/^parentCID=.*$/m, 'parentCID=ffffffff'), /its parent is none/],
    ['two parents', (t) => `${t}parentFileNameHint="../victim/victim.vmdk"\n`, /several parentFileNameHint/],
    ['another content id of its parent', (t) => t.replace(/^parentCID=.*$/m, 'parentCID=12345678'), /content id/],
    ['another type', (t) => t.replace('monolithicSparse', 'twoGbMaxExtentSparse'), /type "twoGbMaxExtentSparse"/],
    ['a second extent', (t) => t.replace(/^(RW .*)$/m, '$1\nRW 8 FLAT "/etc/shadow" 0'), /2 extents/],
    ['a flat extent', (t) => t.replace(/^RW .*$/m, 'RW 2048 FLAT "/etc/shadow" 0'), /its extent is "RW 2048 FLAT/],
    ['an extent of another size', (t) => t.replace(/^RW \d+/m, 'RW 4096'), /its extent is/],
    ['an extent in another file', (t) => t.replace(/SPARSE ".*"/, 'SPARSE "../victim/victim.vmdk"'), /its extent is/],
    ['no content id', (t) => t.replace(/^CID=.*$/m, 'CID=none'), /no valid CID/],
  ])('that says it has %s is refused', async (_, change, words) => {
    await tamper(disk, change);
    await expect(start(disk)).rejects.toThrow(words);
    await expect(start(disk)).rejects.toThrow('disk [datastore1] box/box.vmdk cannot be used');
    await expect(start(disk)).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('that was turned into a text descriptor of a host file is refused', async () => {
    await overwrite(
      disk,
      '# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType="monolithicFlat"\nRW 8 FLAT "/etc/shadow" 0\n',
    );
    await expect(start(disk)).rejects.toThrow(/box.vmdk cannot be used: .*no KDMV magic/);
  });

  it.each<[string, number, Buffer]>([
    ['no capacity, so that its descriptor has the extents', 12, Buffer.alloc(8)],
    ['its header at its end', 56, Buffer.alloc(8, 0xff)],
    ['another capacity', 12, Buffer.from([0, 16, 0, 0, 0, 0, 0, 0])],
    ['another first grain', 64, Buffer.from([1, 0, 0, 0, 0, 0, 0, 0])],
    ['another place for its tables', 48, Buffer.from([22, 0, 0, 0, 0, 0, 0, 0])],
  ])('whose header says it has %s is refused', async (_, offset, bytes) => {
    await overwrite(disk, bytes, offset);
    await expect(start(disk)).rejects.toThrow('box.vmdk cannot be used');
  });

  it('that was cut, or whose tables point out of it, is refused, and so is a damaged layer below it', async () => {
    const content = Buffer.alloc(100_000, 1);
    const gtAt = (1 + 20 + 1 + 4 + 1) * 512;
    await overwrite(disk, content, (await stat(disk)).size);
    await overwrite(disk, Buffer.from([0xff, 0xff, 0xff, 0x0f]), gtAt);
    await expect(start(disk)).rejects.toThrow(
      /box.vmdk cannot be used: grain 0 lies beyond the end of the file.*'vic-machine fsck'/,
    );
    await overwrite(disk, Buffer.from([1, 0, 0, 0]), gtAt);
    await expect(start(disk)).rejects.toThrow('lies on its descriptor');
    await overwrite(disk, Buffer.alloc(4), gtAt);
    expect(await start(disk)).toHaveLength(3);
    const lowest = layerPath('a');
    await overwrite(lowest, content, (await stat(lowest)).size);
    await overwrite(lowest, Buffer.from([0xff, 0xff, 0, 0]), gtAt);
    await expect(start(disk)).rejects.toThrow(
      /a.vmdk, which .*box.vmdk stands on, cannot be used: grain 0 lies beyond/,
    );
  });

  it('replaced by a client is refused if it was tampered with, and accepted if it has no parent', async () => {
    await copyFile(disk, `${disk}.upload`);
    await rename(`${disk}.upload`, disk);
    await diskReplaced(disk);
    expect(await start(disk)).toHaveLength(3);
    await tamper(disk, (text) => text.replace(/Hint=".*"/, 'Hint="../victim/victim.vmdk"'));
    await diskReplaced(disk);
    await expect(start(disk)).rejects.toThrow(/its parent is/);
    await rm(disk);
    await createEmpty(disk, 2 * MIB);
    await diskReplaced(disk);
    expect(await start(disk)).toEqual([disk]);
  });

  it('keeps its record when it is copied and moved', async () => {
    await tamper(disk, (text) => text.replace(/Hint=".*"/, 'Hint="../victim/victim.vmdk"'));
    const copy = at('box/copy.vmdk');
    await copyFile(disk, copy);
    await copyRecord(disk, copy);
    await expect(start(copy)).rejects.toThrow(/its parent is/);
    const moved = at('box/moved.vmdk');
    await rename(copy, moved);
    await moveRecord(copy, moved);
    await expect(start(moved)).rejects.toThrow(/its parent is/);
    expect(existsSync(recordPath(copy))).toBe(false);
  });

  it('whose record cannot be read is refused, and not recorded anew', async () => {
    await writeFile(recordPath(disk), '{}');
    await expect(start(disk)).rejects.toThrow(/what was recorded of it cannot be read/);
    await expect(recordDisk(disk)).rejects.toThrow();
  });

  it('from before records existed is accepted as it is, once', async () => {
    await forgetRecord(disk);
    await recordDisk(disk);
    await tamper(disk, (text) => text.replace(/Hint=".*"/, 'Hint="../victim/victim.vmdk"'));
    await recordDisk(disk);
    await expect(start(disk)).rejects.toThrow(/its parent is/);
  });

  it('that is a pipe is refused without waiting for it', async () => {
    await rm(disk);
    execFileSync('mkfifo', [disk]);
    await expect(start(disk)).rejects.toThrow(/no regular file/);
  });

  it('leaves no file open when it is refused', async () => {
    await tamper(disk, (text) => text.replace(/^(RW .*)$/m, '$1\nRW 8 FLAT "/etc/shadow" 0'));
    const count = (): number => readdirSync('/proc/self/fd').length;
    const before = count();
    for (let i = 0; i < 20; i++) await start(disk).catch(() => undefined);
    expect(count()).toBeLessThan(before + 10);
  });
});

describe('the parent of a disk', () => {
  it('may be an image of its own VCH', async () => {
    const foreign = await layer('c', undefined, 'VIC/other');
    const disk = await container('box', foreign);
    await expect(start(disk)).rejects.toThrow(/not in the directory of its images/);
    const stolen = await layer('d', foreign);
    await expect(start(await container('box2', stolen))).rejects.toThrow(/d.vmdk, which .*box2.vmdk stands on, cannot/);
  });

  it('may not be a disk of another container', async () => {
    const victim = await container('victim', await layer('a'));
    await expect(start(await container('box', victim))).rejects.toThrow(/not in the directory of its images/);
  });

  it('may not be outside the datastore', async () => {
    const outside = await mkdtemp(join(tmpdir(), 'caisson-outside-'));
    await createEmpty(join(outside, 'o.vmdk'), MIB);
    const disk = await container('box', join(outside, 'o.vmdk'));
    await expect(start(disk, { vch: '' })).rejects.toThrow(/not in the directory/);
    await rm(outside, { recursive: true });
  });

  it('may be any disk of the datastore for a machine made over plain vSphere, and is recorded too', async () => {
    await mkdir(at('plain'));
    await createEmpty(at('plain/base.vmdk'), MIB);
    const disk = await container('clone', at('plain/base.vmdk'));
    expect(await start(disk, { vch: '' })).toEqual([disk, at('plain/base.vmdk')]);
    await tamper(at('plain/base.vmdk'), (text) =>
      text.replace(/^parentCID=.*$/m, 'parentCID=12345678\nparentFileNameHint="../x"'),
    );
    await expect(start(disk, { vch: '' })).rejects.toThrow(/base.vmdk, which .*clone.vmdk stands on, cannot be used/);
  });

  it('may not be itself, nor a layer on top of it, nor make the chain too long', async () => {
    const a = await layer('a');
    const b = await layer('b', a);
    const disk = await container('box', b);
    expect(await start(disk)).toHaveLength(3);
    const { cid } = /^CID=(?<cid>.*)$/m.exec(await readFile(b, 'latin1'))!.groups as { cid: string };
    await tamper(a, (text) => text.replace(/^parentCID=.*$/m, `parentCID=${cid}\nparentFileNameHint="../b/b.vmdk"`));
    await expect(start(disk)).rejects.toThrow(/it stands on itself/);
  });

  it('must be a layer that was not changed after it was made', async () => {
    const a = await layer('a');
    const disk = await container('box', a);
    await tamper(a, (text) => text.replace(/^CID=.*$/m, 'CID=12345678'));
    await expect(start(disk)).rejects.toThrow(/was changed after/);
  });
});

describe('a volume', () => {
  it('that says it has a parent is refused, in any container', async () => {
    const victim = await container('victim', await layer('a'));
    const disk = await volume('v');
    await start(disk);
    const cid = /^CID=(.*)$/m.exec(await readFile(victim, 'latin1'))![1]!;
    await tamper(disk, (text) =>
      text.replace(/^parentCID=.*$/m, `parentCID=${cid}\nparentFileNameHint="../../../../victim/victim.vmdk"`),
    );
    for (const readOnly of [false, true]) await expect(start(disk, { readOnly })).rejects.toThrow(/its parent is/);
  });

  it('that was placed among images is refused', async () => {
    await expect(start(await layer('a'))).rejects.toThrow(/part of an image/);
    expect(await start(layerPath('a'), { readOnly: true })).toHaveLength(1);
  });

  it('that is shorter than its header says is refused', async () => {
    const disk = await volume('v');
    await start(disk);
    await truncate(disk, 600);
    await expect(start(disk)).rejects.toThrow(/v.vmdk cannot be used/);
  });
});
