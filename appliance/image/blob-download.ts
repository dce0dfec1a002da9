/** Downloads one blob to a spool file: resumes after an interruption, verifies it, and reads no more than its descriptor says. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open, rm } from 'node:fs/promises';
import type { Grow } from '../../port-layer/index.js';
import { cancelled, errnoOf, insufficientResources, invalid, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { backOff } from './back-off.js';
import type { Descriptor } from './manifest.js';
import { layerProgress, layerStatus, ProgressMeter } from './progress.js';
import type { RegistryClient } from './registry-client.js';
import { isRetriable, RegistryFailure, transportFailure } from './registry-errors.js';
import type { ProgressMessage } from './types.js';

const log = logger('image');

/** Like dockerd's `max-download-attempts`. */
const ATTEMPTS = 5;
/** Written in pieces of this size: a system call per network packet costs more than the copying. */
const WRITE_SIZE = 1024 * 1024;

export interface DownloadOptions {
  client: RegistryClient;
  descriptor: Descriptor;
  /** File to create. */
  path: string;
  signal: AbortSignal;
  emit(message: ProgressMessage): void;
  /** Wait before the second attempt, in milliseconds; each further wait is longer by the same amount. */
  retryDelayMs: number;
  /** Called before the file grows. */
  grow?: Grow | undefined;
}

/**
 * Downloads and verifies a blob; a failed download leaves no file.
 * @throws RegistryFailure when it cannot be fetched; invalid when it is not what its descriptor says; insufficientResources when the spool
 *   is full; cancelled
 */
export async function downloadBlob(options: DownloadOptions): Promise<void> {
  const { descriptor, path, signal, emit } = options;
  const file = await open(path, 'wx', 0o600).catch((error) => {
    throw spoolFailure(path, error);
  });
  const download = new Download(file, options);
  try {
    await download.complete();
    emit(layerStatus(descriptor.digest, 'Download complete'));
  } catch (error) {
    await rm(path, { force: true });
    throw signal.aborted ? cancelled('context canceled', error) : error;
  } finally {
    await file.close();
  }
}

class Download {
  #offset = 0;
  #hash: Hash;
  #resumed = false;
  readonly #meter: ProgressMeter;

  constructor(
    private readonly file: FileHandle,
    private readonly options: DownloadOptions,
  ) {
    const { descriptor, emit } = options;
    this.#hash = this.#newHash();
    this.#meter = new ProgressMeter(descriptor.size, (current) =>
      emit(layerProgress(descriptor.digest, 'Downloading', current, descriptor.size)),
    );
  }

  #newHash(): Hash {
    const { digest } = this.options.descriptor;
    return createHash(digest.slice(0, digest.indexOf(':')));
  }

  async complete(): Promise<void> {
    const { descriptor, signal, emit } = this.options;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#attempt();
        emit(layerStatus(descriptor.digest, 'Verifying Checksum'));
        await this.#verify();
        return;
      } catch (error) {
        signal.throwIfAborted();
        if (attempt === ATTEMPTS || !isRetriable(error)) throw error;
        log.warn({ digest: descriptor.digest, attempt, reason: messageOf(error) }, 'layer download failed, retrying');
        const { retryDelayMs } = this.options;
        await backOff({ digest: descriptor.digest, retryDelayMs, emit, signal }, attempt, error);
      }
    }
  }

  /** Fetches the missing part. */
  async #attempt(): Promise<void> {
    const { client, descriptor, signal } = this.options;
    if (this.#offset === descriptor.size && this.#offset > 0) return;
    const { offset, response } = await client.blob(descriptor.digest, this.#offset, signal);
    if (offset !== this.#offset) await this.#restart();
    else if (offset > 0) this.#resumed = true;
    const pending: Buffer[] = [];
    let pendingBytes = 0;
    const flush = async () => {
      if (pendingBytes === 0) return;
      await this.options.grow?.(pendingBytes);
      await writeAll(this.file, pending.splice(0), this.#offset).catch((error) => {
        throw spoolFailure(this.options.path, error);
      });
      this.#offset += pendingBytes;
      pendingBytes = 0;
      this.#meter.update(this.#offset);
    };
    try {
      for await (const chunk of response.body as AsyncIterable<Buffer>) {
        if (this.#offset + pendingBytes + chunk.length > descriptor.size) {
          throw invalid(`layer ${descriptor.digest} is larger than the ${descriptor.size} bytes its manifest says`);
        }
        this.#hash.update(chunk);
        pending.push(chunk);
        pendingBytes += chunk.length;
        if (pendingBytes >= WRITE_SIZE) await flush();
      }
    } catch (error) {
      response.body.destroy();
      // What has arrived is kept; the next attempt continues from there.
      await flush();
      throw transportFailure('GET', response.url, error, signal);
    }
    await flush();
    if (this.#offset < descriptor.size) {
      throw new RegistryFailure('unavailable', `Get "${response.url.href}": unexpected EOF`, { retriable: true });
    }
  }

  async #restart(): Promise<void> {
    await this.file.truncate(0);
    this.#offset = 0;
    this.#hash = this.#newHash();
  }

  async #verify(): Promise<void> {
    const { digest } = this.options.descriptor;
    if (`${digest.slice(0, digest.indexOf(':'))}:${this.#hash.digest('hex')}` === digest) return;
    const message = `filesystem layer verification failed for digest ${digest}`;
    // The two responses do not fit together. A fresh download may succeed.
    const resumed = this.#resumed;
    this.#resumed = false;
    await this.#restart();
    throw resumed ? new RegistryFailure('invalid', message, { retriable: true }) : invalid(message);
  }
}

/** Writes all of `chunks`: a single `writev` may write less, for example on a disk that is nearly full. */
async function writeAll(file: FileHandle, chunks: Buffer[], position: number): Promise<void> {
  const data = chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
  let written = 0;
  while (written < data.length) {
    const { bytesWritten } = await file.write(data, written, data.length - written, position + written);
    written += bytesWritten;
  }
}

function spoolFailure(path: string, error: unknown): unknown {
  const code = errnoOf(error);
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return insufficientResources(`write ${path}: no space left on device`, error);
  }
  return error;
}
