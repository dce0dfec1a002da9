/** The shape that was powered on most often recently, kept in a file so that a new hostd can fill its warm pool at once. */
import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { writeWhole } from '../../common/write-whole.js';
import type { VmShape } from './snapshot-builder.js';

const stored = z.strictObject({
  cpus: z.int().min(1),
  memoryMiB: z.int().min(1),
  disks: z.array(z.strictObject({ bus: z.int(), unit: z.int(), readOnly: z.boolean(), capacityBytes: z.int().min(0) })),
  serials: z.array(z.enum(['file', 'unixClient'])),
  nics: z.array(z.int()),
});

/** The shape stored in a file; null if there is no readable one. */
export async function readUsualShape(path: string): Promise<VmShape | null> {
  try {
    return stored.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch {
    return null;
  }
}

/** Stores it. */
export async function writeUsualShape(path: string, shape: VmShape): Promise<void> {
  await writeWhole(path, JSON.stringify(shape), 0o600);
}
