/** The endpoint's side of the file server, against well-behaved and misbehaving guests. */
import { PassThrough, Readable, Writable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { GuestFiles } from '../../../port-layer/files/guest-files.js';
import { type FileEntry, S_IFDIR, S_IFREG } from '../../../port-layer/files/root-files.js';
import { tarOf } from '../../../port-layer/files/tar-out.js';
import type { ContainerChannel } from '../../../port-layer/interaction/container-channel.js';
import { FieldWriter } from '../../../tether/protocol/fields.js';
import { encodeRecord, FileRecordParser, FileReply, FileRequest } from '../../../tether/protocol/files.js';

const stat = (path: string, more: Partial<FileEntry> = {}): FileEntry => ({
  path,
  mode: S_IFREG | 0o644,
  uid: 1,
  gid: 2,
  nlink: 1,
  size: 0,
  mtime: { sec: -5, nsec: 6 },
  ctime: { sec: 7, nsec: 8 },
  atime: { sec: 9, nsec: 10 },
  ino: 11n,
  dev: 12n,
  major: 0,
  minor: 0,
  target: '',
  capability: null,
  ...more,
});

/** An entry as the guest's C code writes it. */
function entryRecord(entry: FileEntry): Buffer {
  const time = (w: FieldWriter, { sec, nsec }: FileEntry['mtime']) => w.u64(BigInt.asUintN(64, BigInt(sec))).u32(nsec);
  const w = new FieldWriter().u32(entry.mode).u32(entry.uid).u32(entry.gid).u32(entry.nlink).u64(BigInt(entry.size));
  time(time(time(w, entry.mtime), entry.ctime), entry.atime);
  w.u64(entry.ino).u64(entry.dev).u32(entry.major).u32(entry.minor).byteString(entry.path).byteString(entry.target);
  w.u32(entry.capability?.length ?? 0)
    .raw(entry.capability ?? Buffer.alloc(0))
    .u32(0);
  return encodeRecord(FileReply.entry, w.bytes());
}

const content = (data: string): Buffer => encodeRecord(FileReply.content, Buffer.from(data));
const done = encodeRecord(FileReply.done, Buffer.alloc(0));
const failed = (errno: number, operation: string, path: string): Buffer =>
  encodeRecord(FileReply.error, new FieldWriter().u32(errno).byteString(operation).byteString(path).bytes());

/** A channel whose guest answers any request with fixed bytes, `size` at a time. */
function guest(answer: Buffer[], size = 7): { channel: ContainerChannel; asked: Buffer[]; killed: () => boolean } {
  const asked: Buffer[] = [];
  const output = new PassThrough({ objectMode: true });
  let killed = false;
  const input = new Writable({
    write(chunk: Buffer, _encoding, next) {
      if (asked.push(chunk) === 1) {
        const bytes = Buffer.concat(answer);
        for (let at = 0; at < bytes.length; at += size)
          output.write({ stream: 'stdout', timeNs: 0n, offset: -1, data: bytes.subarray(at, at + size) });
        output.end();
      }
      next();
    },
  });
  const channel = {
    files: async () => ({ session: 1, output, started: Promise.resolve(1) }),
    stdin: () => input,
    signal: async () => {
      killed = true;
    },
  };
  return { channel: channel as unknown as ContainerChannel, asked, killed: () => killed };
}

async function tree(answer: Buffer[], size?: number): Promise<(FileEntry | Buffer)[]> {
  const files = await GuestFiles.open(guest(answer, size).channel, 1);
  const parts: (FileEntry | Buffer)[] = [];
  for await (const part of files.tree('/', { content: true })) parts.push(part);
  return parts;
}

describe('a well-behaved guest', () => {
  it('is understood however its bytes arrive', async () => {
    const entries = [
      stat('', { mode: S_IFDIR | 0o755 }),
      stat('a\xff', { size: 5, capability: Buffer.from([1, 2]) }),
      stat('b', { nlink: 2, size: 2 }),
      stat('c', { nlink: 2, size: 2 }),
    ];
    const [root, first, second, third] = entries.map(entryRecord) as [Buffer, Buffer, Buffer, Buffer];
    const answer = [root, first, content('hel'), content('lo'), second, content('xy'), third, done];
    for (const size of [1, 7, 100_000]) {
      const parts = await tree(answer, size);
      expect(parts.filter((part) => !Buffer.isBuffer(part))).toEqual(entries);
      expect(Buffer.concat(parts.filter((part) => Buffer.isBuffer(part))).toString()).toBe('helloxy');
    }
  });

  it('reports errors with their cause', async () => {
    const files = await GuestFiles.open(guest([failed(2, 'lstat', '/x')]).channel, 1);
    await expect(files.stat('/x')).rejects.toMatchObject({ errno: 2, message: 'lstat /x: no such file or directory' });
  });

  it('is told to stop when nobody is listening any more', async () => {
    const { channel, killed } = guest([]);
    const abort = new AbortController();
    const files = await GuestFiles.open(channel, 1, abort.signal);
    abort.abort();
    await expect(files.stat('/')).rejects.toMatchObject({ kind: 'cancelled' });
    expect(killed()).toBe(true);
  });

  it('gets content in pieces', async () => {
    const { channel, asked } = guest([done]);
    const files = await GuestFiles.open(channel, 1);
    await files.put(stat('/new', { size: 150_000 }), true);
    await files.data(Buffer.alloc(150_000, 'x'));
    await files.finish();
    const sizes = asked.map((record) => [record.readUInt8(4), record.readUInt32LE(0)]);
    expect(sizes.slice(1)).toEqual([
      [FileRequest.data, 65_536],
      [FileRequest.data, 65_536],
      [FileRequest.data, 18_928],
      [FileRequest.finish, 0],
    ]);
  });
});

describe('a misbehaving guest', () => {
  it.each<[string, Buffer[]]>([
    ['a name that climbs', [entryRecord(stat('../../etc/cron.d/x')), done]],
    ['an absolute name', [entryRecord(stat('/etc/passwd')), done]],
    ['a name with an empty part', [entryRecord(stat('a//b')), done]],
    ['a name with a NUL', [entryRecord(stat('a\0b')), done]],
    ['a path too long', [entryRecord(stat('x/'.repeat(3000))), done]],
    ['a link too long', [entryRecord(stat('l', { target: 'x'.repeat(5000) })), done]],
    ['content without a file', [content('x'), done]],
    ['more content than it said', [entryRecord(stat('a', { size: 2 })), content('xyz'), done]],
    ['less content than it said', [entryRecord(stat('a', { size: 2 })), content('x'), entryRecord(stat('b')), done]],
    ['an end in the middle of content', [entryRecord(stat('a', { size: 2 })), content('x'), done]],
    [
      'a second content of the same file',
      [
        entryRecord(stat('a', { size: 1, nlink: 2 })),
        content('x'),
        entryRecord(stat('b', { size: 1, nlink: 2 })),
        content('x'),
        done,
      ],
    ],
    ['an impossible size', [entryRecord(stat('a')).fill(0xff, 5 + 16, 5 + 24), done]],
    ['an unknown record', [encodeRecord(99, Buffer.alloc(3))]],
    ['a record cut short', [encodeRecord(FileReply.entry, Buffer.alloc(20))]],
    ['a length beyond its record', [encodeRecord(FileReply.error, Buffer.alloc(8, 0xff))]],
    ['an enormous record', [Buffer.from([0xff, 0xff, 0xff, 0x7f, 64])]],
    ['nothing', []],
    ['an end too early', [entryRecord(stat('a', { size: 10 })), content('x')]],
  ])('sends %s: the request fails', async (_what, answer) => {
    await expect(tree(answer)).rejects.toMatchObject({ kind: expect.stringMatching(/internal|conflict/) });
  });

  it('causes no more than an error with random bytes', () => {
    let seed = 1;
    const random = (limit: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2 ** 31;
      return Math.floor((seed / 2 ** 31) * limit);
    };
    const valid = Buffer.concat([
      entryRecord(stat('a', { size: 5, target: 'x' })),
      content('hello'),
      failed(2, 'a', 'b'),
      done,
    ]);
    for (let round = 0; round < 5000; round++) {
      const bytes = Buffer.from(valid);
      for (let i = 0; i <= random(4); i++) bytes[random(bytes.length)] = random(256);
      const parser = new FileRecordParser();
      try {
        for (let at = 0; at < bytes.length; at += 1 + random(50)) parser.push(bytes.subarray(at, at + 1 + random(50)));
      } catch (error) {
        expect(error).toMatchObject({ kind: 'internal' });
      }
    }
  });
});

it('an archive that fails midway does not end as if it were complete', async () => {
  const parts = async function* (): AsyncGenerator<FileEntry | Buffer> {
    yield stat('a', { size: 5 });
    yield Buffer.from('he');
    throw new Error('gone');
  };
  const tar = Readable.from(tarOf(parts(), (path) => path));
  const read = async (): Promise<void> => {
    for await (const _ of tar);
  };
  await expect(read()).rejects.toThrow('gone');
});
