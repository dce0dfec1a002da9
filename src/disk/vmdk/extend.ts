/** Makes a disk larger. */
import { open, unlink } from 'node:fs/promises';
import { basename } from 'node:path';
import { invalid, unsupported } from '../../common/errors.js';
import { emptyVmdk, newCid } from './create.js';
import { decodeDescriptor } from './descriptor.js';
import { DESCRIPTOR_SECTORS, decodeHeader, GRAIN_BYTES, GTES_PER_GT, layoutFor, SECTOR } from './header.js';

const PIECE = 1 << 20;
/** Bytes of one grain table. */
const TABLE = GTES_PER_GT * 4;

/**
 * Writes a copy of a disk, with the same parent and content and a larger capacity, to `outPath`, which must not exist. It reads as zeros
 * beyond the former end. What the file itself has is copied; content of its parents is not.
 * @param capacity in bytes, a multiple of 64 KiB @param cid the copy's content id
 * @throws invalid (not larger, or a damaged disk), unsupported (a layout that this program and QEMU do not use); nothing is left then
 */
export async function extendDisk(path: string, outPath: string, capacity: number, cid = newCid()): Promise<void> {
  const from = await open(path, 'r');
  try {
    const { size } = await from.stat();
    const head = Buffer.alloc((1 + DESCRIPTOR_SECTORS) * SECTOR);
    await from.read(head, 0, head.length, 0);
    const header = decodeHeader(head, size);
    const before = layoutFor(header.capacity * SECTOR);
    if (capacity % GRAIN_BYTES !== 0 || capacity <= header.capacity * SECTOR)
      throw invalid(`a disk of ${header.capacity * SECTOR} bytes cannot be made one of ${capacity}`);
    if (header.gdOffset !== before.gdOffset || header.overHead !== before.overHead || header.zeroGrains)
      throw unsupported('the disk has a layout of another program');
    const { parentCid, parentHint } = decodeDescriptor(head.subarray(SECTOR));
    const after = layoutFor(capacity);
    const shift = after.overHead - before.overHead;
    const to = await open(outPath, 'wx', 0o640);
    try {
      const { pieces, length } = emptyVmdk({ capacity, cid, parentCid, parentHint }, basename(path));
      await to.truncate(length);
      for (const [at, bytes] of pieces) await to.write(bytes, 0, bytes.length, at);
      const table = Buffer.alloc(TABLE);
      for (let index = 0; index < before.tables; index++) {
        await from.read(table, 0, TABLE, before.gtOffset * SECTOR + index * TABLE);
        if (!moveTable(table, before.overHead, size, shift)) continue;
        for (const start of [after.rgtOffset, after.gtOffset])
          await to.write(table, 0, TABLE, start * SECTOR + index * TABLE);
      }
      const piece = Buffer.allocUnsafe(PIECE);
      for (let at = before.overHead * SECTOR; at < size; ) {
        const { bytesRead } = await from.read(piece, 0, Math.min(PIECE, size - at), at);
        if (bytesRead === 0) throw invalid('the disk is shorter than it was');
        await to.write(piece, 0, bytesRead, at + shift * SECTOR);
        at += bytesRead;
      }
      await to.sync();
    } catch (error) {
      await unlink(outPath).catch(() => undefined);
      throw error;
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
}

/** Moves the grains of a table by so many sectors. @returns false if it has none */
function moveTable(table: Buffer, overHead: number, size: number, shift: number): boolean {
  let any = false;
  for (let at = 0; at < table.length; at += 4) {
    const sector = table.readUInt32LE(at);
    if (sector === 0) continue;
    if (sector < overHead || sector * SECTOR + GRAIN_BYTES > size || sector + shift >= 2 ** 32)
      throw invalid('a grain table of a VMDK makes no sense');
    table.writeUInt32LE(sector + shift, at);
    any = true;
  }
  return any;
}
