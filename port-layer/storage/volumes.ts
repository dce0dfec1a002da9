/** Volumes: each a disk with a filesystem of its own in one of the volume stores, beside a description of it. */
import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { invalid, isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { VchConfig } from '../config.js';
import { DiskReaders } from '../disks/disk-readers.js';
import { type DiskSource, volumeSource } from '../disks/disk-source.js';
import { PortLayerError } from '../errors.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { Layers } from './layers.js';
import type { NfsStores } from './nfs-stores.js';
import type { StorageReserve } from './storage-reserve.js';
import type { NewVolume, VolumeContent, VolumeInfo, VolumeMount, VolumeStore } from './types.js';
import { VolumeContents, withVolumeName } from './volume-content.js';
import { DEFAULT_STORE, volumeDiskName, volumeDiskPath, volumeId } from './volume-disks.js';
import { checkedCapacity, DEFAULT_CAPACITY, readRecord } from './volume-record.js';
import { type OpenStore, type StoreFiles, VolumeStores } from './volume-stores.js';
import type { VolumeUse } from './volume-use.js';

const log = logger('storage');
/** What an empty one takes on the datastore. */
const EMPTY_DISK = 3 * 2 ** 20;
/** On some datastores, a disk cannot be removed while a VM that is shutting down still has it open. */
const REMOVE_ATTEMPTS = 6;
const REMOVE_PAUSE_MS = 500;
/** The directory of points. */
const POINTS = 'points';
/** Directories of volumes that are being made or removed. */
const UNFINISHED = /^[0-9a-f]{64}\.(upload|removed)-[0-9a-f]+$/;

/** The storage component's volume side. */
export class Volumes implements VolumeStore {
  private readonly volumes = new Map<string, VolumeInfo>();
  /** For each name, the last operation on its files: they run one after the other. */
  private readonly queues = new Map<string, Promise<unknown>>();
  private readonly uses = new Map<string, number>();
  /** Set by the port layer: names of volumes that containers use. */
  usedByContainers: () => Set<string> = () => new Set();
  /** Set by the port layer: resolves when nothing is left of a volume's having been shared; null: nothing is. */
  settled: (name: string) => Promise<void> | null = () => null;
  /** Called when a volume that stood on points is gone. */
  pointsUnneeded: () => Promise<void> = async () => undefined;
  /** Keeps the points that a volume stands on as they are while somebody reads them. */
  holdPoints: (name: string) => Promise<() => void> = async () => () => undefined;

  private readonly stores: VolumeStores;
  private readonly contents: VolumeContents;

  /** @param files of the store `default` @param more the other stores, by label */
  constructor(
    files: ImageStoreFiles,
    private readonly config: VchConfig,
    layers: Pick<Layers, 'diskOf' | 'openDisk'>,
    private readonly use: VolumeUse,
    private readonly spoolDir: string,
    private readonly readers = new DiskReaders(),
    room: StorageReserve | null = null,
    more: ReadonlyMap<string, StoreFiles> = new Map(),
    private readonly nfs: NfsStores | null = null,
  ) {
    this.stores = new VolumeStores({ files, room }, more, nfs);
    this.contents = new VolumeContents(layers, spoolDir);
  }

  /** A store, as its files are reached. @throws notFound */
  storeOf(label?: string): StoreFiles {
    return this.stores.get(label);
  }

  /** Writes an empty disk. */
  writeEmpty(info: VolumeInfo, path: string): Promise<void> {
    return this.contents.writeDisk(info, this.stores.get(info.store), path, null);
  }

  /** The store of a volume that is known, and the path of its disk there. */
  private where(name: string): OpenStore & { path: string } {
    const { store } = this.volumes.get(name) ?? {};
    return { ...this.stores.get(store), path: volumeDiskPath(this.config, name, store) };
  }

  /** Finds the stored volumes, and removes those left half made or half removed. */
  async load(): Promise<void> {
    await mkdir(this.spoolDir, { recursive: true, mode: 0o700 });
    // A further datastore that is not there now keeps the engine from nothing but its volumes.
    for (const label of this.stores.labels())
      await this.loadStore(label).catch((error: unknown) => {
        if (label === DEFAULT_STORE) throw error;
        log.error({ store: label, err: messageOf(error) }, 'a volume store cannot be read: its volumes are missing');
      });
    await this.nfs?.load((info) => {
      const { store = DEFAULT_STORE } = this.volumes.get(info.name) ?? {};
      if (!this.volumes.has(info.name)) this.volumes.set(info.name, info);
      else if (store !== info.store)
        log.error(
          { volume: info.name, store: info.store, other: store },
          'two volume stores have a volume of this name',
        );
    });
  }

  private async loadStore(label: string): Promise<void> {
    const { files, directory } = this.stores.opened(label);
    await files.makeDirectory(directory);
    const names = await files.list(directory);
    await Promise.all(
      names.map(async (name) => {
        if (/^[0-9a-f]{64}$/.test(name)) await this.find(label, name);
        else if (UNFINISHED.test(name)) await files.remove(`${directory}/${name}`);
        else if (name !== POINTS) log.warn({ name }, 'what is in the directory of volumes besides them is left alone');
      }),
    );
  }

  /** A volume that cannot be read must not be removed: it stays, and an error is logged. */
  private async find(label: string, id: string): Promise<void> {
    const { files, directory } = this.stores.opened(label);
    try {
      const text = await files.datastore.read(`${directory}/${id}/volume.json`);
      const { store: _, ...volume } = readRecord(text.toString('utf8'));
      if (volumeId(volume.name) !== id) throw invalid(`it says that it is '${volume.name}'`);
      const { store = DEFAULT_STORE } = this.volumes.get(volume.name) ?? { store: label };
      if (store !== label) throw invalid(`there is another '${volume.name}' in the volume store ${store}`);
      // Where it was found counts: a store's label may have been changed.
      this.volumes.set(volume.name, { ...volume, ...(label === DEFAULT_STORE ? {} : { store: label }) });
    } catch (error) {
      log.error({ volume: id, store: label, err: messageOf(error) }, 'a volume cannot be read');
    }
  }

  list(): VolumeInfo[] {
    return [...this.volumes.values()];
  }

  get(name: string): VolumeInfo | undefined {
    return this.volumes.get(name);
  }

  placeOf(name: string): string {
    const { store, mount } = this.volumes.get(name) ?? {};
    const nfs = this.nfs?.of(store);
    if (nfs !== undefined) return nfs.placeOf(name);
    return mount === undefined ? volumeDiskName(this.config, name, store) : '';
  }

  /** A container's mount, with what its volume is. */
  placed(wanted: VolumeMount): VolumeMount {
    const { store, mount } = this.volumes.get(wanted.volume) ?? {};
    return { ...wanted, ...(store === undefined ? {} : { store }), ...(mount === undefined ? {} : { mount }) };
  }

  /** Keeps volumes while a container is created with them. @throws notFound. @returns a function that lets go of them */
  keep(names: string[]): () => void {
    const all = [...new Set(names)];
    for (const name of all) if (!this.volumes.has(name)) throw new PortLayerError('volume.notFound', { volume: name });
    for (const name of all) this.uses.set(name, (this.uses.get(name) ?? 0) + 1);
    return () => {
      for (const name of all) {
        const left = (this.uses.get(name) ?? 1) - 1;
        if (left > 0) this.uses.set(name, left);
        else this.uses.delete(name);
      }
    };
  }

  create(volume: NewVolume, content: VolumeContent | null = null, signal?: AbortSignal): Promise<VolumeInfo> {
    return this.alone(volume.name, async () => {
      const known = this.volumes.get(volume.name);
      if (known !== undefined) return known;
      const { capacityBytes: wanted = DEFAULT_CAPACITY, ...rest } = volume;
      const { store = DEFAULT_STORE, ...lasting } = rest;
      const nfs = this.nfs?.of(store);
      if (nfs !== undefined && (volume.mount === undefined || store !== DEFAULT_STORE)) {
        if (volume.mount !== undefined) throw new PortLayerError('volume.nfsMount', { volume: volume.name, store });
        if (volume.capacityBytes !== undefined)
          throw new PortLayerError('volume.nfsNoCapacity', { volume: volume.name, store });
        const made = await nfs.create({ ...lasting, createdAt: new Date().toISOString() });
        this.volumes.set(made.name, made);
        log.info({ volume: made.name, store }, 'volume made on an NFS server');
        return made;
      }
      const info: VolumeInfo = {
        ...lasting,
        ...(store === DEFAULT_STORE ? {} : { store }),
        capacityBytes: lasting.mount === undefined ? checkedCapacity(wanted) : 0,
        createdAt: new Date().toISOString(),
      };
      // One that can never be filled is refused. Without a size, it may grow as long as there is room.
      await this.stores
        .get(info.store)
        .room?.checkStorageQuota(
          volume.capacityBytes === undefined && info.mount === undefined ? EMPTY_DISK : info.capacityBytes,
        )
        .catch((failure: unknown) => {
          throw withVolumeName(info.name, failure);
        });
      const { mount } = info;
      return this.publish(info, (path) =>
        mount === undefined
          ? this.contents.writeDisk(info, this.stores.get(info.store), path, content, signal)
          : Promise.resolve(),
      );
    });
  }

  /** Makes a volume's directory with its record and a disk, in one step. Callers must be {@link alone}. */
  async publish(info: VolumeInfo, makeDisk: (path: string) => Promise<void>): Promise<VolumeInfo> {
    const { files, directory } = this.stores.get(info.store);
    const id = volumeId(info.name);
    const upload = `${directory}/${id}.upload-${randomBytes(4).toString('hex')}`;
    try {
      await files.makeDirectory(upload);
      // Wait for both, so that nothing still writes into a directory that is being removed.
      const parts = await Promise.allSettled([
        makeDisk(`${upload}/${id}.vmdk`),
        files.datastore.put(`${upload}/volume.json`, JSON.stringify(info)),
      ]);
      for (const part of parts) if (part.status === 'rejected') throw part.reason;
      await this.place(upload, id, info);
    } catch (error) {
      await files
        .remove(upload)
        .catch((failure: unknown) =>
          log.warn({ err: messageOf(failure) }, 'an unfinished volume could not be removed'),
        );
      throw error;
    }
    this.volumes.set(info.name, info);
    log.info({ volume: info.name, capacityBytes: info.capacityBytes }, 'volume made');
    return info;
  }

  /** Replaces a volume's record. Callers must be {@link alone}. */
  async update(info: VolumeInfo): Promise<VolumeInfo> {
    const { files, directory } = this.stores.get(info.store);
    await files.datastore.put(`${directory}/${volumeId(info.name)}/volume.json`, JSON.stringify(info));
    this.volumes.set(info.name, info);
    return info;
  }

  /** Where a volume's disk is, relative to the datastore of its store. */
  diskPath(name: string): string {
    return this.where(name).path;
  }

  /** The labels of all stores. */
  labels(): string[] {
    return this.stores.labels();
  }

  /** A store, and its directory of points, beside those of the volumes. @throws notFound */
  placeOfPoints(label?: string): { files: ImageStoreFiles; directory: string } {
    const { files, directory } = this.stores.get(label);
    return { files, directory: `${directory}/${POINTS}` };
  }

  /** Paths of the disks that a volume's disk stands on. */
  pointPaths(name: string): string[] {
    const { points = [], pending, store } = this.volumes.get(name) ?? {};
    const { directory } = this.placeOfPoints(store);
    return [...(pending === undefined ? [] : [pending]), ...points].map((one) => `${directory}/${one}.vmdk`);
  }

  /** It may have been moved although the answer was lost. Then it is there, and no second one can be made. */
  private async place(upload: string, id: string, info: VolumeInfo): Promise<void> {
    const { files, directory: all } = this.stores.get(info.store);
    const directory = `${all}/${id}`;
    await files.move(upload, directory).catch(async (failure: unknown) => {
      const there = await files.datastore.read(`${directory}/volume.json`).catch(() => null);
      if (there?.toString('utf8') !== JSON.stringify(info)) throw failure;
    });
  }

  async populate(name: string, content: VolumeContent, signal?: AbortSignal): Promise<boolean> {
    // What the guest mounts is not reached from here.
    if (this.volumes.get(name)?.mount !== undefined) return false;
    const release = await this.holdUnused(name);
    if (release === null) return false;
    try {
      return await this.alone(name, async () => {
        const info = this.volumes.get(name);
        if (info === undefined) throw new PortLayerError('volume.notFound', { volume: name });
        if (!(await this.isEmpty(name)) || !(await this.contents.hasDirectory(content))) return false;
        const { path, ...store } = this.where(name);
        await this.contents.writeDisk(info, store, path, content, signal);
        return true;
      });
    } finally {
      release();
    }
  }

  /** Null if a container uses it. Always taken before {@link alone}: whoever runs there may have to wait for the hold. */
  private async holdUnused(name: string): Promise<(() => void) | null> {
    try {
      return await this.use.hold(name, { write: true });
    } catch (error) {
      if (isKind(error, 'conflict')) return null;
      throw error;
    }
  }

  async remove(name: string): Promise<void> {
    const info = this.volumes.get(name);
    if (info === undefined) throw new PortLayerError('volume.notFound', { volume: name });
    const inUse = (): boolean => (this.uses.get(name) ?? 0) > 0 || this.usedByContainers().has(name);
    if (inUse()) throw new PortLayerError('volume.inUse', { volume: name });
    const settled = this.settled(name);
    if (settled !== null) {
      await settled;
      if (inUse()) throw new PortLayerError('volume.inUse', { volume: name });
      if (this.volumes.get(name) === undefined) throw new PortLayerError('volume.notFound', { volume: name });
    }
    const snapshots = (info.snapshots ?? []).map((one) => one.name);
    if (snapshots.length > 0)
      throw new PortLayerError('volume.hasSnapshots', { volume: name, snapshots: snapshots.join(', ') });
    // At once, so that nobody finds it any more; whoever makes a new one of that name has to wait.
    this.volumes.delete(name);
    await this.alone(name, () => this.removeFiles(info)).catch((error: unknown) => {
      this.volumes.set(name, info);
      throw error;
    });
    if (info.points !== undefined) await this.pointsUnneeded();
  }

  private async removeFiles({ name, store }: VolumeInfo): Promise<void> {
    const nfs = this.nfs?.of(store);
    if (nfs !== undefined) return nfs.remove(name);
    const { files, directory } = this.stores.get(store);
    const id = volumeId(name);
    const removed = `${directory}/${id}.removed-${randomBytes(4).toString('hex')}`;
    for (let attempt = 1; ; attempt++) {
      try {
        await files.move(`${directory}/${id}`, removed);
        break;
      } catch (error) {
        if (isKind(error, 'notFound')) return;
        if (attempt === REMOVE_ATTEMPTS) throw error;
        await new Promise((resolve) => setTimeout(resolve, REMOVE_PAUSE_MS));
      }
    }
    // It is no longer a volume: what is left of it is removed when the endpoint starts the next time.
    await files
      .remove(removed)
      .catch((error: unknown) => log.warn({ volume: name, err: messageOf(error) }, 'files of a removed volume stay'));
  }

  async usage(name: string, signal?: AbortSignal): Promise<number> {
    const info = this.volumes.get(name);
    if (info === undefined) throw new PortLayerError('volume.notFound', { volume: name });
    if (info.mount !== undefined) throw new PortLayerError('volume.notMounted', { volume: name });
    return this.readers.using(this.source(name), (disk) => disk.usage(), signal);
  }

  /**
   * Makes sure that a machine can mount the volume's disk without writing to it, by replaying a journal that a killed VM left. Its
   * container must be starting, or the volume held.
   */
  recover(name: string, signal?: AbortSignal): Promise<void> {
    return this.alone(name, async () => {
      const source = this.source(name);
      if (!(await this.readers.using(source, (disk) => disk.isDirty(), signal))) return;
      log.info({ volume: name }, 'a volume was not unmounted; its journal is carried out');
      await this.readers
        .using(source, (disk) => disk.recover(), signal)
        .catch((failure: unknown) => {
          throw withVolumeName(name, failure);
        });
    });
  }

  private async isEmpty(name: string): Promise<boolean> {
    return this.readers.using(this.source(name), (disk) => disk.isEmpty());
  }

  /** Points have taken each other's places: what is known of their files is no longer so. */
  pointsMoved(): void {
    this.readers.forgetLayers();
  }

  /** Its disk, for whoever holds it. */
  source(name: string): DiskSource {
    const { files, room, path } = this.where(name);
    const source = volumeSource(name, path, this.pointPaths(name), files.datastore, this.spoolDir, room);
    return { ...source, hold: () => this.holdPoints(name) };
  }

  /** Runs operations on the files of one name one after the other. */
  alone<T>(name: string, body: () => Promise<T>): Promise<T> {
    const run = (this.queues.get(name) ?? Promise.resolve()).then(body);
    const queue = run
      .catch(() => undefined)
      .finally(() => {
        if (this.queues.get(name) === queue) this.queues.delete(name);
      });
    this.queues.set(name, queue);
    return run;
  }
}
