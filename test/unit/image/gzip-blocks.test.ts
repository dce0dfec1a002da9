/** gzip by several threads. */
import { randomBytes } from 'node:crypto';
import { pipeline } from 'node:stream/promises';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { gzipBlocks, slowCrc32 } from '../../../appliance/image/push/gzip-blocks.js';

const BLOCK = 512 * 1024;

/** Bytes that become a little smaller: parts of what came before, with noise. */
function content(length: number): Buffer {
  const noise = randomBytes(Math.ceil(length / 2));
  return Buffer.concat([noise, noise]).subarray(0, length);
}

async function* inPieces(data: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < data.length; at += size) yield data.subarray(at, at + size);
}

async function all(source: AsyncIterable<Buffer>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of source) parts.push(part);
  return Buffer.concat(parts);
}

test.each([0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 17])('%i bytes are what is unpacked', async (length) => {
  const data = content(length);
  const packed = await all(gzipBlocks(inPieces(data, 100_003)));
  expect(gunzipSync(packed).equals(data)).toBe(true);
  // One member: what reads only the first one reads all of it.
  expect(packed.subarray(-8).readUInt32LE(4)).toBe(length);
});

test('the bytes depend only on the content', async () => {
  const data = content(3 * BLOCK + 1);
  const [whole, pieces] = await Promise.all([1 << 30, 7777].map((size) => all(gzipBlocks(inPieces(data, size)))));
  expect(whole!.equals(pieces!)).toBe(true);
});

test('a block is compressed with what came before it', async () => {
  const repeated = randomBytes(16 * 1024);
  const data = Buffer.concat(Array.from({ length: 64 }, () => repeated));
  const packed = await all(gzipBlocks(inPieces(data, BLOCK)));
  // The noise itself is in it once, not once for each of the two blocks.
  expect(packed.length).toBeLessThan(1.5 * repeated.length);
});

test('a source that fails is what fails', async () => {
  async function* failing(): AsyncGenerator<Buffer> {
    yield content(3 * BLOCK);
    throw new Error('the layer is damaged');
  }
  await expect(all(gzipBlocks(failing()))).rejects.toThrow('the layer is damaged');
});

test('a reader that stops ends the source', async () => {
  let ended = false;
  async function* endless(): AsyncGenerator<Buffer> {
    try {
      for (;;) yield content(BLOCK);
    } finally {
      ended = true;
    }
  }
  const stopping = pipeline(gzipBlocks(endless()), async (packed) => {
    for await (const part of packed as AsyncIterable<Buffer>) if (part.length > 100) throw new Error('no room');
  });
  await expect(stopping).rejects.toThrow('no room');
  await expect.poll(() => ended).toBe(true);
});

test('checksums of a Node without its own', () => {
  // The check value of CRC-32/ISO-HDLC.
  expect(slowCrc32(Buffer.from('123456789'))).toBe(0xcbf43926);
  expect(slowCrc32(Buffer.from('6789'), slowCrc32(Buffer.from('12345')))).toBe(0xcbf43926);
});
