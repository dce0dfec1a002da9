import { mkdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { DatastorePaths } from '../../../src/hostd/datastore/datastore-paths.js';
import { openDatastore, parseDatastore, parseDatastores } from '../../../src/hostd/datastore/datastore-places.js';
import { temporaryDirectory } from '../disk/support.js';

it.each([
  ['fast=/mnt/ssd', { name: 'fast', directory: '/mnt/ssd' }],
  ['a.b-c=/mnt//x/', { name: 'a.b-c', directory: '/mnt/x' }],
])('reads %s', (text, place) => {
  expect(parseDatastore(text)).toEqual(place);
});

it.each(['fast', '=/mnt', 'a/b=/mnt', '[x]=/mnt', 'fast=mnt', 'fast=/', 'fast='])('refuses %s', (text) => {
  expect(() => parseDatastore(text)).toThrow('is not of the form name=/directory');
});

it.each([
  [['datastore1=/mnt/a'], 'there is a datastore datastore1 already'],
  [['a=/mnt/a', 'a=/mnt/b'], 'there is a datastore a already'],
  [['a=/mnt/a', 'b=/mnt/a/b'], 'it shares files with /mnt/a'],
  [['a=/mnt/a/b', 'b=/mnt/a'], 'it shares files with /mnt/a/b'],
  [['a=/state/x'], 'it shares files with /state'],
])('refuses %s', (texts, message) => {
  expect(() => parseDatastores(texts, ['/state'])).toThrow(message);
});

it('never takes over a directory with the files of others', async () => {
  const { path, remove } = await temporaryDirectory();
  try {
    const directory = join(path, 'others');
    await mkdir(directory, { mode: 0o755 });
    await writeFile(join(directory, 'file'), '');
    await expect(openDatastore({ name: 'fast', directory })).rejects.toThrow('is not empty');
    const fresh = { name: 'fast', directory: join(path, 'new') };
    await openDatastore(fresh);
    expect((await stat(fresh.directory)).mode & 0o777).toBe(0o700);
    await writeFile(join(fresh.directory, 'file'), '');
    await openDatastore(fresh);
  } finally {
    await remove();
  }
});

it('gives each datastore the paths in its directory', () => {
  const paths = new DatastorePaths('/state/datastore1', [{ name: 'fast', directory: '/mnt/ssd' }]);
  for (const [name, local] of [
    ['[datastore1] a/b', '/state/datastore1/a/b'],
    ['[fast] a/b', '/mnt/ssd/a/b'],
  ] as const) {
    expect(paths.resolve(name)).toBe(local);
    expect(paths.pathOf(local)).toBe(name);
    expect(paths.relative(local)).toBe('a/b');
    expect(paths.has(local)).toBe(true);
  }
  expect(paths.has('/mnt/ssd2/a')).toBe(false);
  expect(paths.isRoot('/mnt/ssd')).toBe(true);
  expect(() => paths.resolve('[slow] a')).toThrow("There is no datastore 'slow'");
  expect(() => paths.resolve('[fast] ../a')).toThrow('is not a path of the datastore');
});
