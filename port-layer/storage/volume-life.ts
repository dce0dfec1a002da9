/**
 * Snapshots and clones of volumes.
 *
 * What a volume has in common with its snapshots and clones is in **points**: disks that nobody writes to any more, in the directory
 * `points` beside those of the volumes. A snapshot turns the volume's disk into a point, and a new, empty disk that stands on it takes
 * its place and its name. A clone is an empty disk that stands on a point. Who needs which points is in the volumes' records; a point
 * that nobody needs is removed, and one that only one disk stands on becomes one with it (`volume-points.ts`). So volumes, clones and
 * snapshots can be removed in any order, and a volume's disks do not become more with each snapshot that was made and removed.
 *
 * A host other than the embedded one copies disks instead, as long as nobody uses them.
 */
import { randomBytes } from 'node:crypto';
import { posix } from 'node:path';
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { emptyDiskBytes, readVmdkInfo } from '../../src/disk/index.js';
import { PortLayerError } from '../errors.js';
import { DatastoreBlocks } from './datastore-blocks.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { NewVolume, VolumeInfo, VolumeLifeStore, VolumeSnapshot } from './types.js';
import { DEFAULT_STORE } from './volume-disks.js';
import { PointUse } from './volume-points.js';
import { checkedCapacity, MAX_POINTS } from './volume-record.js';
import type { VolumeUse, VolumeUser } from './volume-use.js';
import type { Volumes } from './volumes.js';

const log = logger('storage');
/** The guest thaws a volume after this, whatever becomes of this endpoint and its host. */
const FREEZE_MS = 10_000;
/** What a disk that is made larger may have in itself without first becoming a point. */
const LARGE_DISK = 256 * 2 ** 20;
const SNAPSHOT_NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/;

/** A volume that nobody writes to for a moment. */
export interface Still {
  /** @throws if somebody may have written to it in the meantime */
  check(): Promise<void>;
  letGo(): Promise<void>;
}

/** For a volume whose stillness somebody else looks after. */
const UNTOUCHED: Still = { check: async () => undefined, letGo: async () => undefined };

/** Freezes the filesystem of a volume that a running container writes to, for at most `ms`. */
export type Freeze = (user: VolumeUser, volume: string, ms: number) => Promise<Still>;

/** Disks to be read. */
export interface Content {
  /** Label of the store; undefined: `default`. */
  store: string | undefined;
  /** Relative to its datastore. */
  disks: string[];
  capacityBytes: number;
  letGo(): Promise<void>;
}

export type VolumeRecords = Pick<
  Volumes,
  | 'list'
  | 'get'
  | 'alone'
  | 'publish'
  | 'update'
  | 'diskPath'
  | 'pointPaths'
  | 'labels'
  | 'placeOfPoints'
  | 'pointsUnneeded'
  | 'pointsMoved'
  | 'holdPoints'
>;

/** See the file's head. */
export class VolumeLife implements VolumeLifeStore {
  private readonly points: PointUse;

  constructor(
    private readonly volumes: VolumeRecords,
    private readonly use: VolumeUse,
    private readonly freeze: Freeze,
    shortChain?: number,
  ) {
    this.points = new PointUse(volumes, use, shortChain);
    volumes.pointsUnneeded = () => this.points.clear();
    volumes.holdPoints = async (name) => {
      const { points = [] } = volumes.get(name) ?? {};
      await this.points.keep(points);
      return () => this.points.done(points);
    };
  }

  /** Settles what an endpoint that was killed has left, and removes points that nobody needs. */
  async load(): Promise<void> {
    for (const { name, pending } of this.volumes.list())
      if (pending !== undefined)
        await this.volumes
          .alone(name, () => this.settled(name))
          .catch((error: unknown) =>
            log.error({ volume: name, err: messageOf(error) }, 'what became of a snapshot is not known'),
          );
    await this.points.clear();
  }

  /** Resolves when the disks of all volumes that could be one are, as far as that can be done now. */
  merged(): Promise<void> {
    return this.points.merged();
  }

  /** Waits for merging if a volume stands on too many points to get another one. */
  private async roomForPoint(volume: string): Promise<void> {
    if ((this.known(volume).points ?? []).length >= MAX_POINTS) await this.points.merged();
  }

  async snapshot(volume: string, name: string): Promise<VolumeSnapshot> {
    await this.roomForPoint(volume);
    return this.still(volume, async (still) => {
      const info = await this.settled(volume);
      checkSnapshotName(info, name);
      const points = await this.makePoint(info, still);
      const snapshot = { name, createdAt: new Date().toISOString(), points, capacityBytes: info.capacityBytes };
      const present = this.known(volume);
      try {
        await this.volumes.update({ ...present, snapshots: [...(present.snapshots ?? []), snapshot] });
      } finally {
        this.points.done(points);
      }
      return snapshot;
    });
  }

  async removeSnapshot(volume: string, name: string): Promise<void> {
    await this.volumes.alone(volume, async () => {
      const info = this.known(volume);
      snapshotOf(info, name);
      const snapshots = (info.snapshots ?? []).filter((one) => one.name !== name);
      await this.volumes.update(snapshots.length === 0 ? without(info, 'snapshots') : { ...info, snapshots });
    });
    await this.points.clear();
  }

  async revert(volume: string, name: string): Promise<VolumeInfo> {
    this.known(volume);
    const release = await this.use.hold(volume, { write: true });
    try {
      return await this.volumes.alone(volume, async () => {
        const info = await this.settled(volume);
        const { points, capacityBytes } = snapshotOf(info, name);
        const { files, directory } = this.volumes.placeOfPoints(info.store);
        const shared = files.sharesDisks;
        // If this is killed, its disk stands on the snapshot's or not: `settled` looks.
        if (shared) await this.volumes.update({ ...info, pending: points[0]! });
        try {
          await files.copyDisk(`${directory}/${points[0]}.vmdk`, this.volumes.diskPath(volume), shared, true);
        } finally {
          if (shared) await this.settled(volume);
        }
        return shared ? this.known(volume) : this.volumes.update({ ...info, capacityBytes });
      });
    } finally {
      release();
      await this.points.clear();
    }
  }

  async clone(volume: NewVolume, source: { volume: string; snapshot?: string }): Promise<VolumeInfo> {
    if (this.volumes.get(volume.name) !== undefined) throw new PortLayerError('volume.exists', { volume: volume.name });
    const { store } = this.known(source.volume);
    // A disk stands on others in its own store.
    if (volume.store !== undefined && volume.store !== (store ?? DEFAULT_STORE))
      throw new PortLayerError('volume.otherStore', { volume: volume.name, source: source.volume });
    const { points, capacityBytes } = await this.contentOf(source);
    try {
      const { capacityBytes: wanted = capacityBytes, store: _, ...rest } = volume;
      const capacity = larger(volume.name, capacityBytes, wanted);
      return await this.volumes.alone(volume.name, () => {
        if (this.volumes.get(volume.name) !== undefined)
          throw new PortLayerError('volume.exists', { volume: volume.name });
        const { files, directory } = this.volumes.placeOfPoints(store);
        const shared = files.sharesDisks;
        const info: VolumeInfo = {
          ...rest,
          capacityBytes: capacity,
          createdAt: new Date().toISOString(),
          ...(store === undefined ? {} : { store }),
          ...(shared ? { points } : {}),
        };
        return this.volumes.publish(info, async (path) => {
          await files.copyDisk(`${directory}/${points[0]}.vmdk`, path, shared);
          if (capacity > capacityBytes) await files.extendDisk(path, capacity);
        });
      });
    } finally {
      this.points.done(points);
      await this.points.clear();
    }
  }

  async grow(volume: string, capacityBytes: number): Promise<VolumeInfo> {
    this.known(volume);
    const release = await this.use.hold(volume, { write: true });
    try {
      return await this.volumes.alone(volume, async () => {
        let info = await this.settled(volume);
        const capacity = larger(volume, info.capacityBytes, capacityBytes);
        if (capacity === info.capacityBytes) return info;
        info = await this.emptied(info);
        await this.filesOf(info).extendDisk(this.volumes.diskPath(volume), capacity);
        // If this is killed in between, the volume has the former capacity in its record, and can be made larger once more.
        return this.volumes.update({ ...info, capacityBytes: capacity });
      });
    } finally {
      release();
    }
  }

  /** Gives a volume with much in its disk an empty one, on a point: making a disk larger copies what is in the disk itself. */
  private async emptied(info: VolumeInfo): Promise<VolumeInfo> {
    const files = this.filesOf(info);
    const size = (await files.datastore.size(this.volumes.diskPath(info.name))) ?? 0;
    if (!files.sharesDisks || size < LARGE_DISK || (info.points ?? []).length >= MAX_POINTS) return info;
    const points = await this.makePoint(info, UNTOUCHED);
    this.points.done(points);
    return this.known(info.name);
  }

  /** The disks with a source's content, the nearest first; nobody writes to them until `letGo` is called. */
  async contentToRead(source: { volume: string; snapshot?: string }): Promise<Content> {
    const { volume, snapshot } = source;
    const { store, capacityBytes } = this.known(volume);
    const writes = this.use.userOf(volume, { write: false })?.running === true;
    if (snapshot === undefined && !writes) {
      const release = await this.use.hold(volume, { write: false });
      const unkept = await this.volumes.holdPoints(volume);
      const disks = [this.volumes.diskPath(volume), ...this.volumes.pointPaths(volume)];
      const letGo = async (): Promise<void> => {
        unkept();
        release();
      };
      return { store, capacityBytes, disks, letGo };
    }
    const { points, capacityBytes: bytes } = await this.contentOf(source);
    const { directory } = this.volumes.placeOfPoints(store);
    const disks = points.map((point) => `${directory}/${point}.vmdk`);
    return { store, capacityBytes: bytes, disks, letGo: () => this.letGo(points) };
  }

  /**
   * The present content of several volumes, all of the same moment: those that a running container writes to are frozen together.
   * @returns in the order of `volumes` @throws as {@link contentToRead}; nothing is kept then
   */
  async contentsToRead(volumes: string[]): Promise<Content[]> {
    const contents = new Map<string, Content>();
    const stills: Still[] = [];
    // Always in the same order, so that two callers do not wait for each other; the frozen ones last, since they do not stay so for long.
    const frozen = (name: string): number => (this.use.userOf(name, { write: false })?.running === true ? 1 : 0);
    const names = [...new Set(volumes)].sort((a, b) => frozen(a) - frozen(b) || (a < b ? -1 : 1));
    try {
      for (const name of names) {
        const info = this.known(name);
        // Where there cannot be another point, one that nobody writes to is read as it is.
        const full = (info.points ?? []).length >= MAX_POINTS && frozen(name) === 0;
        if (full || !this.filesOf(info).sharesDisks) contents.set(name, await this.contentToRead({ volume: name }));
        else stills.push(await this.quiet(name));
      }
      for (const name of names) if (!contents.has(name)) contents.set(name, await this.contentOfStill(name));
      for (const still of stills) await still.check();
      return volumes.map((name) => contents.get(name)!);
    } catch (error) {
      for (const content of contents.values()) await content.letGo();
      throw error;
    } finally {
      for (const still of stills) await still.letGo();
    }
  }

  /** The content of a volume that nobody writes to for the moment. */
  private contentOfStill(name: string): Promise<Content> {
    return this.volumes.alone(name, async () => {
      const info = await this.settled(name);
      const points = (await this.unwritten(info)) ?? (await this.makePoint(info, UNTOUCHED));
      const { store, capacityBytes } = info;
      const { directory } = this.volumes.placeOfPoints(store);
      const disks = points.map((point) => `${directory}/${point}.vmdk`);
      return { store, capacityBytes, disks, letGo: () => this.letGo(points) };
    });
  }

  /** The points of a volume that nothing was written to since the last one was made, kept; null if there may have been something. */
  private async unwritten({ name, store, points = [], capacityBytes }: VolumeInfo): Promise<string[] | null> {
    if (points.length === 0 || this.use.userOf(name, { write: false }) !== undefined) return null;
    const { files, directory } = this.volumes.placeOfPoints(store);
    if ((await files.datastore.size(this.volumes.diskPath(name))) !== emptyDiskBytes(capacityBytes)) return null;
    // A volume may have been made larger since.
    const point = await DatastoreBlocks.open(files.datastore, `${directory}/${points[0]}.vmdk`);
    const { capacity } = await readVmdkInfo(point).finally(() => point.close());
    if (capacity !== capacityBytes) return null;
    await this.points.keep(points);
    return points;
  }

  private async letGo(points: string[]): Promise<void> {
    this.points.done(points);
    await this.points.clear();
  }

  /** The points with a source's content: those of its snapshot, or new ones. They are kept until {@link done}. */
  private async contentOf({ volume, snapshot }: { volume: string; snapshot?: string }): Promise<{
    points: string[];
    capacityBytes: number;
  }> {
    if (snapshot !== undefined) {
      const { points, capacityBytes } = snapshotOf(this.known(volume), snapshot);
      await this.points.keep(points);
      return { points, capacityBytes };
    }
    await this.roomForPoint(volume);
    return this.still(volume, async (still) => {
      const info = await this.settled(volume);
      return { points: await this.makePoint(info, still), capacityBytes: info.capacityBytes };
    });
  }

  /**
   * Makes a point of a volume's disk. If this fails or is killed, the volume may stand on the point or not: its record says that it was
   * tried, and {@link settled} looks. @returns the points with its content, kept until {@link done}
   */
  private async makePoint(info: VolumeInfo, still: Still): Promise<string[]> {
    const { name, points: below = [] } = info;
    if (below.length >= MAX_POINTS)
      throw new PortLayerError('volume.tooManyPoints', { volume: name, most: MAX_POINTS });
    const point = randomBytes(8).toString('hex');
    const { files, directory } = this.volumes.placeOfPoints(info.store);
    const shared = files.sharesDisks;
    const points = shared ? [point, ...below] : [point];
    await this.points.keep(points);
    try {
      if (!shared) await files.makeDirectory(directory);
      else await this.volumes.update({ ...info, pending: point });
      await files.copyDisk(this.volumes.diskPath(name), `${directory}/${point}.vmdk`, shared);
      if (shared) await this.volumes.update({ ...info, points });
      await still.check();
      return points;
    } catch (error) {
      this.points.done(points);
      await this.settled(name).catch((failure: unknown) =>
        log.warn({ volume: name, err: messageOf(failure) }, 'what became of a snapshot is not known yet'),
      );
      await this.points.clear();
      throw error;
    }
  }

  /**
   * A volume's record after looking whether its disk stands on the point that was being made, or that it was going back to. Callers must be
   * `alone`.
   */
  private async settled(name: string): Promise<VolumeInfo> {
    const info = this.known(name);
    const { pending, points = [], snapshots = [] } = info;
    if (pending === undefined) return info;
    const file = await DatastoreBlocks.open(this.filesOf(info).datastore, this.volumes.diskPath(name));
    const { parentHint, capacity } = await readVmdkInfo(file).finally(() => file.close());
    const stands = parentHint !== null && posix.basename(parentHint) === `${pending}.vmdk`;
    const kept = snapshots.find((one) => one.points[0] === pending);
    const rest = without(info, 'pending');
    if (!stands) return this.volumes.update(rest);
    if (kept !== undefined) return this.volumes.update({ ...rest, points: kept.points, capacityBytes: capacity });
    return this.volumes.update({ ...rest, points: points.includes(pending) ? points : [pending, ...points] });
  }

  /** Runs `body` while nobody writes to the volume, alone with its files. @throws notFound, conflict */
  private async still<T>(volume: string, body: (still: Still) => Promise<T>): Promise<T> {
    this.known(volume);
    const still = await this.quiet(volume);
    try {
      return await this.volumes.alone(volume, () => body(still));
    } finally {
      await still.letGo();
    }
  }

  private async quiet(volume: string): Promise<Still> {
    const user = this.use.userOf(volume, { write: false });
    const { sharesDisks } = this.filesOf(this.known(volume));
    if (user?.running && sharesDisks) return this.freeze(user, volume, FREEZE_MS);
    const release = await this.use.hold(volume, { write: !sharesDisks });
    return { check: async () => undefined, letGo: async () => release() };
  }

  /** @throws notFound; unsupported for a volume without a disk */
  private known(name: string): VolumeInfo {
    const info = this.volumes.get(name);
    if (info === undefined) throw new PortLayerError('volume.notFound', { volume: name });
    if (info.mount !== undefined) throw new PortLayerError('volume.noDisk', { volume: name });
    return info;
  }

  private filesOf({ store }: VolumeInfo): ImageStoreFiles {
    return this.volumes.placeOfPoints(store).files;
  }
}

/** A capacity that is not smaller than the present one. @throws invalid */
function larger(volume: string, present: number, wanted: number): number {
  const capacity = checkedCapacity(wanted);
  if (capacity < present) throw new PortLayerError('volume.shrunk', { volume, present, wanted: capacity });
  return capacity;
}

/** @throws invalid, conflict */
function checkSnapshotName({ name: volume, snapshots = [] }: VolumeInfo, name: string): void {
  if (!SNAPSHOT_NAME.test(name)) throw new PortLayerError('volume.badSnapshotName', { name: name.slice(0, 80) });
  if (snapshots.some((one) => one.name === name))
    throw new PortLayerError('volume.snapshotExists', { volume, snapshot: name });
}

/** @throws notFound */
function snapshotOf({ name: volume, snapshots = [] }: VolumeInfo, name: string): VolumeSnapshot {
  const found = snapshots.find((one) => one.name === name);
  if (found === undefined) throw new PortLayerError('volume.noSnapshot', { volume, snapshot: name });
  return found;
}

function without<K extends 'pending' | 'snapshots'>(info: VolumeInfo, key: K): Omit<VolumeInfo, K> & VolumeInfo {
  const { [key]: _, ...rest } = info;
  return rest as Omit<VolumeInfo, K> & VolumeInfo;
}
