/**
 * A layer's recipe: how to make the layer's tar again, bit for bit, from the layer's disk. The disk has what is in the files; the recipe has
 * the rest (headers, padding, what follows the end) and the order, as tar-split (github.com/vbatts/tar-split) does for Docker.
 *
 * A gzip file. Inside: items one after the other, each a number that says what it is, and numbers and bytes that belong to it. Numbers are
 * written in groups of seven bits, the lowest first, with the eighth bit set in all bytes but the last (LEB128).
 *
 * | item | followed by | in the tar |
 * |---|---|---|
 * | 1 bytes | count, the bytes | those bytes |
 * | 2 zeros | count | so many zeros |
 * | 3 file | inode, count of parts; for each its distance from the end of the last one, and its length | those parts of the file |
 * | 4 replaced | number of the file (the first item 3 is 0), position | nothing: the parts of that file are in the second file, at that position |
 * | 0 end | length of the tar | the end |
 *
 * A file that the same layer replaces or removes again is not on the disk. What was in it goes to a second file, uncompressed.
 */
import { invalid } from '../../common/errors.js';

/** Version of the format, kept in the layer's record. */
export const RECIPE_VERSION = 1;

export const ITEM = { end: 0, bytes: 1, zeros: 2, file: 3, replaced: 4 } as const;

/** The content of a part of a file, in bytes. */
export interface FilePart {
  offset: number;
  length: number;
}

export type RecipeItem =
  | { kind: 'bytes'; bytes: Buffer }
  | { kind: 'zeros'; length: number }
  | { kind: 'file'; inode: number; parts: FilePart[] }
  | { kind: 'replaced'; file: number; position: number }
  | { kind: 'end'; length: number };

/** In one item. */
const MAX_BYTES = 1 << 20;
/** As many as a sparse file's map may have. */
const MAX_PARTS = 1 << 20;

/** Appends a number to `out`. @returns the position behind it */
export function putNumber(out: Buffer, at: number, value: number): number {
  let rest = value;
  let end = at;
  while (rest >= 0x80) {
    out[end++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  out[end++] = rest;
  return end;
}

/** Bytes that a number takes at most: 53 bits. */
export const NUMBER_BYTES = 8;

/** Reads items from the uncompressed bytes of a recipe. @throws invalid for what is none, or a part of one */
export async function* recipeItems(source: AsyncIterable<Buffer>): AsyncGenerator<RecipeItem> {
  const input = new Input(source);
  for (;;) {
    const kind = await input.number();
    if (kind === ITEM.bytes) yield { kind: 'bytes', bytes: await input.bytes(await input.number(MAX_BYTES)) };
    else if (kind === ITEM.zeros) yield { kind: 'zeros', length: await input.number() };
    else if (kind === ITEM.file) {
      const inode = await input.number();
      const parts: FilePart[] = [];
      let end = 0;
      for (let left = await input.number(MAX_PARTS); left > 0; left--) {
        const offset = end + (await input.number());
        const length = await input.number();
        end = offset + length;
        parts.push({ offset, length });
      }
      yield { kind: 'file', inode, parts };
    } else if (kind === ITEM.replaced)
      yield { kind: 'replaced', file: await input.number(), position: await input.number() };
    else if (kind === ITEM.end) {
      yield { kind: 'end', length: await input.number() };
      return;
    } else throw damaged();
  }
}

const damaged = (): Error => invalid('the recipe of a layer is damaged');

/** Takes numbers and bytes from a stream. */
class Input {
  private readonly iterator: AsyncIterator<Buffer>;
  private chunk: Buffer = Buffer.alloc(0);
  private at = 0;

  constructor(source: AsyncIterable<Buffer>) {
    this.iterator = source[Symbol.asyncIterator]();
  }

  private async more(): Promise<void> {
    while (this.at >= this.chunk.length) {
      const next = await this.iterator.next();
      if (next.done) throw damaged();
      this.chunk = next.value;
      this.at = 0;
    }
  }

  /** @throws invalid above `most` */
  async number(most = Number.MAX_SAFE_INTEGER): Promise<number> {
    let value = 0;
    for (let unit = 1; ; unit *= 0x80) {
      if (this.at >= this.chunk.length) await this.more();
      const byte = this.chunk[this.at++] as number;
      value += (byte & 0x7f) * unit;
      if (value > most) throw damaged();
      if (byte < 0x80) return value;
    }
  }

  async bytes(length: number): Promise<Buffer> {
    const out = Buffer.allocUnsafe(length);
    for (let done = 0; done < length; ) {
      await this.more();
      const part = this.chunk.subarray(this.at, this.at + length - done);
      part.copy(out, done);
      this.at += part.length;
      done += part.length;
    }
    return out;
  }
}
