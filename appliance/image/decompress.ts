/**
 * Turns a layer's blob into its tar. As in Docker, the compression is detected from the content, because blobs are often mislabelled.
 * Whatever it is, the result must have the digest in the image's configuration.
 */
import { pipeline, Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { invalid } from '../../src/common/errors.js';
import { throughProgram } from './unpack-program.js';
import { decodeZstd } from './zstd-frames.js';

export type Compression = 'none' | 'gzip' | 'zstd' | 'bzip2' | 'xz';

/** Larger than zlib's 16 KiB, because each piece makes a trip to the thread pool. */
const GUNZIP_CHUNK = 256 * 1024;

const MAGICS: readonly [name: Compression, magic: Buffer][] = [
  ['gzip', Buffer.from([0x1f, 0x8b, 0x08])],
  ['zstd', Buffer.from([0x28, 0xb5, 0x2f, 0xfd])],
  ['bzip2', Buffer.from('BZh')],
  ['xz', Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])],
];

/** True for the first bytes of a Zstandard skippable frame, which a zstd stream may begin with. */
const isSkippable = (head: Buffer): boolean => head.length >= 4 && head.readUInt32LE(0) >>> 4 === 0x184d2a5;

/** @param head the first bytes of a blob (at least 8, unless it is shorter) */
export function sniffCompression(head: Buffer): Compression {
  const found = MAGICS.find(([, magic]) => head.subarray(0, magic.length).equals(magic))?.[0];
  return found ?? (isSkippable(head) ? 'zstd' : 'none');
}

/** The uncompressed form of `source`; fails with `invalid` for corrupt data. Destroying the result destroys the source. */
export function decompress(source: Readable, compression: Compression): AsyncIterable<Buffer> & { destroy(): void } {
  if (compression === 'none') return source;
  if (compression === 'zstd') {
    const decoded = Readable.from(decodeZstd(source), { objectMode: false, highWaterMark: GUNZIP_CHUNK });
    decoded.once('close', () => source.destroy());
    return decoded;
  }
  if (compression !== 'gzip') {
    const unpacked = Readable.from(throughProgram(source, compression), {
      objectMode: false,
      highWaterMark: GUNZIP_CHUNK,
    });
    unpacked.once('close', () => source.destroy());
    return unpacked;
  }
  const gunzip = createGunzip({ chunkSize: GUNZIP_CHUNK });
  // Errors on either side reach the reader of `gunzip`.
  pipeline(source, gunzip, () => {});
  return {
    destroy: () => {
      gunzip.destroy();
    },
    async *[Symbol.asyncIterator]() {
      try {
        yield* gunzip as AsyncIterable<Buffer>;
      } catch (error) {
        const code = (error as { code?: string }).code ?? '';
        throw code.startsWith('Z_') ? invalid(`invalid gzip data: ${(error as Error).message}`, error) : error;
      }
    },
  };
}
