/** The messages between the endpoint and a disk-reading process. Bytes travel beside a message (`frames.ts`). */
import type { CaissonError } from '../../src/common/errors.js';
import type { FileFailure } from '../../tether/protocol/files.js';
import { type ErrorRecord, errorOf, errorRecord } from '../errors.js';
import { FileError, type TreeOptions } from '../files/root-files.js';
import type { PackedRecords } from './records.js';

/** Requests about a disk. Each is answered once; a tree is preceded by batches of records. */
export type DiskRequest =
  | { op: 'open'; path: string; layers: string[] }
  | { op: 'stat'; path: string }
  | { op: 'tree'; path: string; options: TreeOptions }
  /** Answered by batches of records like a tree: the place of each grain of the disk that has content, and zeros in between. */
  | { op: 'grains' }
  /**
   * Likewise, but all grains of those runs of `unit` grains of which one of the first `files` files of the chain says anything; the answer
   * is a {@link UnitMap} of these runs.
   */
  | { op: 'said'; files: number; unit: number }
  /** From now on records go into the copy at `local`, a local file. */
  | { op: 'change'; local: string }
  /** Waits until all records so far are stored. */
  | { op: 'sync' }
  /** Like `sync`; then writes the records to the copy and closes it. */
  | { op: 'finish' }
  /** Bytes of all files. */
  | { op: 'usage' }
  /** Whether the root has no entries. */
  | { op: 'empty' }
  /** Whether a journal has to be replayed. */
  | { op: 'dirty' }
  | { op: 'close' };

export type ToReader =
  | { type: 'request'; id: number; disk: number; request: DiskRequest }
  /** So many more batches of a tree may be sent. */
  | { type: 'credit'; id: number; batches: number }
  | { type: 'cancel'; id: number }
  /** Records to be stored; bytes: content. */
  | { type: 'records'; disk: number; records: PackedRecords }
  | { type: 'file'; id: number; file: number; size: number }
  /** Bytes: what was read. */
  | { type: 'bytes'; id: number }
  | { type: 'refused'; id: number; error: ToldError };

export type FromReader =
  | { type: 'answer'; id: number; value?: unknown }
  | { type: 'failed'; id: number; error: ToldError }
  | { type: 'batch'; id: number; records: PackedRecords }
  /** A batch of records is done, with the first error, if any. */
  | { type: 'taken'; disk: number; error?: ToldError }
  /** Opens a file of the datastore. */
  | { type: 'file'; id: number; disk: number; path: string }
  | { type: 'read'; id: number; file: number; offset: number; length: number }
  | { type: 'drop'; file: number }
  | { type: 'alive' };

/** An error on its way to the other process: it keeps its kind, and its code and subject if it has them. */
export type ToldError = { file: FileFailure } | { record: ErrorRecord };

export function tellError(error: unknown): ToldError {
  if (error instanceof FileError) return { file: { errno: error.errno, operation: error.operation, path: error.path } };
  return { record: errorRecord(error) };
}

export function toldError(error: ToldError): FileError | CaissonError {
  return 'file' in error ? new FileError(error.file) : errorOf(error.record);
}
