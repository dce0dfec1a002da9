/**
 * Entries and content in batches, packed so that thousands of small files cost little on their way between processes. Content in a
 * datastore file is only named by its place, and the endpoint fetches it itself.
 */
import { internal } from '../../src/common/errors.js';
import type { FileEntry } from '../files/root-files.js';

export type DiskRecord =
  | { type: 'entry'; entry: FileEntry; keepKind: boolean }
  /** Content: `length` bytes from `offset` of the file with this number. */
  | { type: 'place'; file: number; offset: number; length: number }
  | { type: 'zeros'; length: number }
  | { type: 'data'; data: Buffer };

export interface PackedRecords {
  numbers: Float64Array;
  /** Each entry's path and target. */
  strings: string[];
}

const ENTRY = 1;
const PLACE = 2;
const ZEROS = 3;
const DATA = 4;
/** How many numbers each kind of record takes, including its kind. */
const LENGTHS: Record<number, number> = { [ENTRY]: 17, [PLACE]: 4, [ZEROS]: 2, [DATA]: 2 };

/** A batch is sent once it has this many records or bytes. */
const MAX_RECORDS = 256;
const MAX_BYTES = 512 * 1024;

/** A batch that is being filled. */
export class RecordPack {
  private numbers: number[] = [];
  private strings: string[] = [];
  private parts: Buffer[] = [];
  private records = 0;
  private size = 0;

  /** Whether it is time to send it. */
  get full(): boolean {
    return this.records >= MAX_RECORDS || this.size >= MAX_BYTES;
  }

  get empty(): boolean {
    return this.records === 0;
  }

  entry(entry: FileEntry, keepKind: boolean): void {
    const { mode, uid, gid, nlink, size, mtime, ctime, atime, ino, major, minor, capability } = entry;
    this.numbers.push(ENTRY, mode, uid, gid, nlink, size, mtime.sec, mtime.nsec, ctime.sec, ctime.nsec, atime.sec);
    this.numbers.push(atime.nsec, Number(ino), major, minor, capability?.length ?? -1, keepKind ? 1 : 0);
    this.strings.push(entry.path, entry.target);
    this.add(capability);
  }

  place(file: number, offset: number, length: number): void {
    this.numbers.push(PLACE, file, offset, length);
    this.add(null);
  }

  zeros(length: number): void {
    this.numbers.push(ZEROS, length);
    this.add(null);
  }

  /** @param data must not be changed afterwards */
  data(data: Buffer): void {
    this.numbers.push(DATA, data.length);
    this.add(data);
  }

  private add(bytes: Buffer | null): void {
    this.records++;
    if (bytes === null || bytes.length === 0) return;
    this.parts.push(bytes);
    this.size += bytes.length;
  }

  /** Returns the packed batch and starts an empty one. */
  take(): { records: PackedRecords; parts: Buffer[] } {
    const packed = { records: { numbers: Float64Array.from(this.numbers), strings: this.strings }, parts: this.parts };
    [this.numbers, this.strings, this.parts, this.records, this.size] = [[], [], [], 0, 0];
    return packed;
  }
}

/** The records of a batch. @throws internal for a malformed batch */
export function* unpackRecords({ numbers, strings }: PackedRecords, bytes: Buffer): Generator<DiskRecord> {
  let [at, string, byte] = [0, 0, 0];
  const cut = (length: number): Buffer => {
    if (!(length >= 0 && byte + length <= bytes.length)) throw internal('a damaged batch of records');
    byte += length;
    return bytes.subarray(byte - length, byte);
  };
  while (at < numbers.length) {
    const kind = numbers[at]!;
    const length = LENGTHS[kind];
    if (length === undefined || at + length > numbers.length) throw internal('a damaged batch of records');
    const field = (index: number): number => numbers[at + index]!;
    if (kind === ENTRY) {
      const [path, target] = [strings[string++], strings[string++]];
      if (path === undefined || target === undefined) throw internal('a damaged batch of records');
      const capability = field(15) < 0 ? null : Buffer.from(cut(field(15)));
      const entry: FileEntry = {
        path,
        mode: field(1),
        uid: field(2),
        gid: field(3),
        nlink: field(4),
        size: field(5),
        mtime: { sec: field(6), nsec: field(7) },
        ctime: { sec: field(8), nsec: field(9) },
        atime: { sec: field(10), nsec: field(11) },
        ino: BigInt(field(12)),
        dev: 0n,
        major: field(13),
        minor: field(14),
        target,
        capability,
      };
      yield { type: 'entry', entry, keepKind: field(16) === 1 };
    } else if (kind === PLACE) yield { type: 'place', file: field(1), offset: field(2), length: field(3) };
    else if (kind === ZEROS) yield { type: 'zeros', length: field(1) };
    else yield { type: 'data', data: cut(field(1)) };
    at += length;
  }
}
