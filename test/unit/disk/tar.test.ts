import { execFile } from 'node:child_process';
import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type TarEntry, TarReader } from '../../../src/disk/tar/reader.js';
import { streamOf, tarOf, temporaryDirectory } from './support.js';

const run = promisify(execFile);
let directory: string;
let remove: () => Promise<void>;
beforeEach(async () => {
  ({ path: directory, remove } = await temporaryDirectory());
});
afterEach(() => remove());

async function read(tar: Buffer, chunk = 65536): Promise<(TarEntry & { data: Buffer })[]> {
  const reader = new TarReader(streamOf(tar, chunk));
  const entries: (TarEntry & { data: Buffer })[] = [];
  for (let entry = await reader.next(); entry; entry = await reader.next()) {
    const parts: Buffer[] = [];
    for (let data = await reader.data(); data; data = await reader.data()) parts.push(Buffer.from(data));
    entries.push({ ...entry, data: Buffer.concat(parts) });
  }
  return entries;
}

/** GNU tar's archive of a directory `in` prepared by the test. */
async function gnuTar(...options: string[]): Promise<Buffer> {
  const { stdout } = await run('tar', [...options, '-C', join(directory), '-cf', '-', '.'], {
    encoding: 'buffer',
    maxBuffer: 2 ** 26,
  });
  return stdout;
}

test('an archive is told from its first part', async () => {
  await writeFile(join(directory, 'a'), 'a'.repeat(700));
  const tar = await gnuTar('--blocking-factor=1');
  const whole: number[] = [];
  for (let length = 0; length <= tar.length; length += 4) {
    const reader = new TarReader(streamOf(tar.subarray(0, length)));
    try {
      while (await reader.next());
    } catch {
      continue;
    }
    if (reader.endMarked) whole.push(length);
  }
  // Like Go's reader, one block of zeros at the very end is enough.
  expect(whole).toEqual([tar.length - 512, tar.length]);
});

describe('reading tars of other programs', () => {
  test.each(['gnu', 'pax'])('long names, long links and large numbers in the %s format', async (format) => {
    const name = 'n'.repeat(200);
    await writeFile(join(directory, name), 'long');
    await run('ln', ['-s', 't'.repeat(300), join(directory, 'link')]);
    await run('touch', ['-d', '1960-01-01 00:00:00.5 UTC', join(directory, name)]);
    await run('chown', ['3000000:3000001', join(directory, name)]);
    const entries = await read(await gnuTar(`--format=${format}`), 77);
    const long = entries.find((entry) => entry.name === `./${name}`);
    expect(long?.data.toString()).toBe('long');
    expect(long).toMatchObject({ uid: 3000000, gid: 3000001, type: 'file', size: 4 });
    expect(long?.mtime).toEqual({ sec: -315619200, nsec: format === 'pax' ? 500000000 : 0 });
    expect(entries.find((entry) => entry.name === './link')?.linkName).toBe('t'.repeat(300));
  });

  test.each([
    ['--format=gnu'],
    ['--format=pax', '--sparse-version=0.0'],
    ['--format=pax', '--sparse-version=0.1'],
    ['--format=pax', '--sparse-version=1.0'],
  ])('sparse files, %s %s', async (...options) => {
    const file = await open(join(directory, 'sparse'), 'w');
    for (let i = 0; i < 40; i++) await file.write(`piece ${i}`, i * 2 ** 20 + 4096);
    await file.truncate(50 * 2 ** 20);
    await file.close();
    const entries = await read(await gnuTar('--sparse', ...options), 1000);
    const sparse = entries.find((entry) => entry.name.endsWith('sparse'));
    expect(sparse).toMatchObject({ name: './sparse', size: 50 * 2 ** 20, type: 'file' });
    const whole = Buffer.alloc(50 * 2 ** 20);
    let at = 0;
    for (const { offset, length } of sparse?.parts ?? []) {
      sparse?.data.copy(whole, offset, at, at + length);
      at += length;
    }
    expect(at).toBe(sparse?.data.length);
    expect(at).toBeLessThan(2 ** 20);
    for (let i = 0; i < 40; i++) {
      const start = i * 2 ** 20 + 4096;
      expect(whole.toString('latin1', start, start + 8).startsWith(`piece ${i}`)).toBe(true);
    }
  });

  test('extended attributes with equals signs and line ends in them', async () => {
    const [entry] = await read(
      await tarOf([{ name: 'f', pax: { 'SCHILY.xattr.user.a': 'c=d\ne', comment: 'nothing' } }]),
    );
    expect(entry?.xattrs).toEqual(new Map([['user.a', Buffer.from('c=d\ne')]]));
  });

  test('names that are not UTF-8 stay as they are', async () => {
    await writeFile(Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe, 0x61])]), '');
    const entries = await read(await gnuTar('--format=gnu'));
    expect(entries.map((entry) => entry.name)).toContain('./\u00ff\u00fea');
  });
});

describe('hostile tars', () => {
  const damaged = async (change: (tar: Buffer) => void) => {
    const tar = Buffer.from(await tarOf([{ name: 'f', content: 'x', pax: { comment: 'c' } }]));
    change(tar);
    return read(tar);
  };
  /** Corrects the checksum of the header at `at`. */
  const seal = (tar: Buffer, at: number) => {
    tar.fill(32, at + 148, at + 156);
    const sum = tar.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    tar.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148, 'latin1');
  };

  test('an extended header of a terabyte is refused before it is read', async () => {
    const tar = damaged((bytes) => {
      bytes.write('777777777777', 124, 'latin1');
      seal(bytes, 0);
    });
    await expect(tar).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('negative and malformed numbers are refused', async () => {
    for (const value of [Buffer.alloc(12, 0xff), Buffer.from('12x456789012')]) {
      const tar = damaged((bytes) => {
        value.copy(bytes, 1024 + 124);
        seal(bytes, 1024);
      });
      await expect(tar).rejects.toMatchObject({ kind: 'invalid' });
    }
  });

  test('malformed records are refused', async () => {
    for (const record of ['99 a=b\n', '0 a=b\n', 'x a=b\n', '6 ab\n\n', '5 a=b']) {
      const tar = damaged((bytes) => {
        bytes.fill(0, 512, 1024);
        bytes.write(record, 512, 'latin1');
        bytes.write(`${record.length.toString(8).padStart(11, '0')}\0`, 124, 'latin1');
        seal(bytes, 0);
      });
      await expect(tar).rejects.toMatchObject({ kind: 'invalid' });
    }
  });

  test('an unknown type is refused', async () => {
    const tar = damaged((bytes) => {
      bytes[1024 + 156] = 'Z'.charCodeAt(0);
      seal(bytes, 1024);
    });
    await expect(tar).rejects.toMatchObject({ kind: 'unsupported' });
  });

  test('a map that does not fit its file is refused', async () => {
    for (const map of ['0,10', '5,1,0,0', '0,2', '100,1', '1', 'a,b']) {
      const pax = { 'GNU.sparse.major': '0', 'GNU.sparse.size': '50', 'GNU.sparse.map': map };
      await expect(read(await tarOf([{ name: 's', content: 'x', pax }]))).rejects.toMatchObject({ kind: 'invalid' });
    }
  });

  test('random damage gives a known error or some entries, nothing else', async () => {
    const good = await tarOf(
      Array.from({ length: 5 }, (_, i) => ({ name: `f${i}`, content: 'x'.repeat(i * 300), pax: { mtime: '1.5' } })),
    );
    let seed = 7;
    const random = (limit: number) => {
      seed = (seed * 1103515245 + 12345) & 0x7fffffff;
      return seed % limit;
    };
    for (let round = 0; round < 300; round++) {
      const bad = Buffer.from(good);
      for (let i = 0; i < 3; i++) bad[random(bad.length)] = random(256);
      for (let at = 0; at < bad.length; at += 512) if (random(2) === 0 && bad[at + 257] === 117) seal(bad, at);
      await read(bad).catch((error) => expect(['invalid', 'unsupported']).toContain(error.kind));
    }
  });
});
