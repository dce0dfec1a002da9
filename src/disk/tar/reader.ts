/**
 * Reads a tar stream entry by entry: ustar, pax, GNU long names, GNU sparse files, old V7. The bytes of names are kept as they are (one
 * character per byte), and so are extended attributes. A layer needs both, and ready-made parsers drop them.
 */
import type { Readable } from 'node:stream';
import { invalid, unsupported } from '../../common/errors.js';
import { parseTarHeader, TAR_BLOCK, type TarHeader, tarNumber } from './header.js';
import { parsePax, paxNumber, paxTime } from './pax.js';
import { ByteSource, type Passed } from './source.js';
import { checkParts, oldSparseEntries, readSparseMap, type SparsePart, sparseList } from './sparse.js';

export type TarType = 'file' | 'link' | 'symlink' | 'char' | 'block' | 'directory' | 'fifo';

/** One entry. Strings have one character per byte. */
export interface TarEntry {
  type: TarType;
  name: string;
  linkName: string;
  mode: number;
  uid: number;
  gid: number;
  /** Size of the file, holes included. */
  size: number;
  mtime: { sec: number; nsec: number };
  atime: { sec: number; nsec: number };
  major: number;
  minor: number;
  xattrs: Map<string, Buffer> | null;
  /** For a sparse file, where its data goes; null for an ordinary one. */
  parts: SparsePart[] | null;
}

/** Extended headers and long names: the same bound as Go's `archive/tar`. */
const MAX_META = 1 << 20;
const XATTR = 'SCHILY.xattr.';
const TYPES: Record<string, TarType> = {
  '0': 'file',
  '\0': 'file', // V7
  '7': 'file', // "contiguous": only a hint
  S: 'file',
  '1': 'link',
  '2': 'symlink',
  '3': 'char',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/** Reads entries one after the other; {@link TarReader.data} gives the current one's content. */
export class TarReader {
  private readonly source: ByteSource;
  /** Unread bytes of the current entry's data, and the padding after them. */
  private left = 0;
  private padding = 0;
  /** The blocks of zeros that end an archive were read: without them, a reader cannot tell an archive from its first half. */
  endMarked = false;

  /** @param passed told of every byte that is not given by {@link TarReader.data}, in the order of the tar */
  constructor(stream: Readable, passed: Passed | null = null) {
    this.source = new ByteSource(stream, passed);
  }

  private async block(): Promise<Buffer> {
    const block = await this.source.exactly(TAR_BLOCK);
    if (!block) throw invalid('the tar ends in the middle of an entry');
    return block;
  }

  private async meta(header: TarHeader): Promise<Buffer> {
    if (header.size > MAX_META) throw invalid('an extended header of the tar has more than 1 MiB');
    const padded = Math.ceil(header.size / TAR_BLOCK) * TAR_BLOCK;
    const data = padded === 0 ? Buffer.alloc(0) : await this.source.exactly(padded);
    if (!data) throw invalid('the tar ends in the middle of an entry');
    return Buffer.from(data.subarray(0, header.size));
  }

  /** The next entry, or null at the end; skips what is left of the current one's data. Throws `invalid`. */
  async next(): Promise<TarEntry | null> {
    await this.source.pass(this.left);
    // Like Go's reader: an archive may end where padding is expected.
    const whole = await this.source.passIfThere(this.padding);
    this.left = 0;
    this.padding = 0;
    if (!whole) return null;
    let pax = new Map<string, string>();
    let longName: string | null = null;
    let longLink: string | null = null;
    for (;;) {
      const block = await this.source.exactly(TAR_BLOCK);
      const header = block && parseTarHeader(block);
      if (!header) {
        // Like Go's reader: a block of zeros is followed by another one, or by nothing.
        const second = block && (await this.source.exactly(TAR_BLOCK));
        if (second && !isZero(second)) throw invalid('not a tar, or a damaged one: something follows a block of zeros');
        this.endMarked = block !== null;
        await this.source.drain();
        return null;
      }
      if (header.type === 'x') pax = parsePax(await this.meta(header));
      else if (header.type === 'g') parsePax(await this.meta(header));
      else if (header.type === 'L') longName = untilNul(await this.meta(header));
      else if (header.type === 'K') longLink = untilNul(await this.meta(header));
      else {
        if (longName !== null) header.name = longName;
        if (longLink !== null) header.linkName = longLink;
        return await this.entry(header, pax, block as Buffer);
      }
    }
  }

  private async entry(header: TarHeader, pax: Map<string, string>, block: Buffer): Promise<TarEntry> {
    let type = TYPES[header.type];
    if (!type) throw unsupported(`a tar entry of type "${header.type.slice(0, 1)}" is not supported`);
    const name = pax.get('path') || header.name;
    if (header.type === '\0' && name.endsWith('/')) type = 'directory'; // V7 had no type for directories
    const sizeRecord = pax.get('size');
    const stored = sizeRecord === undefined ? header.size : paxNumber(sizeRecord, 'size');
    const hasData = type === 'file';
    // Some writers give links and directories a size, but no data.
    this.left = hasData ? stored : 0;
    const number = (key: string, value: number) => {
      const record = pax.get(key);
      return record === undefined ? value : paxNumber(record, key);
    };
    const mtimeRecord = pax.get('mtime');
    const atimeRecord = pax.get('atime');
    const mtime = mtimeRecord === undefined ? { sec: header.mtime, nsec: 0 } : paxTime(mtimeRecord);
    const entry: TarEntry = {
      type,
      name,
      linkName: pax.get('linkpath') || header.linkName,
      mode: header.mode,
      uid: id(number('uid', header.uid)),
      gid: id(number('gid', header.gid)),
      size: this.left,
      mtime,
      atime: atimeRecord === undefined ? mtime : paxTime(atimeRecord),
      major: header.major,
      minor: header.minor,
      xattrs: xattrsOf(pax),
      parts: null,
    };
    this.padding = (TAR_BLOCK - (this.left % TAR_BLOCK)) % TAR_BLOCK;
    if (header.type === 'S') await this.oldSparse(entry, Buffer.from(block));
    else if (hasData && (pax.has('GNU.sparse.major') || pax.has('GNU.sparse.map') || pax.has('GNU.sparse.size'))) {
      await this.paxSparse(entry, pax);
    }
    if (/\0/.test(entry.name + entry.linkName)) throw invalid('a name in the tar is malformed');
    return entry;
  }

  private async oldSparse(entry: TarEntry, header: Buffer): Promise<void> {
    const parts: SparsePart[] = [];
    oldSparseEntries(header, 386, 4, parts);
    entry.size = tarNumber(header, 483, 12);
    for (let more = header[482]; more; ) {
      const block = await this.block();
      oldSparseEntries(block, 0, 21, parts);
      more = block[504];
    }
    entry.parts = checkParts(parts, entry.size, this.left);
  }

  private async paxSparse(entry: TarEntry, pax: Map<string, string>): Promise<void> {
    const realName = pax.get('GNU.sparse.name');
    if (realName !== undefined) entry.name = realName;
    const real = pax.get('GNU.sparse.realsize') ?? pax.get('GNU.sparse.size');
    if (real === undefined) throw invalid('a sparse file in the tar has no size');
    entry.size = paxNumber(real, 'GNU.sparse.realsize');
    const map = pax.get('GNU.sparse.map');
    if (map !== undefined) entry.parts = checkParts(sparseList(map), entry.size, this.left);
    else if (pax.get('GNU.sparse.major') === '1') {
      const { parts, blocks } = await readSparseMap(() => {
        if (this.left < TAR_BLOCK) throw invalid('the map of a sparse file in the tar is cut off');
        this.left -= TAR_BLOCK;
        return this.block();
      });
      // The padding is still right: it was computed for a size that differs only by whole blocks.
      entry.parts = checkParts(parts, entry.size, this.left);
      if (blocks === 0) throw invalid('a sparse file in the tar has no map');
    } else {
      // A file without data in format 0.0 has no record for a part.
      entry.parts = checkParts([], entry.size, this.left);
    }
  }

  /** The next bytes of the current entry's data (of a sparse one: of its parts, in order), at most `limit`; null at the end. */
  async data(limit = Number.MAX_SAFE_INTEGER): Promise<Buffer | null> {
    if (this.left === 0) return null;
    const part = await this.source.take(Math.min(this.left, limit));
    if (!part) throw invalid('the tar ends in the middle of an entry');
    this.left -= part.length;
    return part;
  }
}

function isZero(block: Buffer): boolean {
  return block.every((byte) => byte === 0);
}

function untilNul(data: Buffer): string {
  const end = data.indexOf(0);
  return data.toString('latin1', 0, end < 0 ? data.length : end);
}

/** User and group ids have 32 bits; the last value means "unchanged" to the kernel. */
function id(value: number): number {
  if (value < 0 || value >= 0xffffffff) throw invalid(`the tar has an impossible user or group id ${value}`);
  return value;
}

function xattrsOf(pax: Map<string, string>): Map<string, Buffer> | null {
  let xattrs: Map<string, Buffer> | null = null;
  for (const [key, value] of pax) {
    if (!key.startsWith(XATTR)) continue;
    xattrs ??= new Map();
    xattrs.set(key.slice(XATTR.length), Buffer.from(value, 'latin1'));
  }
  return xattrs;
}
