/** Files of stopped containers: inspected, read and written on their disks. */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Container } from '../../../port-layer/exec/container.js';
import { compareTrees } from '../../../port-layer/files/changes.js';
import type { ContainerFiles } from '../../../port-layer/files/container-files.js';
import type { FileEntry } from '../../../port-layer/files/root-files.js';
import { asDockerSays } from '../../support/docker-words.js';
import { CONTAINER_ID as ID, stoppedContainer } from '../../support/stopped-container.js';
import { type Entry, fsck, readAll, Stack, streamOf, tarOf, temporaryDirectory } from '../disk/support.js';

let directory: string;
let remove: () => Promise<void>;
let files: ContainerFiles;
let container: Container;
let disk: string;

beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  const stack = new Stack(directory, undefined, basename(directory));
  await stack.add(
    await tarOf([
      { name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:/bin/sh\n' },
      { name: 'etc/group', content: 'staff:x:50:\n' },
      { name: 't/file', content: 'file', mode: 0o4755 },
      { name: 't/other', type: 'link', linkname: 't/file', mode: 0o4755 },
      { name: 't/abs', type: 'symlink', linkname: '/etc/passwd' },
      { name: 't/up', type: 'symlink', linkname: '../../../../etc/passwd' },
      { name: 't/dirl', type: 'symlink', linkname: 'sub' },
      { name: 't/broken', type: 'symlink', linkname: '/no/where' },
      { name: 't/loop', type: 'symlink', linkname: 'loop' },
      { name: 't/sub/deep', content: 'deep' },
      { name: 't/fifo', type: 'fifo' },
    ]),
  );
  ({ files, container, disk } = await stoppedContainer(directory, stack.top));
});
afterEach(() => remove());

/** `tar -tv` of an archive. */
function listed(tar: Buffer): string[] {
  const path = join(directory, 'listed.tar');
  writeFileSync(path, tar);
  return execFileSync('tar', ['-tvf', path, '--numeric-owner', '--utc'], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' ').replace(/ \d{4}-\d\d-\d\d \d\d:\d\d/, ''));
}

const archive = async (path: string): Promise<Buffer> => readAll((await files.archive(ID, path)).tar);

async function put(path: string, entries: Entry[], options = { keepKind: false, asUser: false }): Promise<void> {
  await asDockerSays(files.extract(ID, path, streamOf(await tarOf(entries)), options));
}

async function contentOf(path: string): Promise<string> {
  const place = join(directory, 'out.tar');
  writeFileSync(place, await archive(path));
  return execFileSync('tar', ['-xOf', place], { encoding: 'utf8' });
}

describe('looking', () => {
  it.each([
    ['/etc', { name: 'etc', linkTarget: '' }],
    ['/etc/', { name: 'etc' }],
    ['/etc/.', { name: '.' }],
    ['/', { name: '/' }],
    ['../../etc/passwd', { name: 'passwd', size: 53, mode: 0o100644 }],
    ['/t/abs', { name: 'abs', linkTarget: '/etc/passwd', size: 11 }],
    ['/t/up', { linkTarget: '/etc/passwd' }],
    ['/t/broken', { linkTarget: '/no/where' }],
    ['/t/dirl', { linkTarget: '/t/sub', mode: 0o120777 }],
    ['/t/dirl/', { linkTarget: '', name: 'dirl', mode: 0o040755 }],
    ['/t/dirl/deep', { size: 4 }],
    ['/t/file', { mode: 0o104755 }],
  ])('%s is described', async (path, expected) => expect(await files.stat(ID, path)).toMatchObject(expected));

  it.each([
    ['/nope', 'notFound', 'Could not find the file /nope in container'],
    ['/etc/passwd/', 'unavailable', 'lstat /etc/passwd/: not a directory'],
    ['/etc/passwd/x', 'unavailable', 'lstat /etc/passwd/x: not a directory'],
    ['/t/loop', 'unavailable', 'too many levels of symbolic links'],
    [`/${'n'.repeat(256)}`, 'unavailable', 'file name too long'],
    ['/n'.repeat(3000), 'unavailable', 'file name too long'],
  ])('%s is refused', async (path, kind, message) => {
    await expect(asDockerSays(files.stat(ID, path))).rejects.toMatchObject({
      kind,
      message: expect.stringContaining(message),
    });
  });
});

describe('taking out', () => {
  it("names entries by the path's last component, in order, with links", async () => {
    expect(listed(await archive('/t'))).toEqual([
      'drwxr-xr-x 0/0 0 t/',
      'lrwxrwxrwx 0/0 0 t/abs -> /etc/passwd',
      'lrwxrwxrwx 0/0 0 t/broken -> /no/where',
      'lrwxrwxrwx 0/0 0 t/dirl -> sub',
      'prw-r--r-- 0/0 0 t/fifo',
      '-rwsr-xr-x 0/0 4 t/file',
      'lrwxrwxrwx 0/0 0 t/loop -> loop',
      'hrwsr-xr-x 0/0 0 t/other link to t/file',
      'drwxr-xr-x 0/0 0 t/sub/',
      '-rw-r--r-- 0/0 4 t/sub/deep',
      'lrwxrwxrwx 0/0 0 t/up -> ../../../../etc/passwd',
    ]);
    expect(listed(await archive('/t/sub/.'))).toEqual(['drwxr-xr-x 0/0 0 ./', '-rw-r--r-- 0/0 4 ./deep']);
    expect(listed(await archive('/t/dirl/'))[0]).toBe('drwxr-xr-x 0/0 0 dirl/');
    expect(listed(await archive('/t/abs'))).toEqual(['lrwxrwxrwx 0/0 0 abs -> /etc/passwd']);
  });

  it('releases the container even when nobody reads', async () => {
    const { tar } = await files.archive(ID, '/t');
    let through = false;
    const next = container.exclusive(async () => {
      through = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(through).toBe(false);
    tar.destroy();
    await next;
    expect(through).toBe(true);
  });
});

describe('putting in', () => {
  it('creates, replaces and merges, and reads back what it wrote', async () => {
    const long = `${'long/'.repeat(60)}name`;
    await put('/t', [
      { name: 'sub', type: 'directory', mode: 0o700, mtime: new Date(1_000_000_000_000) },
      { name: 'sub/new', content: 'new', mode: 0o600, uid: 1234, gid: 5678 },
      { name: 'file', content: 'replaced' },
      { name: 'hard', type: 'link', linkname: 'sub/new', mode: 0o600, uid: 1234, gid: 5678 },
      { name: 'soft', type: 'symlink', linkname: '../../../etc' },
      { name: 'null', type: 'character-device', devmajor: 1, devminor: 3 },
      { name: long, content: 'at the end' },
      { name: 'größe', content: 'umlaut' },
    ]);
    expect((await fsck(disk)).code).toBe(0);
    expect(await contentOf('/t/file')).toBe('replaced');
    expect(await contentOf('/t/other')).toBe('file');
    expect(await contentOf('/t/hard')).toBe('new');
    expect(await contentOf(`/t/${long}`)).toBe('at the end');
    expect(await contentOf('/t/größe')).toBe('umlaut');
    expect(await contentOf('/t/sub/deep')).toBe('deep');
    const rows = listed(await archive('/t'));
    expect(rows).toContain('drwx------ 0/0 0 t/sub/');
    expect(rows).toContain('-rw------- 1234/5678 3 t/hard');
    expect(rows).toContain('hrw------- 1234/5678 0 t/sub/new link to t/hard');
    expect(rows).toContain('lrwxrwxrwx 0/0 0 t/soft -> ../../../etc');
    expect((await files.stat(ID, '/t/sub')).mtime.sec).toBe(1_000_000_000);
    expect(readdirSync(join(directory, 'spool'))).toEqual([]);
  });

  it('follows links, but never out of the root', async () => {
    await put('/t/dirl', [{ name: 'through', content: 'link' }]);
    expect(await contentOf('/t/sub/through')).toBe('link');
    await put('/', [{ name: 't/soft', type: 'symlink', linkname: '../../..' }]);
    await put('/', [{ name: 't/soft/in', content: 'inside' }]);
    expect(await contentOf('/in')).toBe('inside');
    await expect(put('/t', [{ name: '../out', content: '' }])).rejects.toMatchObject({
      message: 'invalid entry name "../out"',
    });
    await put('/t', [{ name: '/absolute/name', content: 'below' }]);
    expect(await contentOf('/t/absolute/name')).toBe('below');
  });

  it('gives everything to the container’s user when asked', async () => {
    await put('/', [{ name: 'mine', content: '' }], { keepKind: false, asUser: true });
    expect(listed(await archive('/mine'))).toEqual(['-rw-r--r-- 33/34 0 mine']);
    container.spec.process.user = '7:staff';
    await put('/', [{ name: 'mine', content: '' }], { keepKind: false, asUser: true });
    expect(listed(await archive('/mine'))).toEqual(['-rw-r--r-- 7/50 0 mine']);
    container.spec.process.user = 'nosuch';
    await expect(put('/', [{ name: 'x' }], { keepKind: false, asUser: true })).rejects.toMatchObject({
      kind: 'invalid',
      message: 'failed to look up user "nosuch" in container: no matching entries in passwd file',
    });
  });

  it.each([
    ['/nope', 'notFound', 'Could not find the file /nope'],
    ['/t/broken', 'notFound', 'Could not find the file /t/broken'],
    ['/etc/passwd', 'invalid', 'extraction point is not a directory'],
    ['/etc/passwd/x', 'unavailable', 'not a directory'],
    ['/t/loop', 'unavailable', 'EvalSymlinks: too many links'],
  ])('%s is refused', async (path, kind, message) => {
    await expect(put(path, [{ name: 'x' }])).rejects.toMatchObject({ kind, message: expect.stringContaining(message) });
  });

  it('does not replace a directory with a file or vice versa when asked, and changes nothing on an error', async () => {
    const keep = { keepKind: true, asUser: false };
    await expect(
      put(
        '/t',
        [
          { name: 'first', content: 'x' },
          { name: 'sub', content: 'no' },
        ],
        keep,
      ),
    ).rejects.toMatchObject({ message: 'cannot overwrite directory "sub" with non-directory "/t"' });
    await expect(put('/t', [{ name: 'file', type: 'directory' }], keep)).rejects.toMatchObject({
      message: 'cannot overwrite non-directory "file" with directory "/t"',
    });
    await expect(files.stat(ID, '/t/first')).rejects.toMatchObject({ kind: 'notFound' });
    await put('/t', [{ name: 'sub', content: 'now a file' }]);
    expect(await contentOf('/t/sub')).toBe('now a file');
    expect((await fsck(disk)).code).toBe(0);
  });

  it('refuses data that is not a tar, a truncated tar, and a read-only root', async () => {
    const extract = (bytes: Buffer): Promise<void> =>
      asDockerSays(files.extract(ID, '/t', streamOf(bytes), { keepKind: false, asUser: false }));
    await expect(extract(Buffer.alloc(2000, 'x'))).rejects.toMatchObject({
      message: 'archive/tar: invalid tar header',
    });
    const whole = await tarOf([{ name: 'cut', content: 'x'.repeat(3000) }]);
    await expect(extract(whole.subarray(0, 1500))).rejects.toMatchObject({ message: 'unexpected EOF' });
    await extract(Buffer.alloc(0));
    // An archive may end where padding would begin.
    const small = await tarOf([{ name: 'small', content: 'abc' }]);
    await extract(small.subarray(0, 512 + 100));
    expect(await contentOf('/t/small')).toBe('abc');
    container.spec.readOnlyRoot = true;
    await expect(put('/t', [])).rejects.toMatchObject({ message: 'container rootfs is marked read-only' });
  });
});

describe('changes', () => {
  const rows = async (): Promise<string[]> => (await files.changes(ID)).map(({ kind, path }) => `${kind[0]} ${path}`);

  it('do not include the destination itself, whatever type an entry for it claims', async () => {
    for (const name of ['.', './.', 'x/..', '/'])
      await put('/t', [
        { name, content: 'data' },
        { name, type: 'symlink', linkname: '/etc' },
        { name, type: 'link', linkname: 'sub/deep' },
        { name, type: 'fifo' },
      ]);
    expect(await rows()).toEqual([]);
    for (const linkname of ['.', 'x/..'])
      await expect(put('/t', [{ name: 'h', type: 'link', linkname }])).rejects.toMatchObject({
        message: `invalid hardlink target "${linkname}"`,
      });
    await expect(put('/t', [{ name: '/../up', content: '' }])).rejects.toMatchObject({
      message: 'invalid entry name "/../up"',
    });
  });

  it('are empty at first', async () => expect(await files.changes(ID)).toEqual([]));

  it('are listed in path order, with the directories above them', async () => {
    await put('/', [
      { name: 't/sub/deep', content: 'longer now' },
      { name: 't/sub/deep.txt', content: '' },
      { name: 'new/er/leaf', content: '' },
      { name: '.dockerenv', content: '' },
      { name: 't/fifo', type: 'directory' },
      { name: 't/abs', type: 'symlink', linkname: '/etc/group' },
    ]);
    expect(await rows()).toEqual([
      'a /new',
      'a /new/er',
      'a /new/er/leaf',
      'm /t',
      'm /t/abs',
      'm /t/fifo',
      'm /t/sub',
      'm /t/sub/deep',
      'a /t/sub/deep.txt',
    ]);
  });

  it('list a directory that was removed or replaced by a file once', async () => {
    await put('/', [{ name: 't', content: 'a file now' }]);
    expect(await rows()).toEqual(['m /t']);
    const removed: FileEntry[] = [];
    const before = [entry('', 0o040755), entry('a', 0o040755), entry('a/x', 0o100644), entry('b', 0o100644)];
    for await (const change of compareTrees(each(before), each([entry('', 0o040755)]), { exact: false }))
      removed.push({ ...entry(change.path, 0), target: change.kind });
    expect(removed.map(({ path, target }) => `${target} ${path}`)).toEqual(['deleted a', 'deleted b']);
  });

  it('consider inodes when they must be exact', async () => {
    const old = entry('file', 0o100644);
    const changed = { ...old, ctime: { sec: 9, nsec: 9 } };
    const compare = async (exact: boolean): Promise<number> => {
      let count = 0;
      for await (const _ of compareTrees(each([old]), each([changed]), { exact })) count++;
      return count;
    };
    expect([await compare(false), await compare(true)]).toEqual([0, 1]);
  });
});

it('exports the whole root, without an entry for the root itself', async () => {
  const names = listed(await readAll(await files.export(ID))).map((line) => line.split(' ')[3]);
  expect(names.slice(0, 3)).toEqual(['.dockerenv', 'dev/', 'dev/console']);
  expect(names).toEqual(expect.arrayContaining(['etc/', 'etc/group', 'etc/passwd', 't/', 't/abs']));
});

function entry(path: string, mode: number): FileEntry {
  const time = { sec: 1, nsec: 0 };
  const ids = { uid: 0, gid: 0, nlink: 1, size: 0, ino: 1n, dev: 0n, major: 0, minor: 0 };
  return { path, mode, ...ids, mtime: time, ctime: time, atime: time, target: '', capability: null };
}

async function* each(entries: FileEntry[]): AsyncGenerator<FileEntry> {
  yield* entries;
}
