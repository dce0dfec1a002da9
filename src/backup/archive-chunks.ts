/**
 * Cuts an archive into chunks where its content says so (a rolling "gear" hash), not at fixed places: what is inserted or removed changes the chunk that it is in, and
 * those after it stay the same, so that the next backup finds them again.
 */
import { createHash } from 'node:crypto';
import { type ChunkSink, MAX_CHUNK } from './chunks.js';
import { type Content, ContentWriter } from './content.js';

const MIN = 128 * 1024;
/** So many bits of the hash are zeros at a cut: every half MiB on average. */
const MASK = (2 ** 19 - 1) << 12;
/** 256 numbers that look random and are the same everywhere. */
const GEAR = Uint32Array.from({ length: 256 }, (_, byte) =>
  createHash('sha256').update(`caisson backup ${byte}`).digest().readUInt32LE(0),
);

/** Where the first chunk of `data` ends; `data.length` if no cut is in it. */
export function cutOf(data: Buffer): number {
  const end = Math.min(data.length, MAX_CHUNK);
  let hash = 0;
  for (let at = MIN; at < end; at++) {
    hash = ((hash << 1) + GEAR[data[at]!]!) | 0;
    if ((hash & MASK) === 0) return at + 1;
  }
  return end;
}

/** Puts an archive into chunks, piece by piece. */
export class ArchiveWriter {
  private readonly writer: ContentWriter;
  private pieces: Buffer[] = [];
  private length = 0;
  private position = 0;
  /** Bytes so far. */
  bytes = 0;

  constructor(private readonly sink: ChunkSink) {
    this.writer = new ContentWriter(sink);
  }

  async add(piece: Buffer): Promise<void> {
    this.bytes += piece.length;
    this.pieces.push(piece);
    this.length += piece.length;
    while (this.length >= MAX_CHUNK) await this.cut();
  }

  async end(): Promise<Content> {
    while (this.length > 0) await this.cut();
    return this.writer.end();
  }

  private async cut(): Promise<void> {
    const all = Buffer.concat(this.pieces, this.length);
    const at = cutOf(all);
    await this.writer.add({ position: this.position++, hash: await this.sink.put(all.subarray(0, at)) });
    this.pieces = [Buffer.from(all.subarray(at))];
    this.length = all.length - at;
  }
}
