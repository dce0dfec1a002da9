/** Docker's init layer in a container that was never started, whatever the image has at its paths. */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ContainerFiles } from '../../../port-layer/files/container-files.js';
import { compileProgram } from '../../../tether/program/compile.js';
import { processSpec, programSpec } from '../../support/specs.js';
import { CONTAINER_ID as ID, stoppedContainer } from '../../support/stopped-container.js';
import { type Entry, fsck, readAll, Stack, streamOf, tarOf, temporaryDirectory } from '../disk/support.js';

let directory: string;
let remove: () => Promise<void>;

beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(() => remove());

async function containerOf(entries: Entry[]): Promise<{ files: ContainerFiles; disk: string }> {
  const stack = new Stack(directory, undefined, basename(directory));
  await stack.add(await tarOf(entries));
  return stoppedContainer(directory, stack.top);
}

/** Modes, sizes and names of an archive's entries. */
async function exported(files: ContainerFiles): Promise<string[]> {
  const path = join(directory, 'out.tar');
  writeFileSync(path, await readAll(await files.export(ID)));
  const text = execFileSync('tar', ['-tvf', path, '--numeric-owner'], { encoding: 'utf8' });
  return text
    .trim()
    .split('\n')
    .map((line) => line.replace(/ +/g, ' ').replace(/ \d{4}-\d\d-\d\d \d\d:\d\d/, ''));
}

const DEVICES = [
  'drwxr-xr-x 0/0 0 dev/',
  '-rwxr-xr-x 0/0 0 dev/console',
  'drwxr-xr-x 0/0 0 dev/pts/',
  'drwxr-xr-x 0/0 0 dev/shm/',
];
const ETC = [
  'drwxr-xr-x 0/0 0 etc/',
  '-rwxr-xr-x 0/0 0 etc/hostname',
  '-rwxr-xr-x 0/0 0 etc/hosts',
  'lrwxrwxrwx 0/0 0 etc/mtab -> /proc/mounts',
];
const RESOLV = '-rwxr-xr-x 0/0 0 etc/resolv.conf';
const ENV = '-rwxr-xr-x 0/0 0 .dockerenv';
const ENDS = ['drwxr-xr-x 0/0 0 proc/', 'drwxr-xr-x 0/0 0 sys/'];

// As in the reference engine's `docker export`.
it.each<[string, Entry[], string[]]>([
  ['nothing at all', [{ name: 'b', content: 'x' }], [ENV, '-rw-r--r-- 0/0 1 b', ...DEVICES, ...ETC, RESOLV, ...ENDS]],
  [
    'links that lead nowhere',
    [
      { name: 'etc/resolv.conf', type: 'symlink', linkname: '../run/systemd/resolve/stub-resolv.conf' },
      { name: 'proc', type: 'symlink', linkname: '/tmp/p' },
      { name: 'sys', type: 'symlink', linkname: '/nowhere' },
      { name: 'dev', type: 'symlink', linkname: '../../../run/dev' },
    ],
    [ENV, ...DEVICES, ...ETC, RESOLV, ...ENDS],
  ],
  [
    'another directory as /etc',
    [
      { name: 'usr/etc/group', content: 'x' },
      { name: 'etc', type: 'symlink', linkname: 'usr/etc' },
    ],
    [
      ENV,
      ...DEVICES,
      ...ETC,
      RESOLV,
      ...ENDS,
      'drwxr-xr-x 0/0 0 usr/',
      'drwxr-xr-x 0/0 0 usr/etc/',
      '-rw-r--r-- 0/0 1 usr/etc/group',
    ],
  ],
  [
    'a directory, a fifo, files, one with a second name',
    [
      { name: 'etc/resolv.conf/x', content: 'in' },
      { name: 'etc/hostname', type: 'fifo' },
      { name: 'etc/other', content: 'shared' },
      { name: 'etc/hosts', type: 'link', linkname: 'etc/other' },
      { name: 'etc/mtab', content: 'old' },
      { name: 'proc', content: 'x' },
      { name: '.dockerenv', content: 'image' },
    ],
    [
      ENV,
      ...DEVICES,
      ...ETC,
      '-rw-r--r-- 0/0 6 etc/other',
      'drwxr-xr-x 0/0 0 etc/resolv.conf/',
      '-rw-r--r-- 0/0 2 etc/resolv.conf/x',
      ...ENDS,
    ],
  ],
])('replaces %s, and does not count as a change', async (_, entries, expected) => {
  const { files, disk } = await containerOf(entries);
  expect(await exported(files)).toEqual(expected);
  expect(await files.changes(ID)).toEqual([]);
  const layer = await readAll(await files.layer(ID, { freeze: false }));
  expect(layer.every((byte) => byte === 0)).toBe(true);
  await fsck(disk);
});

it('is made once: what is written there later stays, and counts as a change', async () => {
  const { files } = await containerOf([{ name: 'etc/mtab', content: 'old' }]);
  const mine = [
    { name: 'etc/mtab', content: 'mine' },
    { name: 'etc/hosts', content: 'mine too' },
  ];
  await files.extract(ID, '/', streamOf(await tarOf(mine)), { keepKind: false, asUser: false });
  expect(await exported(files)).toEqual(
    expect.arrayContaining(['-rw-r--r-- 0/0 4 etc/mtab', '-rw-r--r-- 0/0 8 etc/hosts']),
  );
  expect((await files.changes(ID)).map(({ path }) => path)).toEqual(['/etc', '/etc/hosts', '/etc/mtab']);
});

it('is a step of the first start only', () => {
  const step = Buffer.from('1e0800000040e2010000000000', 'hex');
  const program = programSpec(processSpec(['x']));
  expect(compileProgram({ ...program, initLayer: 123_456 }).includes(step)).toBe(true);
  expect(compileProgram(program).includes(step)).toBe(false);
});
