/** A backed up volume as a disk. */
import { Readable } from 'node:stream';
import { invalid } from '../common/errors.js';
import { type DiskGrain, GRAIN_BYTES, writeVmdkStream } from '../disk/index.js';
import type { ChunkSource } from './chunks.js';
import { dataOf } from './content.js';
import type { BackedUpVolume } from './manifest.js';

type Disk = NonNullable<BackedUpVolume['disk']>;

/** The content of the disk as a stream-optimized VMDK, which `vic-machine volume import` takes as well. */
export function volumeDisk(name: string, disk: Disk, source: ChunkSource): Readable {
  return Readable.from(writeVmdkStream(disk.capacityBytes, grainsOf(name, disk, source), 'volume.vmdk'), {
    objectMode: false,
    highWaterMark: 1 << 20,
  });
}

/** Bytes of a unit, of which the last one may be shorter. @throws invalid for one outside of the disk */
export function unitLength({ capacityBytes, unitBytes }: Disk, unit: number): number {
  const length = Math.min(unitBytes, capacityBytes - unit * unitBytes);
  if (length <= 0) throw invalid(`unit ${unit} lies outside of the disk`);
  return length;
}

/** Its grains that are not all zeros. @throws invalid, naming what is damaged */
export async function* grainsOf(name: string, disk: Disk, source: ChunkSource): AsyncGenerator<DiskGrain> {
  if (disk.unitBytes % GRAIN_BYTES !== 0 || disk.capacityBytes % GRAIN_BYTES !== 0)
    throw invalid(`volume ${name}: a disk has whole grains`);
  const perUnit = disk.unitBytes / GRAIN_BYTES;
  const zeros = Buffer.alloc(GRAIN_BYTES);
  for await (const { position, data } of dataOf(disk.content, source, `volume ${name}`)) {
    if (data.length !== unitLength(disk, position))
      throw invalid(`volume ${name}: unit ${position} has another length`);
    for (let at = 0; at < data.length; at += GRAIN_BYTES) {
      const grain = data.subarray(at, at + GRAIN_BYTES);
      if (!grain.equals(zeros)) yield { index: position * perUnit + at / GRAIN_BYTES, data: grain };
    }
  }
}
