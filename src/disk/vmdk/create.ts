/** Making empty disks: a few kilobytes are written, whatever the capacity. */
import { randomInt } from 'node:crypto';
import { open } from 'node:fs/promises';
import { basename, dirname, relative } from 'node:path';
import { FileReader } from '../block-device.js';
import { type Descriptor, decodeHead, encodeHead, type ExtentInfo, HEAD_BYTES, layoutFor, NO_PARENT_CID } from './format.js';

/** Header and descriptor of a VMDK file. @throws invalid */
export async function inspectVmdk(path: string): Promise<ExtentInfo> {
  const file = await FileReader.open(path);
  try {
    return decodeHead(await file.read(0, HEAD_BYTES));
  } finally {
    await file.close();
  }
}

/** Makes an empty child of `parentPath`: the same capacity, nothing written yet. @throws if `path` exists */
export async function createChild(path: string, parentPath: string): Promise<ExtentInfo> {
  const parent = await inspectVmdk(parentPath);
  const descriptor: Descriptor = { cid: newCid(), parentCid: parent.cid, parentHint: relative(dirname(path), parentPath) };
  return create(path, parent.layout.capacity, descriptor);
}

/** Makes an empty disk. @param capacity in bytes, a multiple of 64 KiB */
export async function createEmpty(path: string, capacity: number): Promise<ExtentInfo> {
  return create(path, capacity, { cid: newCid(), parentCid: NO_PARENT_CID, parentHint: null });
}

async function create(path: string, capacity: number, descriptor: Descriptor): Promise<ExtentInfo> {
  const layout = layoutFor(capacity);
  const file = await open(path, 'wx', 0o640);
  try {
    await file.write(encodeHead(layout, descriptor, basename(path)), 0);
    await file.truncate(layout.dataOffset);
  } finally {
    await file.close();
  }
  return { ...descriptor, layout };
}

/** A content id; all ones means "no parent" and is avoided. */
function newCid(): number {
  return randomInt(1, 0xfffffffe);
}
