/**
 * Records of the tether's file server (`tether/guest/files.c`), over the streams of a session: u32 length of the fields, u8 type,
 * fields (little-endian). Paths are strings with one character per byte. Requests go to the server's input, replies come on its
 * output, in order; puts, data and times are answered only when they fail, and then the server ends.
 */
import { internal } from '../../src/common/errors.js';
import { FieldWriter } from './fields.js';
import { RecordGatherer } from './record-gatherer.js';

/** Which files a server serves: those the container's processes see, with volumes and bound files, or only those on its disk. */
export const FilesView = { asSeen: 1, ofDisk: 2 } as const;

export const FileRequest = {
  stat: 1,
  tree: 2,
  put: 3,
  data: 4,
  times: 5,
  finish: 6,
  freeze: 7,
  freezeVolume: 8,
} as const;
export const FileReply = { entry: 64, content: 65, error: 66, done: 67 } as const;

/** Flags of {@link FileRequest.tree}: with the content of regular files; without what a directory contains. */
export const TREE_CONTENT = 1;
export const TREE_ALONE = 2;
/** Flag of {@link FileRequest.put}: neither replace a directory with something else, nor something else with a directory. */
export const PUT_KEEP_KIND = 1;

/** The longest that a volume may stay frozen, in milliseconds: the guest thaws it by itself then. */
export const MAX_FREEZE_MS = 60_000;

/** Bytes of content in one record. */
export const CONTENT_PIECE = 65_536;
/** Bytes of fields in one record. */
export const MAX_FILE_RECORD = 1 << 20;
/** Length and type. */
export const FILE_RECORD_HEAD = 5;
/** An entry's fields before its path, and the length of that path. */
export const FILE_ENTRY_HEAD = 88;
/** The kernel's PATH_MAX. */
export const MAX_PATH = 4096;

/** Seconds since 1970 (perhaps negative) and nanoseconds. */
export interface FileTime {
  sec: number;
  nsec: number;
}

/** One entry of a filesystem. Strings have one character per byte. */
export interface FileEntry {
  /** Relative to the root of the tree; '' is the root itself. */
  path: string;
  /** As in `st_mode`: type and permission bits. */
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  size: number;
  mtime: FileTime;
  ctime: FileTime;
  atime: FileTime;
  ino: bigint;
  dev: bigint;
  /** Device numbers of a node. */
  major: number;
  minor: number;
  /** Target of a symbolic link; in a put of a regular file, the path it is to be a hard link to. */
  target: string;
  /** The extended attribute `security.capability`. */
  capability: Buffer | null;
}

/** An error of the server: Linux errno, the operation that failed, and its path. */
export interface FileFailure {
  errno: number;
  operation: string;
  path: string;
}

/** A received reply. */
export type FileRecord =
  | { type: 'entry'; entry: FileEntry }
  | { type: 'content'; data: Buffer }
  | { type: 'error'; failure: FileFailure }
  | { type: 'done' };

/** One record, as bytes. */
export function encodeRecord(type: number, fields: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(FILE_RECORD_HEAD + fields.length);
  bytes.writeUInt32LE(fields.length, 0);
  bytes.writeUInt8(type, 4);
  fields.copy(bytes, FILE_RECORD_HEAD);
  return bytes;
}

const time = (writer: FieldWriter, { sec, nsec }: FileTime): FieldWriter =>
  writer.u64(BigInt.asUintN(64, BigInt(sec))).u32(nsec);

const attributes = (writer: FieldWriter, entry: FileEntry): FieldWriter =>
  time(time(writer.u32(entry.mode).u32(entry.uid).u32(entry.gid), entry.mtime), entry.atime);

/** The fields of a put. */
export function encodePut(entry: FileEntry, flags: number): Buffer {
  const writer = new FieldWriter().u8(flags).byteString(entry.path).byteString(entry.target);
  const { capability } = entry;
  return attributes(writer, entry)
    .u32(entry.major)
    .u32(entry.minor)
    .u32(capability?.length ?? 0)
    .raw(capability ?? Buffer.alloc(0))
    .bytes();
}

/** The fields of a request to set times. */
export function encodeTimes(entry: FileEntry): Buffer {
  return attributes(new FieldWriter().byteString(entry.path), entry).bytes();
}

/** Splits a server's output into records. */
export class FileRecordParser {
  private readonly records = new RecordGatherer(FILE_RECORD_HEAD, MAX_FILE_RECORD, 'the guest sent a damaged record');

  /** The records completed by these bytes. @throws internal when they are damaged */
  push(bytes: Buffer): FileRecord[] {
    return Array.from(this.records.push(bytes), (record) =>
      decode(record.readUInt8(4), record.subarray(FILE_RECORD_HEAD)),
    );
  }
}

function decode(type: number, fields: Buffer): FileRecord {
  switch (type) {
    case FileReply.entry:
      return { type: 'entry', entry: decodeEntry(fields) };
    case FileReply.content:
      return { type: 'content', data: fields };
    case FileReply.error:
      return { type: 'error', failure: decodeFailure(fields) };
    case FileReply.done:
      return { type: 'done' };
    default:
      throw internal('the guest sent an unknown record');
  }
}

function stringAt(fields: Buffer, at: number): { text: Buffer; next: number } {
  if (at + 4 > fields.length) throw internal('the guest sent a damaged record');
  const next = at + 4 + fields.readUInt32LE(at);
  if (next > fields.length) throw internal('the guest sent a damaged record');
  return { text: fields.subarray(at + 4, next), next };
}

function decodeFailure(fields: Buffer): FileFailure {
  if (fields.length < 4) throw internal('the guest sent a damaged record');
  const operation = stringAt(fields, 4);
  const path = stringAt(fields, operation.next);
  return { errno: fields.readUInt32LE(0), operation: operation.text.toString(), path: path.text.toString('latin1') };
}

function safe(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER) || value < BigInt(Number.MIN_SAFE_INTEGER))
    throw internal('the guest sent a damaged record');
  return Number(value);
}

function decodeEntry(fields: Buffer): FileEntry {
  if (fields.length < FILE_ENTRY_HEAD) throw internal('the guest sent a damaged record');
  const path = stringAt(fields, FILE_ENTRY_HEAD - 4);
  const target = stringAt(fields, path.next);
  const capability = stringAt(fields, target.next);
  if (path.text.length > MAX_PATH || target.text.length > MAX_PATH) throw internal('the guest sent a damaged record');
  const timeAt = (at: number): FileTime => ({
    sec: safe(fields.readBigInt64LE(at)),
    nsec: fields.readUInt32LE(at + 8) % 1_000_000_000,
  });
  return {
    mode: fields.readUInt32LE(0),
    uid: fields.readUInt32LE(4),
    gid: fields.readUInt32LE(8),
    nlink: fields.readUInt32LE(12),
    size: safe(fields.readBigUInt64LE(16)),
    mtime: timeAt(24),
    ctime: timeAt(36),
    atime: timeAt(48),
    ino: fields.readBigUInt64LE(60),
    dev: fields.readBigUInt64LE(68),
    major: fields.readUInt32LE(76),
    minor: fields.readUInt32LE(80),
    path: path.text.toString('latin1'),
    target: target.text.toString('latin1'),
    capability: capability.text.length === 0 ? null : Buffer.from(capability.text),
  };
}
