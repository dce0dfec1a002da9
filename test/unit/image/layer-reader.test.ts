/** Layers read in their own thread, and small ones without. */
import { execFileSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { crc32, gzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type LayerReader, readLayer } from '../../../appliance/image/layer-reader.js';

let directory: string;
let reader: LayerReader | null = null;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'caisson-layer-'));
});
afterEach(async () => {
  await reader?.close();
  reader = null;
  // No descriptor for the blob is left open.
  const open = await readdir('/proc/self/fd');
  expect(open.length).toBeLessThan(200);
  await rm(directory, { recursive: true, force: true });
});

const digestOf = (data: Buffer): string => `sha256:${createHash('sha256').update(data).digest('hex')}`;

async function opened(blob: Buffer, onRead: (bytes: number) => void = () => {}): Promise<LayerReader> {
  const path = join(directory, 'blob');
  await writeFile(path, blob);
  reader = await readLayer(path, blob.length, onRead);
  return reader;
}

describe.each([
  ['a small one', 100_000],
  ['a large one', 9_000_000],
])('%s', (_, size) => {
  const content = randomBytes(size);

  it.each([
    ['gzip', gzipSync(content, { level: 1 })],
    ['nothing', content],
  ])('compressed with %s is passed on whole, and verified', async (_name, blob) => {
    const reads: number[] = [];
    const { tar, verify } = await opened(blob, (bytes) => reads.push(bytes)).then((one) => ({
      tar: one.tar,
      verify: one.verify.bind(one),
    }));
    const parts: Buffer[] = [];
    for await (const part of tar) parts.push(part as Buffer);
    expect(Buffer.concat(parts).equals(content)).toBe(true);
    await verify(digestOf(content));
    await expect(verify(digestOf(Buffer.from('other')))).rejects.toMatchObject({ kind: 'invalid' });
    expect(reads.at(-1)).toBe(blob.length);
  });

  it('is passed on whole to a reader that takes the last part long after it was sent', async () => {
    const { tar } = await opened(gzipSync(content, { level: 1 }));
    let got = 0;
    for await (const part of tar) {
      got += (part as Buffer).length;
      if (content.length - got > 1_000_000) continue;
      // Everything has arrived, and the thread that sent it is gone.
      while (tar.readableLength < content.length - got) await sleep(10);
      await sleep(200);
    }
    expect(got).toBe(content.length);
  });

  it('is hashed to its end even when the reader stops early', async () => {
    const one = await opened(gzipSync(content, { level: 1 }));
    for await (const part of one.tar) if ((part as Buffer).length > 0) break;
    await one.verify(digestOf(content));
  });

  it('is not read much further than the reader wants', async () => {
    let read = 0;
    const blob = gzipSync(content, { level: 1 });
    await opened(blob, (bytes) => {
      read = bytes;
    });
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(read).toBeLessThanOrEqual(6_000_000);
  });

  it('that is truncated fails the reader and the verification', async () => {
    const one = await opened(gzipSync(content, { level: 1 }).subarray(0, -1000));
    await expect(
      (async () => {
        for await (const part of one.tar) void part;
      })(),
    ).rejects.toMatchObject({ kind: 'invalid', message: expect.stringContaining('invalid gzip data') });
    await expect(one.verify(digestOf(content))).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('that only starts like a compressed one fails', async () => {
    const one = await opened(Buffer.concat([Buffer.from('BZh'), content]));
    const reading = (async () => {
      for await (const part of one.tar) void part;
    })();
    await expect(reading).rejects.toThrow();
    await expect(one.verify(digestOf(content))).rejects.toThrow();
  });

  it('can be closed at any time', async () => {
    const one = await opened(gzipSync(content, { level: 1 }));
    await one.close();
    await expect(one.verify(digestOf(content))).rejects.toThrow();
  });
});

/** Everything that a reader of the blob passes on. */
async function drained(blob: Buffer): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of (await opened(blob)).tar) parts.push(part as Buffer);
  await reader?.close();
  await rm(join(directory, 'blob'));
  return Buffer.concat(parts);
}

it.each(['bzip2', 'xz'])('compressed with %s is passed on whole, and verified', async (program) => {
  const content = randomBytes(300_000);
  const one = await opened(execFileSync(program, ['-c', '-1'], { input: content, maxBuffer: 2 ** 25 }));
  const parts: Buffer[] = [];
  for await (const part of one.tar) parts.push(part as Buffer);
  expect(Buffer.concat(parts).equals(content)).toBe(true);
  await one.verify(digestOf(content));
});

it('xz that needs more memory than its own highest level is refused', async () => {
  const blob = execFileSync('xz', ['-9e', '-c'], { input: Buffer.alloc(1000) });
  expect((await drained(blob)).length).toBe(1000);
  // The size of the dictionary, in the first block's head (.xz file format 1.0.4, 3.1 and 5.3.1): 2 GiB.
  const head = blob.subarray(12, 12 + (blob[12]! + 1) * 4);
  expect([...head.subarray(2, 4)]).toEqual([0x21, 1]);
  head[4] = 38;
  head.writeUInt32LE(crc32(head.subarray(0, -4)), head.length - 4);
  await expect(drained(blob)).rejects.toThrow('Memory usage limit reached');
});
