/**
 * Chunks: pieces of content under the SHA-256 of what is in them, each compressed in a file of its own (`chunks/ab/<sha256>.gz`). The same content is
 * kept once, whichever volumes, containers and backups have it.
 */
import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';
import { errnoOf, invalid, messageOf } from '../common/errors.js';
import { type BackupFiles, writeWhole } from './files.js';

const compress = promisify(gzip) as (data: Buffer, options: { level: number }) => Promise<Buffer>;
const expand = promisify(gunzip) as (data: Buffer, options: { maxOutputLength: number }) => Promise<Buffer>;

/** Bytes of content that a chunk has at most. */
export const MAX_CHUNK = 4 * 2 ** 20;
/** Of its file: what cannot be compressed grows a little. */
const MAX_FILE = MAX_CHUNK + 2 ** 16;
/** Chunks that are being compressed and written at the same time. */
const AT_ONCE = 4;
const SYNCS_AT_ONCE = 8;

export const HASH = /^[0-9a-f]{64}$/;
export const hashOf = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
export const chunkPath = (hash: string): string => `chunks/${hash.slice(0, 2)}/${hash}.gz`;
/** The chunk that a file is, or null. */
export const chunkOf = (path: string): string | null => {
  const [, directory, hash = ''] = /^chunks\/([0-9a-f]{2})\/([0-9a-f]{64})\.gz$/.exec(path) ?? [];
  return directory !== undefined && hash.startsWith(directory) ? hash : null;
};
export { MAX_FILE as MAX_CHUNK_FILE };

/** The file of a chunk. */
export const packed = (data: Buffer): Promise<Buffer> => compress(data, { level: 1 });

/** Where chunks go. */
export interface ChunkSink {
  /**
   * Keeps a chunk, unless it is there already. Resolves before it is written, so that several can be under way. @returns its SHA-256
   * @throws what went wrong with this or an earlier one
   */
  put(data: Buffer): Promise<string>;
}

/** Where chunks come from. */
export interface ChunkSource {
  /** @throws invalid, naming the chunk, if it is missing or is not what was put */
  get(hash: string): Promise<Buffer>;
}

/** Keeps a few writes under way at the same time, and remembers what went wrong. */
export class Writes {
  private readonly running = new Set<Promise<void>>();
  private failure: unknown = null;

  /** Waits until one more may begin. @throws the first failure */
  async add(write: () => Promise<void>): Promise<void> {
    while (this.running.size >= AT_ONCE && this.failure === null) await Promise.race(this.running);
    if (this.failure !== null) throw this.failure;
    const one = write()
      .catch((error: unknown) => {
        this.failure ??= error;
      })
      .finally(() => this.running.delete(one));
    this.running.add(one);
  }

  /** @throws the first failure */
  async all(): Promise<void> {
    await Promise.all(this.running);
    if (this.failure !== null) throw this.failure;
  }
}

/** The chunks of a directory of backups. */
export class ChunkDirectory implements ChunkSink, ChunkSource {
  private readonly writes = new Writes();
  /** Put by this program. */
  private readonly known = new Set<string>();
  private readonly unsynced = new Set<string>();
  /** Bytes of the files that were written. */
  written = 0;
  /** Number of them. */
  count = 0;

  constructor(private readonly files: BackupFiles) {}

  async put(data: Buffer): Promise<string> {
    const hash = hashOf(data);
    if (this.known.has(hash)) return hash;
    this.known.add(hash);
    await this.writes.add(() => this.write(hash, data));
    return hash;
  }

  /** What is there under its name is not taken on trust: what a power cut left of an earlier backup may be half of it. */
  private async write(hash: string, data: Buffer): Promise<void> {
    const path = chunkPath(hash);
    if ((await this.files.size(path)) !== null && (await this.get(hash).catch(() => null)) !== null) return;
    const file = await packed(data);
    await writeWhole(this.files, path, file);
    this.unsynced.add(path);
    this.written += file.length;
    this.count++;
  }

  /** Makes sure that everything that was put outlives a power cut. @throws what went wrong with any of it */
  async settled(): Promise<void> {
    await this.writes.all();
    const paths = [...this.unsynced];
    const directories = new Set(paths.map((path) => path.slice(0, path.lastIndexOf('/'))));
    for (const all of [paths, [...directories, ...(paths.length === 0 ? [] : ['chunks'])]])
      for (let at = 0; at < all.length; at += SYNCS_AT_ONCE)
        await Promise.all(all.slice(at, at + SYNCS_AT_ONCE).map((path) => this.files.sync(path)));
    this.unsynced.clear();
  }

  async get(hash: string): Promise<Buffer> {
    let file: Buffer;
    try {
      file = await this.files.read(chunkPath(hash), MAX_FILE);
    } catch (error) {
      throw invalid(
        `chunk ${hash} ${errnoOf(error) === 'ENOENT' ? 'is missing' : `cannot be read: ${messageOf(error)}`}`,
      );
    }
    let data: Buffer;
    try {
      data = await expand(file, { maxOutputLength: MAX_CHUNK });
    } catch (error) {
      throw invalid(`chunk ${hash} is damaged: ${messageOf(error)}`);
    }
    if (hashOf(data) !== hash) throw invalid(`chunk ${hash} is damaged: it has another content`);
    return data;
  }

  /** Whether there is a file for it, without reading it. */
  async has(hash: string): Promise<boolean> {
    return ((await this.files.size(chunkPath(hash))) ?? 0) > 0;
  }
}
