/** Extended headers: POSIX.1-2017 `pax`, "pax Extended Header". Keys and values are strings, one character per byte. */
import { invalid } from '../../common/errors.js';

/** How many parts a sparse file may have. */
export const MAX_PARTS = 1_000_000;
/** Offset and length of a part in sparse format 0.0 (GNU tar manual, "Storing Sparse Files"). */
const SPARSE = ['GNU.sparse.offset', 'GNU.sparse.numbytes'] as const;

/** Parses records of the form `length key=value\n`. Throws `invalid`. */
export function parsePax(data: Buffer): Map<string, string> {
  const records = new Map<string, string>();
  /** For a sparse file in format 0.0, whose records come in pairs, one pair for each part. */
  const sparse: string[] = [];
  for (let at = 0; at < data.length; ) {
    if (data[at] === 0) break; // padding that some writers count as data
    const space = data.indexOf(32, at);
    const digits = space < 0 ? '' : data.toString('latin1', at, space);
    const length = /^[0-9]{1,9}$/.test(digits) ? Number(digits) : 0;
    const end = at + length;
    if (length < digits.length + 3 || end > data.length || data[end - 1] !== 10) {
      throw invalid('a pax header of the tar is malformed');
    }
    const record = data.toString('latin1', space + 1, end - 1);
    const equals = record.indexOf('=');
    if (equals <= 0) throw invalid('a pax header of the tar is malformed');
    const [key, value] = [record.slice(0, equals), record.slice(equals + 1)];
    if (key === SPARSE[0] || key === SPARSE[1]) {
      if (key !== SPARSE[sparse.length % 2] || value.includes(','))
        throw invalid('a pax header of the tar is malformed');
      if (sparse.push(value) > 2 * MAX_PARTS) throw invalid('a sparse file in the tar has too many parts');
    } else records.set(key, value);
    at = end;
  }
  // Presents the file as one in format 0.1.
  if (sparse.length > 0) records.set('GNU.sparse.map', sparse.join(','));
  return records;
}

/** A non-negative decimal number. */
export function paxNumber(value: string, key: string): number {
  const number = /^[0-9]{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!Number.isSafeInteger(number)) throw invalid(`the pax record "${key}" of the tar is not a number`);
  return number;
}

/** A time: seconds since 1970, perhaps negative, perhaps with a fraction. */
export function paxTime(value: string): { sec: number; nsec: number } {
  const match = /^(-?)([0-9]{1,15})(?:\.([0-9]*))?$/.exec(value);
  if (!match) throw invalid('a time in a pax header of the tar is malformed');
  const sec = Number(match[2]);
  const nsec = Number((match[3] ?? '').slice(0, 9).padEnd(9, '0'));
  if (match[1] === '') return { sec, nsec };
  return nsec === 0 ? { sec: -sec, nsec: 0 } : { sec: -sec - 1, nsec: 1e9 - nsec };
}
