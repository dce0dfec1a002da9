import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { decodeZstd } from '../../../appliance/image/zstd-frames.js';
import { zstdCompress, zstdStore } from '../../support/registry/image-builder.js';

async function decode(data: Buffer, step = data.length || 1): Promise<Buffer> {
  const pieces = [];
  for (let at = 0; at < data.length; at += step) pieces.push(data.subarray(at, at + step));
  const out = [];
  for await (const chunk of decodeZstd(Readable.from(pieces))) out.push(chunk);
  return Buffer.concat(out);
}

const text = Buffer.from('the same words again and again, '.repeat(20_000));

describe('decodeZstd', () => {
  test.each([
    ['empty', Buffer.alloc(0)],
    ['one byte', Buffer.from('x')],
    ['text', text],
    ['noise', randomBytes(300_000)],
    ['zeros', Buffer.alloc(1_000_000)],
  ])('%s, whole and in pieces, at low and high levels', async (_, data) => {
    for (const args of [['-1'], ['-19'], ['--no-check', '-3'], ['--long=24', '-3']]) {
      const compressed = zstdCompress(data, args);
      expect((await decode(compressed)).equals(data)).toBe(true);
      expect((await decode(compressed, 1009)).equals(data)).toBe(true);
    }
    expect((await decode(zstdStore(data), 7919)).equals(data)).toBe(true);
  });

  test('byte by byte', async () => {
    const data = text.subarray(0, 5000);
    expect((await decode(zstdCompress(data), 1)).equals(data)).toBe(true);
  });

  test('several frames with skippable ones between them', async () => {
    const skippable = Buffer.concat([Buffer.from([0x53, 0x2a, 0x4d, 0x18, 5, 0, 0, 0]), Buffer.from('12345')]);
    const stream = Buffer.concat([skippable, zstdCompress(text), skippable, zstdStore(Buffer.from('end'))]);
    expect((await decode(stream, 4096)).equals(Buffer.concat([text, Buffer.from('end')]))).toBe(true);
  });

  test('truncated anywhere, it fails', async () => {
    const compressed = zstdCompress(text);
    for (const cut of [1, 4, 6, 10, compressed.length >> 1, compressed.length - 1]) {
      await expect(decode(compressed.subarray(0, cut))).rejects.toMatchObject({ kind: 'invalid' });
    }
    await expect(decode(Buffer.alloc(0))).rejects.toMatchObject({ kind: 'invalid' });
  });

  test('a window of 2 GiB is refused before anything is allocated', async () => {
    const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    await expect(decode(frame)).rejects.toThrow(/window/);
  });

  test('a bomb is decoded no faster than it is read', async () => {
    // Run-length blocks: 4 bytes stand for 128 KiB.
    const block = Buffer.alloc(4);
    block.writeUIntLE((131_072 << 3) | (1 << 1), 0, 3);
    const bomb = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 0x00, 10 << 3]), ...Array(16_384).fill(block)]);
    let blocks = 0;
    for await (const chunk of decodeZstd(Readable.from([bomb]))) {
      expect(chunk.length).toBeLessThanOrEqual(131_072);
      if (++blocks === 10) break;
    }
    expect(process.memoryUsage().arrayBuffers).toBeLessThan(512 * 1024 * 1024);
  });

  test('noise is refused and never crashes', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 300 }), async (noise) => {
        const data = Buffer.concat([Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), noise]);
        await decode(data).catch((error) => expect(error).toMatchObject({ kind: 'invalid' }));
      }),
    );
  });
});
