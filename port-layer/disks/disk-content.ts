/** Fetches the content of files from the places that a disk-reading process names. */
import type { BlockReader } from '../../src/disk/index.js';
import type { FileEntry } from '../files/root-files.js';
import type { DiskRecord } from './records.js';

/** Size of one fetch. */
const PIECE = 1 << 20;
/** Pieces fetched ahead while one is being used. */
const AHEAD = 2;
const ZEROS = Buffer.alloc(65_536);

/** Yields each entry, followed by its content. @throws invalid for a place outside its file */
export async function* contentOf(
  records: Iterable<DiskRecord>,
  file: (number: number) => BlockReader,
): AsyncGenerator<FileEntry | Buffer> {
  const coming: (FileEntry | Buffer | Promise<Buffer> | { zeros: number })[] = [];
  let fetching = 0;
  const pieces = piecesOf(records);
  let next = pieces.next();
  for (;;) {
    while (next.done !== true && fetching <= AHEAD && coming.length < 64) {
      const piece = next.value;
      if ('file' in piece) {
        const read = file(piece.file).read(piece.offset, piece.length);
        // The error is thrown when this piece's turn comes.
        read.catch(() => {});
        coming.push(read);
        fetching++;
      } else coming.push(piece);
      next = pieces.next();
    }
    const one = coming.shift();
    if (one === undefined) return;
    if (one instanceof Promise) {
      yield await one;
      fetching--;
    } else if ('zeros' in one)
      for (let left = one.zeros; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, Math.min(left, ZEROS.length));
    else yield one;
  }
}

type Piece = FileEntry | Buffer | { zeros: number } | { file: number; offset: number; length: number };

function* piecesOf(records: Iterable<DiskRecord>): Generator<Piece> {
  for (const record of records) {
    if (record.type === 'entry') yield record.entry;
    else if (record.type === 'data') yield record.data;
    else if (record.type === 'zeros') yield { zeros: record.length };
    else
      for (let done = 0; done < record.length; done += PIECE)
        yield { file: record.file, offset: record.offset + done, length: Math.min(PIECE, record.length - done) };
  }
}
