/**
 * The list of the chunks that something consists of: a disk (by unit; a unit without a chunk is zeros) or an archive (one after the other). The list is itself
 * in chunks, of up to 4,096 entries each, so that a list of which little has changed shares most of itself with the one before.
 *
 * An entry: 4 bytes with the position (little endian), 32 with the SHA-256 of the chunk; in ascending order of positions.
 */
import { createHash, type Hash } from 'node:crypto';
import { z } from 'zod';
import { invalid, messageOf } from '../common/errors.js';
import { type ChunkSink, type ChunkSource, HASH } from './chunks.js';

const HASH_BYTES = 32;
const ENTRY_BYTES = 4 + HASH_BYTES;
/** Positions that one part of the list is about. */
const RANGE = 4096;
/** More than the largest disk, of 2 TiB, has. */
const MAX_PARTS = 1024;

export const contentSchema = z.strictObject({
  /** The parts of the list: which range of positions each is about, and its chunk. */
  parts: z
    .array(
      z.strictObject({
        range: z
          .int()
          .min(0)
          .max(2 ** 20),
        chunk: z.string().regex(HASH),
      }),
    )
    .max(MAX_PARTS)
    .refine((parts) => parts.every(({ range }, at) => at === 0 || range > parts[at - 1]!.range)),
  /** How many chunks there are in it, and the SHA-256 of all entries: of the whole content, that is. */
  chunks: z.int().min(0),
  sha256: z.string().regex(HASH),
});

/** See the file's head. */
export type Content = z.infer<typeof contentSchema>;

/** An entry of a list. */
export interface Entry {
  position: number;
  hash: string;
}

/** Makes a list. Positions must ascend. */
export class ContentWriter {
  private readonly parts: Content['parts'] = [];
  private readonly hash: Hash = createHash('sha256');
  private chunks = 0;
  private range = -1;
  private entries: Buffer[] = [];

  constructor(private readonly sink: ChunkSink) {}

  async add({ position, hash }: Entry): Promise<void> {
    const range = Math.floor(position / RANGE);
    if (range !== this.range) await this.endPart();
    this.range = range;
    const entry = Buffer.alloc(ENTRY_BYTES);
    entry.writeUInt32LE(position, 0);
    entry.write(hash, 4, 'hex');
    this.entries.push(entry);
    this.hash.update(entry);
    this.chunks++;
  }

  /** Puts the rest of it. */
  async end(): Promise<Content> {
    await this.endPart();
    return { parts: this.parts, chunks: this.chunks, sha256: this.hash.digest('hex') };
  }

  private async endPart(): Promise<void> {
    if (this.entries.length === 0) return;
    this.parts.push({ range: this.range, chunk: await this.sink.put(Buffer.concat(this.entries)) });
    this.entries = [];
  }
}

/** The entries of a list, checked. @throws invalid */
export async function* entriesOf({ parts, chunks, sha256 }: Content, source: ChunkSource): AsyncGenerator<Entry> {
  const hash = createHash('sha256');
  let count = 0;
  for (const { range, chunk } of parts) {
    const part = await source.get(chunk);
    if (part.length === 0 || part.length % ENTRY_BYTES !== 0 || part.length > RANGE * ENTRY_BYTES)
      throw invalid(`the list of chunks ${chunk} is damaged`);
    hash.update(part);
    let last = range * RANGE - 1;
    for (let at = 0; at < part.length; at += ENTRY_BYTES) {
      const position = part.readUInt32LE(at);
      if (position <= last || position >= (range + 1) * RANGE) throw invalid(`the list of chunks ${chunk} is damaged`);
      last = position;
      count++;
      yield { position, hash: part.toString('hex', at + 4, at + ENTRY_BYTES) };
    }
  }
  if (count !== chunks || hash.digest('hex') !== sha256)
    throw invalid('the list of its chunks is not the one that was written');
}

/** A list after changes: by position, the new chunk, or null for what is zeros now. */
export async function changedContent(
  base: Content,
  changes: ReadonlyMap<number, string | null>,
  source: ChunkSource,
  sink: ChunkSink,
): Promise<Content> {
  const writer = new ContentWriter(sink);
  const positions = [...changes.keys()].sort((a, b) => a - b);
  let next = 0;
  const addChanges = async (before: number): Promise<void> => {
    for (; next < positions.length && positions[next]! < before; next++) {
      const position = positions[next]!;
      const hash = changes.get(position);
      if (hash != null) await writer.add({ position, hash });
    }
  };
  for await (const entry of entriesOf(base, source)) {
    await addChanges(entry.position);
    if (!changes.has(entry.position)) await writer.add(entry);
  }
  await addChanges(Number.POSITIVE_INFINITY);
  return writer.end();
}

/** What is in it, chunk by chunk, each checked. @param what its owner, for messages @throws invalid, naming what is damaged */
export async function* dataOf(
  content: Content,
  source: ChunkSource,
  what: string,
): AsyncGenerator<{ position: number; data: Buffer }> {
  try {
    for await (const { position, hash } of entriesOf(content, source)) yield { position, data: await source.get(hash) };
  } catch (error) {
    throw invalid(`${what}: ${messageOf(error)}`, error);
  }
}
