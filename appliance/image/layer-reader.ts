/**
 * The tar in a layer's blob, read, decompressed and hashed in a separate thread, so that meanwhile the engine can process the tar and
 * answer requests.
 */
import { createReadStream } from 'node:fs';
import { open } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { Worker } from 'node:worker_threads';
import { CaissonError, type ErrorKind, internal, invalid } from '../../src/common/errors.js';
import { decompress, sniffCompression } from './decompress.js';
import { LayerTar, type WrongDigest, wrongDigest } from './layer-tar.js';

/** Messages of the thread. */
export type FromThread =
  | { chunk: Uint8Array<ArrayBuffer>; read: number }
  | { digest: string; read: number }
  | { failed: string; kind: string | null };

/** Messages to the thread: send so many more pieces, or go on without sending the rest. */
export type ToThread = { credit: number } | { detach: true };

const READ_SIZE = 512 * 1024;
const HEAD_SIZE = 16;
/** Pieces in transit, of up to 256 KiB each. */
const AHEAD = 6;
/** Starting a thread takes 30 ms, which is not worth it for a smaller blob. */
const SMALL_BLOB = 2 * 2 ** 20;

/** A layer that is being read. Must be closed. */
export interface LayerReader {
  /** For the layer store. */
  readonly tar: Readable;
  /**
   * Reads to the end and compares the digest.
   * @param words what to say when the content has another one
   * @throws invalid when the content is not `diffId`; whatever reading failed with
   */
  verify(diffId: string, words?: WrongDigest): Promise<void>;
  /** Stops everything; safe at any time. */
  close(): Promise<void>;
}

/**
 * Opens a blob.
 * @param size its length in bytes
 * @param onRead called with the number of bytes of the blob read so far
 * @throws unsupported for an unsupported compression; errors of the filesystem
 */
export async function readLayer(path: string, size: number, onRead: (bytes: number) => void): Promise<LayerReader> {
  if (size > SMALL_BLOB) return new ThreadedReader(path, onRead);
  const source = await openTar(path, onRead);
  return new LayerTar(source);
}

/** The tar in a blob. @throws unsupported, errors of the filesystem */
export async function openTar(
  path: string,
  onRead: (bytes: number) => void,
): Promise<AsyncIterable<Buffer> & { destroy(): void }> {
  const file = await open(path, 'r');
  try {
    const head = Buffer.alloc(HEAD_SIZE);
    const { bytesRead } = await file.read(head, 0, HEAD_SIZE, 0);
    const compression = sniffCompression(head.subarray(0, bytesRead));
    const blob = createReadStream('', { fd: file, start: 0, highWaterMark: READ_SIZE });
    let current = 0;
    blob.on('data', (chunk: string | Buffer) => {
      current += chunk.length;
      onRead(current);
    });
    // Adding a listener must not start the flow before the decompressor does.
    blob.pause();
    return decompress(blob, compression);
  } catch (error) {
    await file.close();
    throw error;
  }
}

/** The thread's program: compiled, even if this file runs from source (in a test). */
const PROGRAM = fileURLToPath(
  new URL(
    import.meta.url.endsWith('.ts') ? '../../dist/appliance/image/layer-thread.js' : './layer-thread.js',
    import.meta.url,
  ),
);

class ThreadedReader implements LayerReader {
  readonly tar: Readable;
  readonly #thread: Worker;
  readonly #digest: Promise<string>;

  constructor(path: string, onRead: (bytes: number) => void) {
    const thread = new Worker(PROGRAM, { workerData: { path, ahead: AHEAD } });
    this.#thread = thread;
    const tar = new Readable({
      highWaterMark: 1,
      read: () => thread.postMessage({ credit: 1 } satisfies ToThread),
      destroy: (error, callback) => {
        thread.postMessage({ detach: true } satisfies ToThread);
        callback(error);
      },
    });
    // Reported to the reader as the stream's error, or by verify().
    tar.on('error', () => {});
    this.tar = tar;
    this.#digest = new Promise((resolve, reject) => {
      /** Everything was sent, or a failure was reported. Some of it may still be unread when the thread ends. */
      let told = false;
      const fail = (error: Error): void => {
        told = true;
        tar.destroy(error);
        reject(error);
      };
      thread.on('message', (message: FromThread) => {
        if ('failed' in message) {
          fail(
            message.kind === null
              ? new Error(message.failed)
              : new CaissonError(message.kind as ErrorKind, message.failed),
          );
          return;
        }
        onRead(message.read);
        if ('digest' in message) {
          told = true;
          if (!tar.destroyed) tar.push(null);
          resolve(message.digest);
        } else if (!tar.destroyed) {
          const { buffer, byteOffset, byteLength } = message.chunk;
          tar.push(Buffer.from(buffer, byteOffset, byteLength));
        }
      });
      thread.once('error', fail);
      // Node delivers everything that a thread has sent before it reports the thread's end.
      thread.once('exit', () => {
        if (!told) fail(internal('reading the layer was ended'));
      });
    });
    this.#digest.catch(() => {});
  }

  async verify(diffId: string, words = wrongDigest(diffId)): Promise<void> {
    this.#thread.postMessage({ detach: true } satisfies ToThread);
    const digest = await this.#digest;
    if (digest !== diffId) throw invalid(words(digest));
  }

  async close(): Promise<void> {
    this.tar.destroy();
    await this.#thread.terminate();
  }
}
