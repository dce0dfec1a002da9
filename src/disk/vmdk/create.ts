/** Makes empty VMDKs: a few KiB written into a sparse file, whatever the capacity. */
import { createHash, randomBytes } from 'node:crypto';
import { open, unlink } from 'node:fs/promises';
import { basename, dirname, relative, resolve } from 'node:path';
import { FileBlocks } from '../blocks.js';
import { encodeDescriptor } from './descriptor.js';
import { readVmdkInfo } from './extent.js';
import { encodeDirectory, encodeHeader, layoutFor, SECTOR } from './header.js';

/** A content id that is neither of the two reserved values: derived from `seed` if given, otherwise random. */
export function newCid(seed?: string): string {
  const bytes = seed === undefined ? randomBytes(4) : createHash('sha256').update(`vmdk cid ${seed}`).digest();
  const value = bytes.readUInt32LE(0);
  return (value >= 0xfffffffe ? value - 2 : value).toString(16).padStart(8, '0');
}

/** A new disk's identity. */
export interface NewVmdk {
  /** Capacity in bytes, a multiple of 512. */
  capacity: number;
  cid: string;
  parentCid: string | null;
  parentHint: string | null;
}

/** The pieces of an empty disk: `[offset, bytes]`, and the file's length; everything between is zeros. */
export function emptyVmdk(disk: NewVmdk, fileName: string): { pieces: [number, Buffer][]; length: number } {
  const layout = layoutFor(disk.capacity);
  return {
    pieces: [
      [0, encodeHeader(layout)],
      [SECTOR, encodeDescriptor(disk, layout.capacity, fileName)],
      [layout.rgdOffset * SECTOR, encodeDirectory(layout, layout.rgtOffset)],
      [layout.gdOffset * SECTOR, encodeDirectory(layout, layout.gtOffset)],
    ],
    length: layout.overHead * SECTOR,
  };
}

/** Length of the file of an empty disk: what has a grain is longer. @param capacity bytes */
export function emptyDiskBytes(capacity: number): number {
  return layoutFor(capacity).overHead * SECTOR;
}

async function writeNew(path: string, disk: NewVmdk): Promise<void> {
  const { pieces, length } = emptyVmdk(disk, basename(path));
  const file = await open(path, 'wx', 0o640);
  try {
    await file.truncate(length);
    for (const [offset, bytes] of pieces) await file.write(bytes, 0, bytes.length, offset);
  } catch (error) {
    await unlink(path).catch(() => {});
    throw error;
  } finally {
    await file.close();
  }
}

/** Creates an empty disk of `capacity` bytes (a multiple of 512) at `path`, which must not exist (`EEXIST`). */
export function createEmpty(path: string, capacity: number, cid = newCid()): Promise<void> {
  return writeNew(path, { capacity, cid, parentCid: null, parentHint: null });
}

/**
 * Creates an empty child of the VMDK at `parentPath` at `path`, which must not exist: the same capacity, and all content from the parent.
 * `hint` is how the child names the parent's path; by default, the path relative to the child.
 */
export async function createChild(path: string, parentPath: string, hint?: string): Promise<void> {
  const parent = await FileBlocks.open(parentPath);
  try {
    const info = await readVmdkInfo(parent);
    await writeNew(path, {
      capacity: info.capacity,
      cid: newCid(),
      parentCid: info.cid,
      parentHint: hint ?? relative(dirname(resolve(path)), resolve(parentPath)),
    });
  } finally {
    await parent.close();
  }
}
