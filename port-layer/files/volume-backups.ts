/**
 * Volumes as backups read them: several of the same moment, and of each only what has changed since a backup before.
 *
 * The state that a backup has read is a **point** of the volume (`storage/volume-life.ts`), and a point never changes. So what is in the
 * disks on top of a point is all that can have changed since. A **mark** names the point of a backup, with the length and the content id of its
 * file. If the volume stands on that very file, only the disks on top of it are read; otherwise everything is.
 */
import { posix } from 'node:path';
import { type DiskGrain, GRAIN_BYTES, readVmdkInfo } from '../../src/disk/index.js';
import type { DiskFiles } from '../disks/disk-files.js';
import type { DiskReaders } from '../disks/disk-readers.js';
import { volumeSource } from '../disks/disk-source.js';
import { DatastoreBlocks } from '../storage/datastore-blocks.js';
import type { ImageStoreFiles } from '../storage/image-store-files.js';
import type { VolumeBackupPiece, VolumeBackupStore, VolumeSince } from '../storage/types.js';
import type { Content, VolumeLife } from '../storage/volume-life.js';
import type { VolumeUse } from '../storage/volume-use.js';
import type { Volumes } from '../storage/volumes.js';

/** Grains of a unit: what is read, and kept, as a whole if anything in it has changed. */
const UNIT_GRAINS = 16;
export const UNIT_BYTES = UNIT_GRAINS * GRAIN_BYTES;
const MARK = /^([0-9a-f]{16})\.(\d{1,15})\.([0-9a-f]{8})$/;

/** What {@link VolumeBackups} needs of others. */
export interface BackupParts {
  volumes: Pick<Volumes, 'storeOf'>;
  life: Pick<VolumeLife, 'contentsToRead'>;
  use: Pick<VolumeUse, 'together'>;
  readers: DiskReaders;
  spoolDir: string;
}

/** See {@link VolumeBackupStore}. */
export class VolumeBackups implements VolumeBackupStore {
  constructor(private readonly parts: BackupParts) {}

  async *read(volumes: VolumeSince[], signal?: AbortSignal): AsyncGenerator<VolumeBackupPiece> {
    const contents = new Map<string, Content>();
    try {
      // All of them before any is read, so that the whole backup is of about one time.
      for (const group of this.parts.use.together(volumes.map(({ volume }) => volume))) {
        signal?.throwIfAborted();
        const read = await this.parts.life.contentsToRead(group);
        for (const [index, name] of group.entries()) contents.set(name, read[index]!);
      }
      for (const { volume, since } of volumes) {
        const content = contents.get(volume);
        if (content === undefined) continue;
        yield* this.readOne(volume, content, since, signal);
        contents.delete(volume);
        await content.letGo();
      }
    } finally {
      for (const content of contents.values()) await content.letGo();
    }
  }

  private async *readOne(
    volume: string,
    { store, disks }: Content,
    since: string[],
    signal?: AbortSignal,
  ): AsyncGenerator<VolumeBackupPiece> {
    const { files, room } = this.parts.volumes.storeOf(store);
    const [path = '', ...below] = disks;
    // The disk's own: if making it larger was cut short, the record still has the former one.
    const { mark, capacityBytes } = await headOf(files, path);
    const { base, on } = await standsOn(files, disks, since, capacityBytes);
    yield { type: 'volume', volume, capacityBytes, unitBytes: UNIT_BYTES, base, mark };
    const call = this.parts.readers.call(signal);
    const disk = await call.open(volumeSource(volume, path, below, files.datastore, this.parts.spoolDir, room));
    let gaveUp: Error | null = null;
    // A client that takes nothing for minutes is waited for here, so that this cannot be told at once; the reader must not wait with it.
    call.client.serves((error) => {
      gaveUp = error;
      void disk.close();
    });
    try {
      // Nothing at all may be on top of the point that the last backup read.
      const units = unitsOf(disk, { files: on, capacityBytes, withEmpty: base !== null });
      if (on > 0) yield* call.client.passed(units, (piece) => (piece.type === 'unit' ? piece.data.length : 0));
    } catch (error) {
      throw gaveUp ?? error;
    } finally {
      await disk.close();
    }
    yield { type: 'volumeEnd', volume };
  }
}

/** The first of the marks whose point is among a volume's disks as it was, and how many disks are on top of it: all, if there is none. */
async function standsOn(
  files: ImageStoreFiles,
  disks: string[],
  since: string[],
  capacityBytes: number,
): Promise<{ base: string | null; on: number }> {
  if (files.sharesDisks)
    for (const mark of since) {
      const on = disks.findIndex((path) => posix.basename(path, '.vmdk') === MARK.exec(mark)?.[1]);
      if (on < 0) continue;
      const point = await headOf(files, disks[on]!);
      // A volume that was made larger since has units where there were none, but no unit may have become longer.
      const sameUnits = point.capacityBytes === capacityBytes || point.capacityBytes % UNIT_BYTES === 0;
      if (point.mark === mark && sameUnits) return { base: mark, on };
    }
  return { base: null, on: disks.length };
}

/** What a disk says of itself. @returns `mark` null for one that is no point */
async function headOf(
  { datastore, sharesDisks }: ImageStoreFiles,
  path: string,
): Promise<{ mark: string | null; capacityBytes: number }> {
  const file = await DatastoreBlocks.open(datastore, path);
  const { cid, capacity } = await readVmdkInfo(file).finally(() => file.close());
  const mark = `${posix.basename(path, '.vmdk')}.${file.size}.${cid}`;
  return { mark: sharesDisks && MARK.test(mark) ? mark : null, capacityBytes: capacity };
}

/** Units of which one of the first `files` disks has anything, and at the end, if `withEmpty`, those that are all zeros now. */
async function* unitsOf(
  disk: Pick<DiskFiles, 'said'>,
  { files, capacityBytes, withEmpty }: { files: number; capacityBytes: number; withEmpty: boolean },
): AsyncGenerator<VolumeBackupPiece> {
  let said: Iterable<number> = [];
  const grains: AsyncIterable<DiskGrain> = disk.said({ files, unit: UNIT_GRAINS, capacityBytes }, (runs) => {
    said = runs;
  });
  const given = new Set<number>();
  let [unit, whole] = [-1, Buffer.alloc(0)];
  for await (const { index, data } of grains) {
    if (Math.floor(index / UNIT_GRAINS) !== unit) {
      if (unit >= 0) yield { type: 'unit', unit, data: whole };
      unit = Math.floor(index / UNIT_GRAINS);
      whole = Buffer.alloc(Math.min(UNIT_BYTES, capacityBytes - unit * UNIT_BYTES));
      if (withEmpty) given.add(unit);
    }
    data.copy(whole, (index % UNIT_GRAINS) * GRAIN_BYTES);
  }
  if (unit >= 0) yield { type: 'unit', unit, data: whole };
  if (withEmpty)
    for (const empty of said) if (!given.has(empty)) yield { type: 'unit', unit: empty, data: Buffer.alloc(0) };
}
