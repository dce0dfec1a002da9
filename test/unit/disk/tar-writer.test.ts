/** Tar entries as they are written: read back by our own reader and by GNU tar. */
import { execFileSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { TarReader } from '../../../src/disk/tar/reader.js';
import { TAR_END, type TarFields, tarHeader, tarPadding } from '../../../src/disk/tar/writer.js';
import { temporaryDirectory } from './support.js';

let directory: string;
let remove: () => Promise<void>;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(() => remove());

const file = (name: string, more: Partial<TarFields> = {}): TarFields => ({
  type: '0',
  name,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: 1_600_000_000,
  ...more,
});

const bytes = (text: string): string => Buffer.from(text).toString('latin1');

async function readBack(archive: Buffer): Promise<Record<string, unknown>[]> {
  const reader = new TarReader(Readable.from([archive], { objectMode: false }));
  const entries: Record<string, unknown>[] = [];
  for (let entry = await reader.next(); entry; entry = await reader.next()) entries.push({ ...entry });
  return entries;
}

const CASES: TarFields[] = [
  file('plain'),
  file('x'.repeat(100)),
  file('x'.repeat(101)),
  file(`${'deep/'.repeat(200)}leaf`, { size: 0 }),
  file(bytes('größe/日本')),
  file('\xff\xfe not text'),
  file('caps', { xattrs: new Map([['security.capability', Buffer.from([1, 0, 0, 2, 0, 10, 61, 255])]]) }),
  file('ids', { uid: 2 ** 21 - 1, gid: 2 ** 21 }),
  file('largest ids', { uid: 4_294_967_294, gid: 4_294_967_294 }),
  file('old', { mtime: -1 }),
  file('late', { mtime: 2 ** 34 }),
  file('suid', { mode: 0o7777 }),
  { ...file('link'), type: '1', linkName: 'y'.repeat(150) },
  { ...file('soft'), type: '2', linkName: bytes('../größe') },
  { ...file('null'), type: '3', major: 1, minor: 3 },
  { ...file('disk'), type: '4', major: 259, minor: 2 ** 20 - 1 },
  { ...file('dir/'), type: '5', mode: 0o1777 },
  { ...file('pipe'), type: '6' },
];

test.each(CASES)('$type $name comes back as it was', async (fields) => {
  const [entry] = await readBack(Buffer.concat([tarHeader(fields), TAR_END]));
  const { name, linkName = '', mode, uid, gid, mtime, major = 0, minor = 0, xattrs } = fields;
  expect(entry).toMatchObject({ name, linkName, mode, uid, gid, major, minor, mtime: { sec: mtime, nsec: 0 } });
  expect(entry?.xattrs ?? null).toEqual(xattrs ?? null);
});

test('GNU tar accepts a whole archive, sizes and padding included', async () => {
  const contents = ['', 'x', 'x'.repeat(511), 'x'.repeat(512), 'x'.repeat(513), 'y'.repeat(100_000)];
  const parts = contents.flatMap((content, i) => [
    tarHeader(file(`${'n'.repeat(60 * i)}${i}`, { size: content.length })),
    Buffer.from(content),
    tarPadding(content.length),
  ]);
  const path = join(directory, 'a.tar');
  await writeFile(path, Buffer.concat([...parts, ...CASES.slice(0, 4).map(tarHeader), TAR_END]));
  const sizes = execFileSync('tar', ['-tvf', path], { encoding: 'utf8' })
    .trim()
    .split('\n')
    .map((line) => Number(line.split(/ +/)[2]));
  expect(sizes).toEqual([...contents.map((content) => content.length), 0, 0, 0, 0]);
});

test('sizes beyond the octal field are written in full', async () => {
  const header = tarHeader(file('huge', { size: 2 ** 33 }));
  expect(header.length).toBe(3 * 512);
  expect(header.toString('latin1')).toContain('size=8589934592\n');
  expect(tarHeader(file('fits', { size: 2 ** 33 - 1 })).length).toBe(512);
});
