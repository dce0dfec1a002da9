/** Files of stopped containers with volumes: one tree over several disks. */
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Container } from '../../../port-layer/exec/container.js';
import type { ContainerCache } from '../../../port-layer/exec/container-cache.js';
import { Machine } from '../../../port-layer/exec/machine.js';
import type { ContainerFiles } from '../../../port-layer/files/container-files.js';
import type { VolumeMount } from '../../../port-layer/index.js';
import type { VolumeUse } from '../../../port-layer/storage/volume-use.js';
import { asDockerSays } from '../../support/docker-words.js';
import { CONTAINER_ID as ID, stoppedContainer, storedVolume } from '../../support/stopped-container.js';
import { type Entry, fsck, readAll, Stack, streamOf, tarOf, temporaryDirectory } from '../disk/support.js';

let directory: string;
let remove: () => Promise<void>;
let files: ContainerFiles;
let container: Container;
let cache: ContainerCache;
let use: VolumeUse;
let disks: Record<string, string>;

beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
  const stack = new Stack(directory, undefined, basename(directory));
  await stack.add(
    await tarOf([
      { name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\n' },
      { name: 'data/covered', content: 'nobody sees this' },
      { name: 'var/run', type: 'symlink', linkname: '../run' },
      { name: 'toData', type: 'symlink', linkname: 'data' },
    ]),
  );
  ({ files, container, cache, use } = await stoppedContainer(directory, stack.top));
  disks = {};
  for (const name of ['outer', 'inner', 'shared']) disks[name] = await storedVolume(directory, name);
  mount(
    // Not in mount order.
    { volume: 'inner', path: '/data/sub/deep', readOnly: false },
    { volume: 'outer', path: '/data', readOnly: false },
    { volume: 'shared', path: '/var/run/s', readOnly: true },
    { volume: 'shared', path: '/x/y', readOnly: false },
  );
});
afterEach(async () => {
  for (const disk of Object.values(disks)) expect((await fsck(disk)).output).not.toMatch(/error|fix/i);
  expect(readdirSync(join(directory, 'spool'))).toEqual([]);
  await remove();
});

function mount(...volumes: VolumeMount[]): void {
  container.spec = { ...container.spec, volumes };
}

const put = async (path: string, entries: Entry[], keepKind = false): Promise<void> =>
  asDockerSays(files.extract(ID, path, streamOf(await tarOf(entries)), { keepKind, asUser: false }));

/** `tar -t` or more of an archive. */
async function tar(path: string, ...options: string[]): Promise<string> {
  const place = join(directory, 'out.tar');
  writeFileSync(place, await readAll((await files.archive(ID, path)).tar));
  return execFileSync('tar', [...options, '-f', place], { encoding: 'utf8' });
}
const names = async (path: string): Promise<string[]> => (await tar(path, '-t')).trim().split('\n');
const content = (path: string): Promise<string> => tar(path, '-xO');

describe('volumes of a stopped container', () => {
  it('appear where they will be mounted, with their parent directories', async () => {
    expect(await names('/data')).toEqual(['data/', 'data/sub/', 'data/sub/deep/']);
    expect(await names('/x')).toEqual(['x/', 'x/y/']);
    expect(await names('/run')).toEqual(['run/', 'run/s/']);
    expect((await files.stat(ID, '/x')).mode & 0o170777).toBe(0o040755);
    const all = await names('/');
    expect(all.filter((name) => /^\/(data|run|x)/.test(name))).toEqual([
      ...['/data/', '/data/sub/', '/data/sub/deep/', '/run/', '/run/s/', '/x/', '/x/y/'],
    ]);
  });

  it('take their parts of one archive', async () => {
    await put('/', [
      { name: 'data/one', content: '1' },
      { name: 'data/sub/deep/two', content: '2' },
      { name: 'data/sub/deep/again', type: 'link', linkname: 'data/sub/deep/two' },
      { name: 'root', content: '3' },
      { name: 'x/y/four', content: '4' },
    ]);
    expect(await names('/data')).toEqual([
      ...['data/', 'data/one', 'data/sub/', 'data/sub/deep/', 'data/sub/deep/again', 'data/sub/deep/two'],
    ]);
    expect(await tar('/data/sub/deep', '-tv')).toMatch(/two link to deep\/again|again link to deep\/two/);
    expect(await content('/run/s/four')).toBe('4');
    mount();
    expect(await names('/data')).toEqual(['data/', 'data/covered']);
    expect(await content('/root')).toBe('3');
  });

  it('are reached through links, and lead out again', async () => {
    await put('/toData', [
      { name: 'viaLink', content: 'v' },
      { name: 'out', type: 'symlink', linkname: '../etc/passwd' },
      { name: 'across', type: 'symlink', linkname: '/data/sub/deep' },
    ]);
    expect(await content('/data/viaLink')).toBe('v');
    expect((await files.stat(ID, '/data/out')).linkTarget).toBe('/etc/passwd');
    await put('/data/across', [{ name: 'far', content: 'f' }]);
    expect(await content('/data/sub/deep/far')).toBe('f');
    expect(await names('/toData/')).toContain('toData/sub/deep/far');
  });

  it('show a subdirectory where only that is mounted', async () => {
    await put('/data', [{ name: 'part/of/it', content: 'p' }]);
    mount({ volume: 'outer', path: '/p', readOnly: false, subpath: 'part' });
    expect(await names('/p')).toEqual(['p/', 'p/of/', 'p/of/it']);
    await put('/p', [{ name: 'of/more', content: 'm' }]);
    mount({ volume: 'outer', path: '/data', readOnly: false });
    expect(await content('/data/part/of/more')).toBe('m');
  });

  it('are neither written to where they are read-only, nor replaced', async () => {
    const told = { kind: 'invalid', message: 'mounted volume is marked read-only' };
    await expect(put('/run/s', [{ name: 'f', content: '' }])).rejects.toThrow('openat f: read-only file system');
    mount({ volume: 'shared', path: '/ro', readOnly: true }, { volume: 'outer', path: '/data', readOnly: false });
    await expect(put('/ro', [{ name: 'f', content: '' }])).rejects.toMatchObject(told);
    await expect(put('/', [{ name: 'ro/f', content: '' }])).rejects.toThrow('openat ro/f: read-only file system');
    await expect(put('/', [{ name: 'data', content: '' }], true)).rejects.toThrow(
      'cannot overwrite directory "data" with non-directory "/"',
    );
    await expect(put('/', [{ name: 'data', content: '' }])).rejects.toThrow('device or resource busy');
    await expect(
      put('/', [
        { name: 'data/a', content: 'a' },
        { name: 'b', type: 'link', linkname: 'data/a' },
      ]),
    ).rejects.toThrow('linkat data/a b: invalid cross-device link');
  });

  it('are not touched while another container is starting with them', async () => {
    const other = new Container(
      {
        ...container.spec,
        id: 'd'.repeat(64),
        name: 'other',
        volumes: [{ volume: 'outer', path: '/o', readOnly: false }],
      },
      new Machine({ type: 'VirtualMachine', value: 'vm-2' }, ''),
    );
    other.dispatch({ type: 'start' });
    cache.add(other);
    use.admit(other.spec);
    await expect(names('/data')).rejects.toMatchObject({ kind: 'conflict' });
    other.dispatch({ type: 'offOrLeft' });
    expect(await names('/data/sub/deep')).toEqual(['deep/']);
  });
});
