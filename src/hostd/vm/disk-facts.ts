/** Facts about virtual disks (capacity, identity, parent), read from the heads of their files and cached. */
import { createHash } from 'node:crypto';
import { closeSync, constants, openSync, readSync, statSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { DESCRIPTOR_SECTORS, decodeDescriptor, decodeHeader, SECTOR } from '../../disk/index.js';

/** One file of a chain. */
export interface DiskFacts {
  capacityBytes: number;
  /** In vSphere's form of a disk's UUID, `6000C293-…`. Derived from the path, since a disk file has no UUID of its own. */
  uuid: string;
  contentId: string;
  /** Local path of the parent. */
  parent: string | null;
}

const KEPT = 5000;
const known = new Map<string, { inode: number; facts: DiskFacts }>();

/** The facts of a disk by its local path; null if there is no file or it is not a disk. */
export function diskFacts(path: string): DiskFacts | null {
  try {
    // Capacity and parent of a file never change, and a file put in its place has another inode.
    const stat = statSync(path);
    // Parents are named in files that guests and clients can write, so a device or pipe of the host must not be opened.
    if (!stat.isFile()) return null;
    const { ino, size } = stat;
    const kept = known.get(path);
    if (kept?.inode === ino) return kept.facts;
    const facts = read(path, size);
    if (known.size >= KEPT) known.clear();
    known.set(path, { inode: ino, facts });
    return facts;
  } catch {
    return null;
  }
}

function read(path: string, size: number): DiskFacts {
  const head = Buffer.alloc((1 + DESCRIPTOR_SECTORS) * SECTOR);
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    readSync(file, head, 0, head.length, 0);
  } finally {
    closeSync(file);
  }
  const header = decodeHeader(head, size);
  const start = header.descriptorOffset * SECTOR;
  const { cid, parentHint } = decodeDescriptor(head.subarray(start, start + header.descriptorSize * SECTOR));
  return {
    capacityBytes: header.capacity * SECTOR,
    uuid: uuidOf(path),
    contentId: cid,
    parent: parentHint === null ? null : resolve(dirname(path), parentHint),
  };
}

function uuidOf(path: string): string {
  const hex = `6000C29${createHash('sha256').update(path).digest('hex').slice(0, 25)}`;
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}
