/**
 * The journal that a killed VM leaves ("ext4 Data Structures and Algorithms", "Journal (jbd2)"; big-endian). Replaying here means
 * learning which disk blocks have newer content in the journal, and where: nothing is written.
 */
import { Breather } from '../../common/breather.js';
import { invalid, unsupported } from '../../common/errors.js';
import { BLOCK } from './constants.js';

const MAGIC = 0xc03b3998;
const DESCRIPTOR = 1;
const COMMIT = 2;
const REVOKE = 5;

const INCOMPAT_REVOKE = 0x1;
const INCOMPAT_64BIT = 0x2;
const INCOMPAT_ASYNC_COMMIT = 0x4;
const INCOMPAT_CSUM_V2 = 0x8;
const INCOMPAT_CSUM_V3 = 0x10;
const KNOWN = INCOMPAT_REVOKE | INCOMPAT_64BIT | INCOMPAT_ASYNC_COMMIT | INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3;

/** How many blocks a log may revoke: more than deleting a gigabyte of metadata at once produces. */
const MAX_REVOKED = 2 ** 18;

const TAG_ESCAPED = 1;
const TAG_SAME_UUID = 2;
const TAG_LAST = 8;

/** Where a disk block's newest content is: a block of the journal file, and whether that block's first word must be restored. */
export interface JournalledBlock {
  journalBlock: number;
  escaped: boolean;
}

/** A complete transaction in the log. */
interface Transaction {
  sequence: number;
  writes: { block: number; journalBlock: number; escaped: boolean }[];
}

interface Layout {
  maxLength: number;
  first: number;
  wide: boolean;
  csum: number;
}

/** Restores the first word of a journal block, which was replaced because it looked like the journal's magic. */
export function restoreMagic(block: Buffer): Buffer {
  const copy = Buffer.from(block);
  copy.writeUInt32BE(MAGIC, 0);
  return copy;
}

/**
 * The journal's superblock with an empty log. The next transaction gets a number beyond any that the log can hold, so that what is still
 * there is never taken for part of a later log.
 */
export function emptyJournal(superblock: Buffer): Buffer {
  const empty = Buffer.from(superblock);
  const sequence = empty.readUInt32BE(24) + empty.readUInt32BE(16) + 1;
  empty.writeUInt32BE(sequence >>> 0, 24);
  empty.writeUInt32BE(0, 28);
  return empty;
}

/** Tags of a descriptor block: which disk block each following journal block belongs to. */
function readTags(block: Buffer, layout: Layout): { block: number; escaped: boolean }[] {
  const tags: { block: number; escaped: boolean }[] = [];
  // Version 2 checksums made tags two bytes longer by accident, and it was left that way (jbd2's `journal_tag_bytes`).
  const plain = (layout.wide ? 12 : 8) + (layout.csum & INCOMPAT_CSUM_V2 ? 2 : 0);
  const size = layout.csum & INCOMPAT_CSUM_V3 ? 16 : plain;
  const end = layout.csum ? BLOCK - 4 : BLOCK;
  for (let at = 12; at + size <= end; ) {
    const low = block.readUInt32BE(at);
    const flags = layout.csum & INCOMPAT_CSUM_V3 ? block.readUInt32BE(at + 4) : block.readUInt16BE(at + 6);
    const high = layout.wide ? block.readUInt32BE(at + 8) : 0;
    tags.push({ block: low + high * 2 ** 32, escaped: (flags & TAG_ESCAPED) !== 0 });
    at += size + (flags & TAG_SAME_UUID ? 0 : 16);
    if (flags & TAG_LAST) break;
  }
  return tags;
}

function readRevokes(block: Buffer, layout: Layout): number[] {
  const end = Math.min(block.readUInt32BE(12), layout.csum ? BLOCK - 4 : BLOCK);
  const size = layout.wide ? 8 : 4;
  const revoked: number[] = [];
  for (let at = 16; at + size <= end; at += size) {
    revoked.push(layout.wide ? block.readUInt32BE(at) * 2 ** 32 + block.readUInt32BE(at + 4) : block.readUInt32BE(at));
  }
  return revoked;
}

/**
 * Reads the log through `read` (a block of the journal file, which has `length` blocks) and returns the newest committed
 * content of each disk block (there are `diskBlocks`). An incomplete last transaction does not count. Throws `invalid` or `unsupported`.
 */
export async function replayJournal(
  length: number,
  diskBlocks: number,
  read: (journalBlock: number) => Promise<Buffer>,
): Promise<Map<number, JournalledBlock>> {
  const superblock = await read(0);
  const kind = superblock.readUInt32BE(4);
  if (superblock.readUInt32BE(0) !== MAGIC || (kind !== 3 && kind !== 4)) throw invalid('damaged ext4: no journal');
  const incompat = kind === 4 ? superblock.readUInt32BE(40) : 0;
  if (incompat & ~KNOWN) throw unsupported(`journal features 0x${(incompat & ~KNOWN).toString(16)} are not supported`);
  const layout: Layout = {
    maxLength: superblock.readUInt32BE(16),
    first: superblock.readUInt32BE(20),
    wide: (incompat & INCOMPAT_64BIT) !== 0,
    csum: incompat & (INCOMPAT_CSUM_V2 | INCOMPAT_CSUM_V3),
  };
  const start = superblock.readUInt32BE(28);
  if (start === 0) return new Map();
  if (
    superblock.readUInt32BE(12) !== BLOCK ||
    layout.maxLength > length ||
    layout.first === 0 ||
    layout.first >= layout.maxLength ||
    start < layout.first ||
    start >= layout.maxLength
  ) {
    throw invalid("damaged ext4: the journal's superblock makes no sense");
  }
  const { transactions, revoked } = await scan(layout, start, superblock.readUInt32BE(24), read);
  const newest = new Map<number, JournalledBlock>();
  for (const { sequence, writes } of transactions) {
    for (const { block, journalBlock, escaped } of writes) {
      const until = revoked.get(block);
      // A revoked block was freed in that transaction, so older content must not come back.
      if (until !== undefined && isAtOrAfter(until, sequence)) continue;
      if (block >= diskBlocks) throw invalid(`damaged ext4: the journal writes to block ${block}, which is not there`);
      newest.set(block, { journalBlock, escaped });
    }
  }
  return newest;
}

/** Sequence numbers wrap around at 2^32. */
const isAtOrAfter = (a: number, b: number): boolean => ((a - b) | 0) >= 0;

async function scan(
  layout: Layout,
  start: number,
  firstSequence: number,
  read: (journalBlock: number) => Promise<Buffer>,
): Promise<{ transactions: Transaction[]; revoked: Map<number, number> }> {
  const transactions: Transaction[] = [];
  const revoked = new Map<number, number>();
  let sequence = firstSequence;
  let at = start;
  let current: Transaction = { sequence, writes: [] };
  let currentRevokes: number[] = [];
  const advance = (count: number) => {
    at += count;
    if (at >= layout.maxLength) at = layout.first + (at - layout.maxLength);
  };
  const size = layout.maxLength - layout.first;
  const breather = new Breather();
  // Each block of the log is looked at no more than once, even if the log is inconsistent.
  for (let seen = 0; seen < size; ) {
    if (breather.due) await breather.breathe();
    const block = await read(at);
    if (block.readUInt32BE(0) !== MAGIC || block.readUInt32BE(8) !== sequence) break;
    const kind = block.readUInt32BE(4);
    seen++;
    advance(1);
    if (kind === DESCRIPTOR) {
      for (const tag of readTags(block, layout)) {
        current.writes.push({ ...tag, journalBlock: at });
        seen++;
        advance(1);
      }
    } else if (kind === REVOKE) {
      currentRevokes.push(...readRevokes(block, layout));
      if (currentRevokes.length + revoked.size > MAX_REVOKED)
        throw unsupported('an ext4 journal that revokes so many blocks is not supported');
    } else if (kind === COMMIT) {
      transactions.push(current);
      for (const number of currentRevokes) revoked.set(number, sequence);
      sequence = (sequence + 1) >>> 0;
      current = { sequence, writes: [] };
      currentRevokes = [];
    } else break;
  }
  return { transactions, revoked };
}
