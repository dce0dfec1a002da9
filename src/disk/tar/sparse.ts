/** Sparse files as GNU tar stores them: the old format and PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, "Storing Sparse Files"). */
import { invalid } from '../../common/errors.js';
import { tarNumber } from './header.js';
import { MAX_PARTS, paxNumber } from './pax.js';

/** A stretch of data in a sparse file; everything in between is a hole. */
export interface SparsePart {
  offset: number;
  length: number;
}

/** Checks that parts are in order, do not overlap, are within `size`, and have `stored` bytes in total. */
export function checkParts(parts: SparsePart[], size: number, stored: number): SparsePart[] {
  let end = 0;
  let total = 0;
  for (const part of parts) {
    if (part.offset < end) throw invalid('the map of a sparse file in the tar is malformed');
    end = part.offset + part.length;
    total += part.length;
  }
  if (end > size || total !== stored) throw invalid('the map of a sparse file in the tar does not fit the file');
  return parts;
}

/** Entries of 24 bytes each; an empty one ends the list. */
export function oldSparseEntries(block: Buffer, start: number, count: number, into: SparsePart[]): void {
  for (let i = 0; i < count; i++) {
    const at = start + i * 24;
    if (block[at] === 0 && block[at + 12] === 0) break;
    into.push({ offset: tarNumber(block, at, 12), length: tarNumber(block, at + 12, 12) });
    if (into.length > MAX_PARTS) throw invalid('a sparse file in the tar has too many parts');
  }
}

/** The list `offset,length,offset,length,…` of format 0.1. */
export function sparseList(value: string): SparsePart[] {
  const numbers = value === '' ? [] : value.split(',').map((part) => paxNumber(part, 'GNU.sparse.map'));
  if (numbers.length % 2 !== 0) throw invalid('the map of a sparse file in the tar is malformed');
  const parts: SparsePart[] = [];
  for (let i = 0; i < numbers.length; i += 2) {
    parts.push({ offset: numbers[i] as number, length: numbers[i + 1] as number });
  }
  return parts;
}

/**
 * Format 1.0: the map begins the data, as decimal numbers on lines of their own (count, then offset and length of each part),
 * padded to a block. `nextBlock` supplies the blocks; how many were used is returned too.
 */
export async function readSparseMap(
  nextBlock: () => Promise<Buffer>,
): Promise<{ parts: SparsePart[]; blocks: number }> {
  let pending = '';
  let blocks = 0;
  const numbers: number[] = [];
  for (let wanted = 1; numbers.length < wanted; ) {
    const lines = (pending + (await nextBlock()).toString('latin1')).split('\n');
    blocks++;
    pending = lines.pop() ?? '';
    for (const line of lines) {
      if (numbers.length === wanted) break;
      numbers.push(paxNumber(line, 'GNU.sparse map'));
      if (numbers.length > 1) continue;
      if ((numbers[0] as number) > MAX_PARTS) throw invalid('a sparse file in the tar has too many parts');
      wanted = 1 + 2 * (numbers[0] as number);
    }
    if (pending.length > 512) throw invalid('the map of a sparse file in the tar is malformed');
  }
  const parts: SparsePart[] = [];
  for (let i = 1; i < numbers.length; i += 2) {
    parts.push({ offset: numbers[i] as number, length: numbers[i + 1] as number });
  }
  return { parts, blocks };
}
