import { access, readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { applyLayer, createFilesystem, type Ext4Filesystem } from '../../../src/disk/index.js';
import {
  contentOf,
  debugfs,
  type Entry,
  fsck,
  program,
  readAll,
  Stack,
  streamOf,
  tarOf,
  temporaryDirectory,
  withFilesystem,
} from './support.js';

const CAPACITY = 256 * 2 ** 20;
let directory: string;
let remove: () => Promise<void>;
let stack: Stack;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  stack = new Stack(directory, CAPACITY);
});
afterEach(() => remove());

const dir = (name: string, more: Partial<Entry> = {}): Entry => ({ name, type: 'directory', mode: 0o755, ...more });
const file = (name: string, content = name, more: Partial<Entry> = {}): Entry => ({
  name,
  content,
  mode: 0o644,
  ...more,
});
const link = (name: string, linkname: string, more: Partial<Entry> = {}): Entry => ({
  name,
  linkname,
  type: 'link',
  mode: 0o644,
  ...more,
});
const symlink = (name: string, linkname: string): Entry => ({ name, linkname, type: 'symlink', mode: 0o777 });
const xattr = (name: string, value: string) => ({ [`SCHILY.xattr.${name}`]: value });

async function layer(...entries: Entry[]): Promise<void> {
  await stack.add(await tarOf(entries));
}

/** All names below the root, sorted. */
async function tree(filesystem: Ext4Filesystem): Promise<string[]> {
  const names: string[] = [];
  const walk = async (ino: number, prefix: string): Promise<void> => {
    for await (const entry of filesystem.readdir(ino)) {
      names.push(`${prefix}${entry.name}`);
      if (entry.type === 'directory') await walk(entry.ino, `${prefix}${entry.name}/`);
    }
  };
  await walk(filesystem.root, '');
  return names.sort();
}

async function expectClean(): Promise<void> {
  for (const path of stack.paths) {
    expect(await fsck(path)).toMatchObject({ code: 0 });
    expect(await program('qemu-img', 'check', path)).toMatchObject({ code: 0 });
  }
}

describe('the kinds of entries', () => {
  test('every kind is written with its attributes', async () => {
    await stack.add(
      await tarOf([
        dir('./', { mode: 0o711, uid: 7 }),
        dir('d', { mode: 0o1777, uid: 1000, gid: 70000, pax: { mtime: '1234567890.123456789' } }),
        file('d/f', 'hello', { mode: 0o6755, uid: 4_000_000_000, gid: 5, pax: { mtime: '-5.25', atime: '99.5' } }),
        symlink('d/fast', '../somewhere'),
        symlink('d/slow', 'x'.repeat(200)),
        { name: 'd/null', type: 'character-device', devmajor: 1, devminor: 3, mode: 0o666 },
        { name: 'd/big', type: 'block-device', devmajor: 259, devminor: 70000, mode: 0o600 },
        { name: 'd/pipe', type: 'fifo', mode: 0o622 },
        link('d/again', 'd/f', { mode: 0o640, uid: 9, pax: { mtime: '77' } }),
        file('ümläut/日本語.txt', 'utf'),
        file(`${'n'.repeat(255)}`, 'long'),
      ]),
    );
    await expectClean();
    await stack.read(async (filesystem) => {
      expect(filesystem.label).toBe('containerfs');
      expect(await filesystem.stat('/')).toMatchObject({ mode: 0o711, uid: 7 });
      expect(await filesystem.stat('/d')).toMatchObject({
        type: 'directory',
        mode: 0o1777,
        uid: 1000,
        gid: 70000,
        mtime: 1234567890123456789n,
      });
      // The hard link's header applies to both names.
      expect(await filesystem.stat('/d/f')).toMatchObject({ mode: 0o640, uid: 9, nlink: 2, mtime: 77_000_000_000n });
      expect((await filesystem.stat('/d/again')).ino).toBe((await filesystem.stat('/d/f')).ino);
      expect(await contentOf(filesystem, '/d/again')).toBe('hello');
      for (const [name, target] of [
        ['fast', '../somewhere'],
        ['slow', 'x'.repeat(200)],
      ]) {
        const stat = await filesystem.stat(`/d/${name}`);
        expect(stat).toMatchObject({ type: 'symlink', size: target?.length });
        expect((await filesystem.readlink(stat.ino)).toString()).toBe(target);
      }
      expect(await filesystem.stat('/d/null')).toMatchObject({ type: 'char', major: 1, minor: 3, mode: 0o666 });
      expect(await filesystem.stat('/d/big')).toMatchObject({ type: 'block', major: 259, minor: 70000 });
      expect(await filesystem.stat('/d/pipe')).toMatchObject({ type: 'fifo', mode: 0o622 });
      expect(await contentOf(filesystem, '/ümläut/日本語.txt')).toBe('utf');
      expect(await contentOf(filesystem, `/${'n'.repeat(255)}`)).toBe('long');
      await expect(filesystem.stat('/lost+found')).rejects.toMatchObject({ kind: 'notFound' });
    });
    expect(await debugfs(stack.top, 'stat /d/big')).toContain('Device major/minor number: 259:70000');
  });

  test('times before 1970, nanoseconds, and beyond 2038', async () => {
    await layer(
      file('old', '', { pax: { mtime: '-1.5', atime: '1.000000001' } }),
      file('far', '', { pax: { mtime: '9000000000.000000007' } }),
    );
    await stack.read(async (filesystem) => {
      expect(await filesystem.stat('old')).toMatchObject({ mtime: -1_500_000_000n, atime: 1_000_000_001n });
      expect((await filesystem.stat('far')).mtime).toBe(9_000_000_000_000_000_007n);
    });
    await expectClean();
  });

  test('extended attributes, in the inode and in a block', async () => {
    const capability =
      '\u0001\u0000\u0000\u0002\u0000\u0020\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000\u0000';
    await layer(
      file('cap', 'x', { pax: xattr('security.capability', capability) }),
      file('many', 'x', {
        pax: {
          ...xattr('security.capability', capability),
          ...xattr('user.big', 'v'.repeat(3000)),
          ...xattr('user.empty', ''),
          ...xattr('trusted.overlay.opaque', 'y'),
        },
      }),
      { ...symlink('capLink', 'cap'), pax: xattr('security.capability', capability) },
    );
    await expectClean();
    // A directory that is named again keeps its attributes and gains more; a file starts afresh.
    await layer(file('cap', 'y'), link('many2', 'many'), link('capLink2', 'capLink'));
    await expectClean();
    await stack.read(async (filesystem) => {
      const of = async (path: string) => filesystem.xattrs((await filesystem.stat(path)).ino);
      expect((await of('cap')).size).toBe(0);
      expect((await filesystem.xattrs((await filesystem.stat('capLink')).ino)).size).toBe(0);
      const many = await of('many');
      // The chown that comes with a hard link's header takes capabilities away, as the kernel does for Docker.
      expect([...many.keys()].sort()).toEqual(['trusted.overlay.opaque', 'user.big', 'user.empty']);
      expect(many.get('user.big')?.length).toBe(3000);
    });
    expect(await debugfs(stack.paths[0] as string, 'ea_list /cap')).toContain('security.capability (20)');
  });

  test('an ACL is stored in the form of ext4 and follows the mode', async () => {
    const acl = Buffer.alloc(4 + 5 * 8);
    acl.writeUInt32LE(2, 0);
    [
      [1, 6, 0],
      [2, 4, 1000],
      [4, 4, 0],
      [0x10, 4, 0],
      [0x20, 0, 0],
    ].forEach(([tag, perm, id], i) => {
      acl.writeUInt16LE(tag as number, 4 + i * 8);
      acl.writeUInt16LE(perm as number, 6 + i * 8);
      acl.writeUInt32LE(id as number, 8 + i * 8);
    });
    // 1000 is 0xe8 0x03, which is not UTF-8: 104 instead.
    acl.writeUInt32LE(104, 4 + 8 + 4);
    await layer(file('f', 'x', { mode: 0o660, pax: xattr('system.posix_acl_access', acl.toString('latin1')) }));
    await expectClean();
    await stack.read(async (filesystem) => {
      const stored = (await filesystem.xattrs((await filesystem.stat('f')).ino)).get('system.posix_acl_access');
      expect(stored?.readUInt16LE(4 + 3 * 8 + 2)).toBe(6); // mask = group bits
      expect(stored?.readUInt32LE(4 + 8 + 4)).toBe(104);
    });
  });

  test('attributes that do not fit are left out and counted', async () => {
    const result = await stack.add(
      await tarOf([
        { ...symlink('s', 't'), pax: xattr('user.x', 'y') },
        file('f', '', { pax: xattr('system.nfs4_acl', 'y') }),
      ]),
    );
    expect(result.skippedAttributes).toBe(2);
    await expectClean();
  });
});

describe('layers over layers', () => {
  test('whiteouts, opaque directories, replacement in all directions', async () => {
    await layer(
      dir('keep'),
      file('keep/a'),
      file('keep/b'),
      dir('opaque'),
      file('opaque/lower'),
      dir('opaque/sub'),
      file('opaque/sub/lower'),
      dir('todir'),
      file('todir/x'),
      file('tofile'),
      symlink('link', 'keep'),
      file('gone'),
    );
    await layer(
      file('opaque/sub/upper'),
      file('opaque/upper'),
      file('opaque/.wh..wh..opq', ''),
      file('keep/.wh.a', ''),
      file('.wh.gone', ''),
      file('.wh.never-there', ''),
      file('todir', 'now a file'),
      dir('tofile'),
      file('tofile/inside'),
      file('link/through', 'followed'),
    );
    await expectClean();
    await stack.read(async (filesystem) => {
      expect(await tree(filesystem)).toEqual([
        'keep',
        'keep/b',
        'keep/through',
        'link',
        'opaque',
        'opaque/sub',
        'opaque/sub/upper',
        'opaque/upper',
        'todir',
        'tofile',
        'tofile/inside',
      ]);
      expect(await contentOf(filesystem, 'todir')).toBe('now a file');
    });
    // The first layer's disk still holds the first layer.
    await withFilesystem(stack.paths[0] as string, async (filesystem) => {
      expect(await contentOf(filesystem, 'gone')).toBe('gone');
      expect(await contentOf(filesystem, 'opaque/sub/lower')).toBe('opaque/sub/lower');
    });
  });

  test('a file repeated with new permissions, a hard link to a lower file, the last of two entries wins', async () => {
    await layer(file('a', 'content'), file('b', 'b'));
    await layer(file('a', 'content', { mode: 0o400 }), link('c', 'b', { mode: 0o755, uid: 3 }));
    await layer(file('twice', 'first'), file('twice', 'second'), file('.wh.b', ''));
    await expectClean();
    await stack.read(async (filesystem) => {
      expect((await filesystem.stat('a')).mode).toBe(0o400);
      expect(await filesystem.stat('c')).toMatchObject({ mode: 0o755, uid: 3, nlink: 1 });
      expect(await contentOf(filesystem, 'c')).toBe('b');
      expect(await contentOf(filesystem, 'twice')).toBe('second');
    });
  });

  test('a small layer makes a small disk', async () => {
    const big = Buffer.alloc(20 * 2 ** 20, 1);
    await stack.add(await tarOf([{ name: 'big', content: big }]));
    const { bytesWritten, size } = await stack.add(await tarOf([file('etc/conf', 'x')]));
    expect(size).toBe(1);
    expect(bytesWritten).toBeLessThan(2 * 2 ** 20);
    await expectClean();
  });

  test('the same layer makes the same disk byte for byte, however it arrives', async () => {
    const tar = await tarOf([dir('d'), ...Array.from({ length: 300 }, (_, i) => file(`d/${i}`, 'x'.repeat(i * 50)))]);
    await stack.add(streamOf(tar, 65536), { outPath: join(directory, 'one.vmdk') });
    await stack.add(streamOf(tar, 1000), { outPath: join(directory, 'two.vmdk') });
    const [one, two] = await Promise.all(
      ['one', 'two'].map((name) => readFile(join(directory, `${name}.vmdk`), 'latin1')),
    );
    // The descriptor names its own file.
    expect(one?.replace('one.vmdk', 'two.vmdk') === two).toBe(true);
  });

  test('missing parents are created; deep paths work', async () => {
    const deep = Array.from({ length: 100 }, (_, i) => `level${i}`).join('/');
    await layer(file(`${deep}/leaf`, 'deep'));
    await layer(file(`${deep}/.wh.leaf`, ''), file(`${deep}/other`, 'new'));
    await expectClean();
    await stack.read(async (filesystem) => {
      expect(await contentOf(filesystem, `/${deep}/other`)).toBe('new');
      expect(await filesystem.stat('/level0/level1')).toMatchObject({ mode: 0o755, uid: 0 });
      await expect(filesystem.stat(`/${deep}/leaf`)).rejects.toMatchObject({ kind: 'notFound' });
    });
  });

  test('a directory grows to an index of one and of two levels, shrinks, and stays sound', async () => {
    const names = (count: number, prefix: string) =>
      Array.from({ length: count }, (_, i) => file(`big/${prefix}${i}`, ''));
    await layer(...names(3000, 'some-file-name-'));
    expect(await debugfs(stack.top, 'htree_dump /big')).toContain('Hash Version: 1');
    await layer(...names(1200, `${'long'.repeat(50)}-`), ...names(50, 'ünïcödé-'));
    await layer(...Array.from({ length: 2990 }, (_, i) => file(`big/.wh.some-file-name-${i}`, '')));
    await expectClean();
    await stack.read(async (filesystem) => expect((await tree(filesystem)).length).toBe(1 + 10 + 1200 + 50));
  });

  test('a sparse file stays sparse', async () => {
    const content = Buffer.alloc(10 * 2 ** 20);
    content.write('start', 0);
    content.write('end', content.length - 3);
    await stack.add(await tarOf([{ name: 'sparse', content }]));
    await expectClean();
    await stack.read(async (filesystem) => {
      const stat = await filesystem.stat('sparse');
      expect(stat).toMatchObject({ size: content.length, allocated: 131072 });
      expect((await readAll(filesystem.readFile(stat.ino))).equals(content)).toBe(true);
      const range = { start: 3, end: 70000 };
      expect((await readAll(filesystem.readFile(stat.ino, range))).equals(content.subarray(3, 70000))).toBe(true);
    });
  });

  test('a file in very many pieces has a deep extent tree', async () => {
    const content = Buffer.alloc(1500 * 131072);
    for (let i = 0; i < 1500; i++) content[i * 131072] = 1;
    await stack.add(await tarOf([{ name: 'pieces', content }]));
    await expectClean();
    expect(await debugfs(stack.top, 'dump_extents -n /pieces')).toMatch(/ 1\/ 2 /);
    await stack.read(async (filesystem) => {
      const { ino } = await filesystem.stat('pieces');
      expect((await readAll(filesystem.readFile(ino))).equals(content)).toBe(true);
    });
    await layer(file('.wh.pieces', ''));
    await expectClean();
  });
});

describe('bad layers', () => {
  const refused = async (kind: string, ...entries: Entry[]) => {
    const outPath = join(directory, 'refused.vmdk');
    await expect(stack.add(await tarOf(entries), { outPath })).rejects.toMatchObject({ kind });
    await expect(access(outPath)).rejects.toMatchObject({ code: 'ENOENT' });
  };

  test.each([
    ['a path out of the root', [file('../evil')]],
    ['one that pretends', [file('a/../../evil')]],
    ['a hard link out of the root', [link('x', '../../etc/passwd')]],
    ['a hard link to nothing', [link('x', 'nothing')]],
    ['a hard link to a directory', [dir('d'), link('x', 'd')]],
    ['a hard link to itself', [file('x'), link('x', 'x')]],
    ['a file below a file', [file('x'), file('x/y')]],
    ['a loop of links', [symlink('x', 'y'), symlink('y', 'x'), file('x/z')]],
    ['a name of 256 bytes', [file('n'.repeat(256))]],
    ['a whiteout of nothing', [file('d/.wh.', '')]],
    ['a whiteout of the directory above', [file('d/.wh...', '')]],
    ['a device with impossible numbers', [{ name: 'd', type: 'block-device' as const, devmajor: 5000, devminor: 0 }]],
  ])('%s is refused', (_, entries) => refused('invalid', ...entries));

  test('links cannot lead out of the root', async () => {
    await layer(
      symlink('up', '../../../../..'),
      symlink('abs', '/'),
      file('up/a'),
      file('abs/b'),
      symlink('e', '/etc'),
    );
    await layer(dir('etc'), file('e/passwd', 'ours'));
    await expectClean();
    await stack.read(async (filesystem) => {
      expect(await tree(filesystem)).toEqual(['a', 'abs', 'b', 'e', 'etc', 'etc/passwd', 'up']);
      expect(await contentOf(filesystem, '/up/up/abs/e/passwd')).toBe('ours');
      expect(await contentOf(filesystem, '../../etc/passwd')).toBe('ours');
    });
  });

  test('garbage, a truncated tar and a wrong checksum are refused', async () => {
    const good = await tarOf([file('a', 'x'.repeat(5000))]);
    const flipped = Buffer.from(good);
    flipped[3] = 0x41;
    for (const bad of [Buffer.alloc(2000, 0x42), good.subarray(0, 700), good.subarray(0, 100), flipped]) {
      const outPath = join(directory, 'refused.vmdk');
      await expect(stack.add(bad, { outPath })).rejects.toMatchObject({ kind: 'invalid' });
    }
  });

  test('a full filesystem is an error', async () => {
    stack = new Stack(directory, 16 * 2 ** 20);
    const outPath = join(directory, 'refused.vmdk');
    const tar = await tarOf([{ name: 'big', content: Buffer.alloc(20 * 2 ** 20, 1) }]);
    await expect(stack.add(tar, { outPath })).rejects.toMatchObject({ kind: 'insufficientResources' });
    const many = await tarOf(Array.from({ length: 1100 }, (_, i) => file(`f${i}`, '')));
    await expect(stack.add(many, { outPath })).rejects.toMatchObject({ kind: 'insufficientResources' });
    // It works up to the last block.
    const fits = await tarOf([{ name: 'big', content: Buffer.alloc(11 * 2 ** 20, 1) }]);
    await stack.add(fits);
    await layer(file('.wh.big', ''));
    await stack.add(fits);
    await expectClean();
  });

  test('an entry for the root itself leaves it a directory, whatever type it claims', async () => {
    await layer(dir('d'), file('d/kept'));
    for (const name of ['.', './', './.', 'x/..', '/'])
      await layer(file(name, 'data'), symlink(name, '/etc'), link(name, 'd/kept'), file('after'));
    await expectClean();
    await stack.read(async (filesystem) => expect(await tree(filesystem)).toEqual(['after', 'd', 'd/kept']));
  });

  test('hard links to AUFS’s own files, and whiteouts that are hard links', async () => {
    await layer(dir('gone'), file('gone/x'));
    await layer(
      dir('.wh..wh.plnk'),
      file('.wh..wh.plnk/0001.0002', 'shared'),
      file('.wh..wh.aufs', ''),
      link('one', '.wh..wh.plnk/0001.0002'),
      link('two', '/.wh..wh.plnk/0001.0002'),
      link('.wh.gone', '.wh..wh.plnk/0001.0002'),
    );
    await expectClean();
    await stack.read(async (filesystem) => {
      expect(await tree(filesystem)).toEqual(['one', 'two']);
      const ino = await filesystem.resolve(Buffer.from('/two'), { followLast: false });
      expect((await filesystem.statInode(ino)).nlink).toBe(2);
    });
  });

  test('directories are created below a dangling link and below a file of a lower layer', async () => {
    await layer(file('lower'), dir('d'), file('d/lower'));
    await layer(symlink('x', '/no/where'), file('x/y/z'), file('lower/f'), file('d/lower/a/b'));
    await expectClean();
    await stack.read(async (filesystem) => {
      for (const path of ['/no/where/y/z', '/lower/f', '/d/lower/a/b'])
        await expect(filesystem.resolve(Buffer.from(path), { followLast: false }), path).resolves.toBeGreaterThan(0);
    });
    await expect(layer(file('own'), file('own/f'))).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('an empty layer and an empty stream', async () => {
    await layer();
    const { cid } = await stack.add(Buffer.alloc(0));
    // A layer that changes nothing has no disk of its own: chains stay short.
    for (const nothing of [Buffer.alloc(0), Buffer.alloc(1024)])
      expect(await stack.add(nothing)).toMatchObject({ unchanged: true, bytesWritten: 0, size: 0, cid });
    // An unchanged root directory, and a whiteout of a file that does not exist.
    const same = [dir('./', { mtime: new Date(5000) }), file('.wh.nothing', '')];
    await layer(...same);
    expect(await stack.add(await tarOf(same))).toMatchObject({ unchanged: true, entries: 2 });
    expect(stack.paths).toHaveLength(2);
    expect(await readdir(stack.directory)).toHaveLength(2);
    await expectClean();
    await stack.read(async (filesystem) => expect(await tree(filesystem)).toEqual([]));
  });

  test('cancelling stops at once, also while the stream stalls', async () => {
    const stalled = new PassThrough();
    stalled.write((await tarOf([file('a', 'x'.repeat(100000))])).subarray(0, 3000));
    const outPath = join(directory, 'cancelled.vmdk');
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 20);
    const layering = stack.add(stalled, { outPath, signal: abort.signal });
    await expect(layering).rejects.toMatchObject({ kind: 'cancelled' });
    await expect(access(outPath)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(stalled.destroyed).toBe(true);
  });

  test('a failing stream fails the layer', async () => {
    const failing = new PassThrough();
    failing.destroy(new Error('registry went away'));
    await expect(stack.add(failing, { outPath: join(directory, 'x.vmdk') })).rejects.toThrow('registry went away');
  });

  test('the rest of the stream is read after the end mark', async () => {
    const stream = new PassThrough();
    stream.end(Buffer.concat([await tarOf([file('a')]), Buffer.alloc(300000, 5)]));
    await stack.add(stream);
    expect(stream.readableEnded).toBe(true);
  });

  test('a parent needs a hint', async () => {
    const options = { parent: null, tar: streamOf(Buffer.alloc(0)), outPath: join(directory, 'x'), seed: 'x' };
    await expect(applyLayer({ ...options, parentHint: 'p.vmdk' })).rejects.toMatchObject({ kind: 'invalid' });
  });
});

describe('empty filesystems', () => {
  test.each([8, 10, 100, 128, 129, 1000, 4096, 32768, 40000])('%d MiB', async (mebibytes) => {
    const outPath = join(directory, 'volume.vmdk');
    await createFilesystem({ outPath, capacity: mebibytes * 2 ** 20, seed: 'v', label: 'volume' });
    expect(await fsck(outPath)).toMatchObject({ code: 0 });
    await withFilesystem(outPath, async (filesystem) => {
      expect(filesystem.label).toBe('volume');
      expect(await filesystem.stat('/')).toMatchObject({ type: 'directory', mode: 0o755, nlink: 2 });
    });
  });

  test('too small a disk, or too long a label, is refused', async () => {
    const options = { outPath: join(directory, 'v.vmdk'), capacity: 2 ** 20, seed: 'v', label: 'v' };
    await expect(createFilesystem(options)).rejects.toMatchObject({ kind: 'invalid' });
    const long = { ...options, capacity: 2 ** 24, label: 'seventeen letters' };
    await expect(createFilesystem(long)).rejects.toMatchObject({ kind: 'invalid' });
  });
});
