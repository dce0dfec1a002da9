/**
 * Puts what a disk has in itself into the disk that it stands on. The disk reads the same before, after and at every moment in between,
 * also if this is killed: what changes in the lower disk is hidden by the upper one.
 */
import { type FileHandle, open } from 'node:fs/promises';
import { invalid, unsupported } from '../../common/errors.js';
import { isZero } from './delta.js';
import { decodeDescriptor } from './descriptor.js';
import {
  DESCRIPTOR_SECTORS,
  decodeHeader,
  GRAIN_BYTES,
  GTES_PER_GT,
  layoutFor,
  SECTOR,
  type SparseLayout,
} from './header.js';

const TABLE = GTES_PER_GT * 4;
const HEAD = (1 + DESCRIPTOR_SECTORS) * SECTOR;
/** So much is written before tables point to it: content must be on the disk first, and waiting for that takes time. */
const STEP = 64 * 2 ** 20;

interface OpenVmdk {
  file: FileHandle;
  layout: SparseLayout;
  hasParent: boolean;
  /** Bytes. */
  length: number;
}

/**
 * Both must have the same capacity, and nobody may write to either of them. Only `upper` and what stands on it may stand on `lower`, since
 * the content of `lower` becomes that of `upper`.
 * @throws invalid (a damaged disk), unsupported (another capacity or layout); whatever was written by then is hidden by `upper`
 */
export async function commitDisk(upper: string, lower: string): Promise<void> {
  const from = await openVmdk(upper, 'r');
  try {
    const into = await openVmdk(lower, 'r+');
    try {
      if (from.layout.capacity !== into.layout.capacity)
        throw unsupported(`the capacities differ: ${from.layout.capacity} and ${into.layout.capacity} sectors`);
      await commit(from, into);
    } finally {
      await into.file.close();
    }
  } finally {
    await from.file.close();
  }
}

async function openVmdk(path: string, flags: 'r' | 'r+'): Promise<OpenVmdk> {
  const file = await open(path, flags);
  try {
    const { size: length } = await file.stat();
    const head = Buffer.alloc(HEAD);
    await file.read(head, 0, HEAD, 0);
    const header = decodeHeader(head, length);
    const layout = layoutFor(header.capacity * SECTOR);
    if (header.gdOffset !== layout.gdOffset || header.overHead !== layout.overHead || header.zeroGrains)
      throw unsupported('the disk has a layout of another program');
    return { file, layout, hasParent: decodeDescriptor(head.subarray(SECTOR)).parentHint !== null, length };
  } catch (error) {
    await file.close();
    throw error;
  }
}

async function commit(from: OpenVmdk, into: OpenVmdk): Promise<void> {
  const { tables, gtOffset, rgtOffset, overHead } = into.layout;
  /** Tables whose grains are written, and that do not say so yet. */
  let pending: { index: number; table: Buffer }[] = [];
  let written = 0;
  // Whatever a guest's QEMU left behind the last whole sector belongs to no grain.
  let end = Math.max(Math.ceil(into.length / SECTOR), overHead) * SECTOR;
  let settled = end;
  const settle = async (): Promise<void> => {
    await into.file.datasync();
    settled = end;
    for (const { index, table } of pending)
      for (const start of [rgtOffset, gtOffset]) await writeAll(into.file, table, start * SECTOR + index * TABLE);
    await into.file.datasync();
    [pending, written] = [[], 0];
  };
  try {
    for (let index = 0; index < tables; index++) {
      const upper = await readTable(from, index);
      if (upper === null) continue;
      const lower = (await readTable(into, index)) ?? Buffer.alloc(TABLE);
      let changed = false;
      for (let at = 0; at < TABLE; at += 4) {
        const sector = upper.readUInt32LE(at);
        if (sector === 0) continue;
        const grain = await readGrain(from, sector);
        const present = lower.readUInt32LE(at);
        if (present !== 0) await writeAll(into.file, grain, checked(into, present));
        else if (into.hasParent || !isZero(grain)) {
          if (end / SECTOR >= 2 ** 32) throw unsupported('the disk would be larger than its tables can say');
          await writeAll(into.file, grain, end);
          lower.writeUInt32LE(end / SECTOR, at);
          end += GRAIN_BYTES;
          changed = true;
        }
        written += GRAIN_BYTES;
      }
      if (changed) pending.push({ index, table: lower });
      if (written >= STEP) await settle();
    }
    await settle();
  } catch (error) {
    // Grains that no table points to would stay in the file.
    await into.file.truncate(Math.max(settled, into.length)).catch(() => undefined);
    throw error;
  }
}

/** Null if it has no grains. */
async function readTable({ file, layout }: OpenVmdk, index: number): Promise<Buffer | null> {
  const table = Buffer.alloc(TABLE);
  await file.read(table, 0, TABLE, layout.gtOffset * SECTOR + index * TABLE);
  return isZero(table) ? null : table;
}

/** The offset of a grain. @throws invalid unless it is one of the file's */
function checked({ layout, length }: OpenVmdk, sector: number): number {
  if (sector < layout.overHead || sector * SECTOR >= length) throw invalid('a grain table of a VMDK makes no sense');
  return sector * SECTOR;
}

/** A file's last grain may be short. */
async function readGrain(disk: OpenVmdk, sector: number): Promise<Buffer> {
  const grain = Buffer.alloc(GRAIN_BYTES);
  const at = checked(disk, sector);
  for (let done = 0; done < GRAIN_BYTES; ) {
    const { bytesRead } = await disk.file.read(grain, done, GRAIN_BYTES - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return grain;
}

async function writeAll(file: FileHandle, data: Buffer, at: number): Promise<void> {
  for (let done = 0; done < data.length; )
    done += (await file.write(data, done, data.length - done, at + done)).bytesWritten;
}
