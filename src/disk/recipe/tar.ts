/** Makes a layer's tar again from its recipe and its disk. */
import { pipeline, type Readable } from 'node:stream';
import { createGunzip } from 'node:zlib';
import { invalid } from '../../common/errors.js';
import type { Ext4Filesystem } from '../ext4/filesystem.js';
import { type FilePart, type RecipeItem, recipeItems } from './format.js';

/** Where a recipe is read from. */
export interface RecipeSource {
  /** The recipe, from its beginning; called twice if there is replaced content. */
  recipe(): Promise<Readable>;
  /** Bytes `start … end` (exclusive) of the replaced content; null if there is none. */
  replaced: ((start: number, end: number) => Promise<Readable>) | null;
}

const PIECE = 1 << 20;

/**
 * The tar of the layer whose disk, with those below it, holds `filesystem`. Whether it is the right one only its digest tells: the caller
 * must compare it.
 * @param limit what it gives at most, in bytes
 * @throws invalid for a damaged recipe or disk
 */
export async function* tarFromRecipe(
  source: RecipeSource,
  filesystem: Ext4Filesystem,
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<Buffer> {
  const moved = await replacedFiles(source);
  let files = 0;
  let length = 0;
  for await (const item of itemsOf(source)) {
    length += lengthOf(item);
    if (length > limit) throw invalid('the recipe of a layer makes more than its tar');
    if (item.kind === 'end') {
      if (item.length !== length) throw invalid('the recipe of a layer does not make a whole tar');
      return;
    }
    if (item.kind === 'bytes') yield item.bytes;
    else if (item.kind === 'zeros') yield* zeros(item.length);
    else if (item.kind === 'file') {
      const position = moved.get(files++);
      if (position === undefined) yield* onDisk(filesystem, item.inode, item.parts);
      else yield* replaced(source, position, item.parts);
    }
  }
}

/** Bytes of the tar that an item makes. */
function lengthOf(item: RecipeItem): number {
  if (item.kind === 'bytes') return item.bytes.length;
  if (item.kind === 'zeros') return item.length;
  return item.kind === 'file' ? item.parts.reduce((sum, { length }) => sum + length, 0) : 0;
}

/** By number of the file, where its content is in the second file. */
async function replacedFiles(source: RecipeSource): Promise<Map<number, number>> {
  const moved = new Map<number, number>();
  if (source.replaced === null) return moved;
  for await (const item of itemsOf(source)) if (item.kind === 'replaced') moved.set(item.file, item.position);
  return moved;
}

async function* itemsOf(source: RecipeSource): AsyncGenerator<RecipeItem> {
  const compressed = await source.recipe();
  const gunzip = createGunzip({ chunkSize: 64 * 1024 });
  // Errors on either side reach the reader of `gunzip`.
  pipeline(compressed, gunzip, () => undefined);
  try {
    yield* recipeItems(gunzip);
  } finally {
    gunzip.destroy();
    compressed.destroy();
  }
}

async function* onDisk(filesystem: Ext4Filesystem, inode: number, parts: FilePart[]): AsyncGenerator<Buffer> {
  for (const { offset, length } of parts) {
    let given = 0;
    for await (const bytes of filesystem.content(inode, { start: offset, end: offset + length })) {
      given += bytes.length;
      yield bytes;
    }
    if (given !== length) throw invalid(`a file of the layer (inode ${inode}) is shorter than in its tar`);
  }
}

async function* replaced(source: RecipeSource, position: number, parts: FilePart[]): AsyncGenerator<Buffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  let given = 0;
  for await (const bytes of await source.replaced!(position, position + length)) {
    given += (bytes as Buffer).length;
    yield bytes as Buffer;
  }
  if (given !== length) throw invalid('the replaced content of a layer is shorter than in its tar');
}

function* zeros(length: number): Generator<Buffer> {
  const piece = Buffer.alloc(Math.min(length, PIECE));
  for (let left = length; left > 0; left -= piece.length) yield left < piece.length ? piece.subarray(0, left) : piece;
}
