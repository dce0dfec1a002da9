/** Directories of backups: also written and removed by programs that are killed at every step, and damaged in every way. */
import { createCipheriv } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import {
  ArchiveWriter,
  type BackupFiles,
  BackupTar,
  backupId,
  type ChunkSink,
  type Content,
  ContentWriter,
  changedContent,
  contentsOf,
  dataOf,
  grainsOf,
  localFiles,
  type Manifest,
  Repository,
  unpackBackup,
} from '../../../src/backup/index.js';

const UNIT = 65_536;
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'caisson-backup-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

/** A backup of one volume, with these units, each of one letter. */
async function put(sink: ChunkSink, units: string, seconds: number): Promise<Manifest> {
  const writer = new ContentWriter(sink);
  for (const [position, letter] of [...units].entries())
    if (letter !== '-') await writer.add({ position, hash: await sink.put(Buffer.alloc(UNIT, letter)) });
  return manifestOf(await writer.end(), units.length, seconds);
}

const manifestOf = (content: Content, units: number, seconds: number): Manifest => ({
  id: backupId(new Date(seconds * 1000), Buffer.alloc(4, seconds)),
  createdAt: new Date(seconds * 1000).toISOString(),
  program: 'test',
  vch: { id: 'a', name: 'host' },
  read: 1,
  written: 1,
  volumes: [
    {
      name: 'v',
      driver: 'local',
      options: null,
      labels: { 7: 'seven', a: 'b' },
      disk: { capacityBytes: units * UNIT, unitBytes: UNIT, content, base: null, mark: null },
    },
  ],
  containers: [],
  networks: [],
  images: [],
});

async function unitsOf(repository: Repository, id: string): Promise<string> {
  const { disk } = (await repository.read(id)).volumes[0]!;
  const units = Array<string>(disk!.capacityBytes / UNIT).fill('-');
  for await (const { index, data } of grainsOf('v', disk!, repository.chunks))
    units[index] = String.fromCharCode(data[0]!);
  return units.join('');
}

const opened = (files: BackupFiles = localFiles(directory)): Promise<Repository> =>
  Repository.open(files, { make: true });

/** Files whose program is killed at its `last`th change: before it, or when half of it is done. */
function killedAt(last: number, torn: boolean): { files: BackupFiles; changes(): number } {
  const real = localFiles(directory);
  let changes = 0;
  const guard =
    <A extends unknown[]>(change: (...args: A) => Promise<void>, half?: (...args: A) => Promise<void>) =>
    async (...args: A): Promise<void> => {
      changes++;
      if (changes < last) return change(...args);
      if (changes === last && torn) await (half ?? change)(...args);
      throw new Error('killed');
    };
  const files: BackupFiles = {
    ...real,
    write: guard(real.write, (path, data) => real.write(path, data.subarray(0, data.length / 2))),
    rename: guard(real.rename),
    remove: guard(real.remove),
    sync: guard(real.sync),
  };
  return { files, changes: () => changes };
}

const chunkFiles = (): string[] =>
  existsSync(join(directory, 'chunks'))
    ? readdirSync(join(directory, 'chunks')).flatMap((one) =>
        readdirSync(join(directory, 'chunks', one)).map((name) => join(directory, 'chunks', one, name)),
      )
    : [];

describe('a directory of backups', () => {
  it('keeps each content once, for its owner alone', async () => {
    const repository = await opened();
    const first = await put(repository.chunks, 'aabb--c', 1);
    await repository.add(first);
    // Three letters, and the list.
    expect(chunkFiles()).toHaveLength(4);
    const later = await opened();
    await later.add(await put(later.chunks, 'aabb--d', 2));
    expect(later.chunks.count).toBe(2);
    const { backups, unreadable } = await later.list();
    expect(backups.map(({ id }) => id)).toHaveLength(2);
    expect(backups[0]).toEqual(first);
    expect(unreadable).toEqual([]);
    expect(await unitsOf(later, backups[0]!.id)).toBe('aabb--c');
    expect(await unitsOf(later, backups[1]!.id)).toBe('aabb--d');
    for (const path of [...chunkFiles(), join(directory, 'backups', `${first.id}.json`)])
      expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(await later.check(backups)).toEqual([]);
  });

  it('is one, or becomes one if it is empty', async () => {
    await expect(Repository.open(localFiles(directory), { make: false })).rejects.toThrow('no backups');
    writeFileSync(join(directory, 'letter.txt'), 'mine');
    await expect(opened()).rejects.toThrow('not empty');
    rmSync(join(directory, 'letter.txt'));
    await opened();
    writeFileSync(join(directory, 'caisson-backup.json'), '{"format":2}');
    await expect(opened()).rejects.toThrow('format 2');
    writeFileSync(join(directory, 'caisson-backup.json'), 'null');
    await expect(opened()).rejects.toThrow('damaged');
  });

  it('is changed by one program at a time; a killed one is in nobody’s way', async () => {
    const repository = await opened();
    await repository.locked(async () => {
      await expect(repository.locked(async () => undefined)).rejects.toThrow('another program works on these backups');
    });
    // No process has this id.
    writeFileSync(join(directory, 'lock'), JSON.stringify({ host: hostname(), pid: 2 ** 22 + 1 }));
    expect(await repository.locked(async () => 'done')).toBe('done');
    writeFileSync(join(directory, 'lock'), JSON.stringify({ host: 'elsewhere', pid: 1 }));
    await expect(repository.locked(async () => undefined)).rejects.toThrow('elsewhere');
  });

  it.each([false, true])('has whole backups only, wherever a backup is killed (torn: %s)', async (torn) => {
    for (let last = 1, over = false; !over; last++) {
      rmSync(directory, { recursive: true, force: true });
      const before = await opened();
      await before.add(await put(before.chunks, 'abc-', 1));
      const { files, changes } = killedAt(last, torn);
      await opened(files)
        .then((dying) => dying.locked(async () => dying.add(await put(dying.chunks, 'abdde-', 2))))
        .catch(() => undefined);
      over = changes() < last;
      rmSync(join(directory, 'lock'), { force: true });
      const after = await opened();
      const { backups, unreadable } = await after.list();
      expect(unreadable).toEqual([]);
      expect(await after.check(backups)).toEqual([]);
      if (over) expect(backups).toHaveLength(2);
      // The next one works, with whatever was left of this one, and cleans up.
      const next = await put(after.chunks, 'abdde-', 3);
      await after.add(next);
      expect(await unitsOf(after, next.id)).toBe('abdde-');
      await after.remove(backups.map(({ id }) => id));
      expect(await unitsOf(after, next.id)).toBe('abdde-');
      expect(chunkFiles()).toHaveLength(5);
      expect(readdirSync(join(directory, 'drafts'))).toEqual([]);
    }
  });

  it.each([false, true])('keeps the other backups, wherever a removal is killed (torn: %s)', async (torn) => {
    for (let last = 1, over = false; !over; last++) {
      rmSync(directory, { recursive: true, force: true });
      const before = await opened();
      const [first, second] = [await put(before.chunks, 'abc', 1), await put(before.chunks, 'abd', 2)];
      for (const one of [first, second]) await before.add(one);
      const { files, changes } = killedAt(last, torn);
      await opened(files)
        .then((dying) => dying.remove([first.id]))
        .catch(() => undefined);
      over = changes() < last;
      const after = await opened();
      const { backups } = await after.list();
      expect(await after.check(backups)).toEqual([]);
      expect(backups.some(({ id }) => id === second.id)).toBe(true);
      await after.remove(backups.filter(({ id }) => id === first.id).map(({ id }) => id));
      expect(chunkFiles()).toHaveLength(4);
    }
  });

  it('removes nothing while it does not know what the others need', async () => {
    const repository = await opened();
    const [first, second] = [await put(repository.chunks, 'a', 1), await put(repository.chunks, 'b', 2)];
    for (const one of [first, second]) await repository.add(one);
    writeFileSync(join(directory, 'backups', `${first.id}.json`), '{');
    await expect(repository.remove([second.id])).rejects.toThrow('nothing is removed');
    await expect(repository.remove(['20260101T000000Z-00000000'])).rejects.toThrow('there is no backup');
    expect((await repository.list()).unreadable[0]?.reason).toMatch(`backup ${first.id} cannot be read: it is no JSON`);
    await repository.remove([first.id]);
    expect(await unitsOf(repository, second.id)).toBe('b');
    expect(chunkFiles()).toHaveLength(2);
  });
});

describe('damage', () => {
  const kinds: [string, (path: string) => void, RegExp][] = [
    ['a chunk that is missing', (path) => rmSync(path), /chunk [0-9a-f]{64} is missing/],
    ['one that is cut', (path) => writeFileSync(path, readFileSync(path).subarray(0, -9)), /is damaged/],
    ['one that is empty', (path) => writeFileSync(path, ''), /is damaged/],
    [
      'one with a byte changed',
      (path) => {
        const bytes = readFileSync(path);
        // Of the check sum: in between there may be bits that mean nothing.
        bytes[bytes.length - 8]! ^= 1;
        writeFileSync(path, bytes);
      },
      /is damaged/,
    ],
    ['one with another content', (path) => writeFileSync(path, gzipSync(Buffer.alloc(UNIT, 'x'))), /another content/],
    ['one that grows without end', (path) => writeFileSync(path, gzipSync(Buffer.alloc(5 << 20))), /is damaged/],
    ['one that is too long', (path) => writeFileSync(path, Buffer.alloc(5 << 20)), /can have at most/],
  ];

  it.each(kinds)('is found: %s, in the content and in its list', async (_what, damage, words) => {
    const repository = await opened();
    const manifest = await put(repository.chunks, 'ab', 1);
    await repository.add(manifest);
    for (const path of chunkFiles()) {
      const before = readFileSync(path);
      damage(path);
      const problems = await repository.check([manifest]);
      expect(problems).toHaveLength(1);
      expect(problems[0]).toMatchObject({ backup: manifest.id, what: 'volume v' });
      expect(problems[0]!.problem).toMatch(words);
      await expect(unitsOf(repository, manifest.id)).rejects.toThrow(/volume v: /);
      // A backup that has the same content puts it back, since it takes nothing on trust.
      const again = await opened();
      await again.add(await put(again.chunks, 'ab', 2));
      expect(await again.check([manifest])).toEqual([]);
      writeFileSync(path, before);
    }
  });

  it('of a manifest is found, whichever byte it is', async () => {
    const repository = await opened();
    const manifest = await put(repository.chunks, 'ab', 1);
    await repository.add(manifest);
    const path = join(directory, 'backups', `${manifest.id}.json`);
    const before = readFileSync(path);
    const whole = JSON.stringify(manifest);
    for (let at = 0; at < before.length; at += 3) {
      const bytes = Buffer.from(before);
      bytes[at]! ^= 1;
      writeFileSync(path, bytes);
      // A change that means the same, as of white space, is none.
      const found = await repository.read(manifest.id).then(JSON.stringify, () => whole);
      expect(found).toBe(whole);
    }
    for (const length of [0, 1, before.length >> 1, before.length - 2]) {
      writeFileSync(path, before.subarray(0, length));
      await expect(repository.read(manifest.id)).rejects.toThrow('cannot be read');
    }
  });

  it('of a list that is a chunk of its own is found, although its digest is right', async () => {
    const repository = await opened();
    const lists = ['', '0', `${'00'.repeat(36)}${'00'.repeat(36)}`, `ffffffff${'00'.repeat(32)}`];
    for (const [index, text] of lists.entries()) {
      const chunk = await repository.chunks.put(Buffer.from(text.padEnd(text.length + (text.length % 2), '0'), 'hex'));
      const content = { parts: [{ range: 0, chunk }], chunks: 1, sha256: '0'.repeat(64) };
      const manifest = manifestOf(content, 2, index + 1);
      await repository.add(manifest);
      expect(await repository.check([manifest])).not.toEqual([]);
    }
  });
});

describe('a change of a disk', () => {
  it('gives the same list as all of the disk', async () => {
    const repository = await opened();
    const sink = repository.chunks;
    // Over several parts of the list; the numbers are the same in each run.
    let seed = 7;
    const random = (below: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return seed % below;
    };
    const hash = await Promise.all(['a', 'b', 'c'].map((letter) => sink.put(Buffer.from(letter))));
    const disk = new Map<number, string>();
    for (let n = 0; n < 500; n++) disk.set(random(20_000), hash[random(3)]!);
    const listOf = async (): Promise<Content> => {
      const writer = new ContentWriter(sink);
      for (const [position, one] of [...disk].sort(([a], [b]) => a - b)) await writer.add({ position, hash: one });
      return writer.end();
    };
    let content = await listOf();
    for (let round = 0; round < 10; round++) {
      const changes = new Map<number, string | null>();
      for (let n = 0; n < 40; n++) changes.set(random(20_000), random(3) === 0 ? null : hash[random(3)]!);
      for (const position of [...disk.keys()].slice(0, 5)) changes.set(position, null);
      for (const [position, one] of changes) one === null ? disk.delete(position) : disk.set(position, one);
      content = await changedContent(content, changes, repository.chunks, sink);
      expect(content).toEqual(await listOf());
    }
  });
});

describe('an archive', () => {
  it('comes back as it was, and shares its chunks with one in which something was put in front', async () => {
    const repository = await opened();
    // The same in each run, and without any order.
    const bytes = createCipheriv('aes-256-ctr', Buffer.alloc(32), Buffer.alloc(16)).update(Buffer.alloc(6 << 20));
    const write = async (archive: Buffer): Promise<Content> => {
      const writer = new ArchiveWriter(repository.chunks);
      for (let at = 0; at < archive.length; at += 100_000) await writer.add(archive.subarray(at, at + 100_000));
      return writer.end();
    };
    const read = async (content: Content): Promise<Buffer> => {
      const parts: Buffer[] = [];
      for await (const { data } of dataOf(content, repository.chunks, 'it')) parts.push(data);
      return Buffer.concat(parts);
    };
    const first = await write(bytes);
    await repository.chunks.settled();
    const count = repository.chunks.count;
    const longer = Buffer.concat([Buffer.from('in front'), bytes]);
    const second = await write(longer);
    await repository.chunks.settled();
    expect((await read(first)).equals(bytes)).toBe(true);
    expect((await read(second)).equals(longer)).toBe(true);
    expect(first.chunks).toBeGreaterThan(2);
    expect(repository.chunks.count - count).toBeLessThan(first.chunks);
    expect((await read(await write(Buffer.alloc(0)))).length).toBe(0);
  });
});

describe('a backup as one tar', () => {
  const tarOf = async (units: string): Promise<{ tar: Buffer; manifest: Manifest }> => {
    const parts: Buffer[] = [];
    const tar = new BackupTar(async (bytes) => void parts.push(Buffer.from(bytes)));
    const manifest = await put(tar, units, 1);
    await tar.add(manifest);
    return { tar: Buffer.concat(parts), manifest };
  };
  const unpacked = async (tar: Buffer): Promise<void> => {
    rmSync(directory, { recursive: true, force: true });
    await unpackBackup(
      (async function* () {
        for (let at = 0; at < tar.length; at += 1000) yield tar.subarray(at, at + 1000);
      })(),
      localFiles(directory),
    );
  };

  it('is a directory with just this one', async () => {
    const { tar, manifest } = await tarOf('aba-');
    await unpacked(tar);
    const repository = await opened();
    expect((await repository.list()).backups).toEqual([manifest]);
    expect(contentsOf(manifest)).toHaveLength(1);
    expect(await unitsOf(repository, manifest.id)).toBe('aba-');
    expect(await repository.check([manifest])).toEqual([]);
  });

  it('is refused if it is cut anywhere', async () => {
    const { tar } = await tarOf('ab');
    for (let length = 0; length < tar.length - 512; length += 512)
      await expect(unpacked(tar.subarray(0, length))).rejects.toThrow(/backup (cannot be read|is cut off)/);
  });

  it('has nothing else in it', async () => {
    const { tar } = await tarOf('a');
    for (const name of ['../escape', '/etc/passwd', 'chunks/aa/../../x.gz', 'backups/x.json', 'lock', 'drafts/a']) {
      const evil = Buffer.from(tar);
      evil.fill(0, 0, 100);
      evil.write(name, 0);
      evil.fill(' ', 148, 156);
      evil.write(
        `${[...evil.subarray(0, 512)]
          .reduce((a, b) => a + b, 0)
          .toString(8)
          .padStart(7, '0')}\0`,
        148,
      );
      await expect(unpacked(evil)).rejects.toThrow('is no part of a backup');
    }
    expect(existsSync(join(directory, '..', 'escape'))).toBe(false);
  });
});
