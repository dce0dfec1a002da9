/** A volume's description, as it is kept beside its disk, and what sizes a volume can have. */
import { z } from 'zod';
import { PortLayerError } from '../errors.js';
import type { VolumeInfo } from './types.js';

/** How many points a volume's disk may stand on. */
export const MAX_POINTS = 32;

/** The file is about 3 MiB at first, and grows with what is written. */
export const DEFAULT_CAPACITY = 16 * 2 ** 30;
const MIN_CAPACITY = 8 * 2 ** 20;
/** What a VMDK's tables can address: they have sector numbers of 4 bytes. */
const MAX_CAPACITY = 2 * 2 ** 40;
/** Capacities are a multiple of a VMDK's grain. */
const GRAIN = 64 * 1024;

const point = z.string().regex(/^[0-9a-f]{16}$/);
const described = z.strictObject({
  name: z.string().min(1),
  createdAt: z.string(),
  /** 0: it has no disk. */
  capacityBytes: z.int().min(0),
  driver: z.string(),
  labels: z.record(z.string(), z.string()).nullable(),
  options: z.record(z.string(), z.string()).nullable(),
  points: z
    .array(point)
    .max(MAX_POINTS + 1)
    .optional(),
  pending: point.optional(),
  snapshots: z
    .array(
      z.strictObject({
        name: z.string().min(1),
        createdAt: z.string(),
        points: z
          .array(point)
          .min(1)
          .max(MAX_POINTS + 1),
        capacityBytes: z.int().min(1),
      }),
    )
    .optional(),
  store: z.string().min(1).optional(),
  mount: z
    .strictObject({
      type: z.enum(['tmpfs', 'nfs', 'nfs4']),
      device: z.string(),
      flags: z.int().min(0),
      data: z.string(),
    })
    .optional(),
});

/** Reads a volume's description. @throws for anything else */
export function readRecord(text: string): VolumeInfo {
  return described.parse(JSON.parse(text));
}

/** A capacity in whole grains. @throws invalid */
export function checkedCapacity(wanted: number): number {
  const capacityBytes = Math.ceil(wanted / GRAIN) * GRAIN;
  if (!(capacityBytes >= MIN_CAPACITY && capacityBytes <= MAX_CAPACITY))
    throw new PortLayerError('volume.badCapacity', { bytes: wanted });
  return capacityBytes;
}
