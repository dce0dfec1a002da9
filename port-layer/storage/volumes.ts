/** Volumes: each a disk with a filesystem of its own on the datastore, beside a description of it. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { invalid, isKind, messageOf } from '../../src/common/errors.js';
import { sha256 } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import { copyTree, createFilesystem, Ext4Filesystem, VmdkChain } from '../../src/disk/index.js';
import type { VchConfig } from '../config.js';
import { DiskReaders } from '../disks/disk-readers.js';
import { type DiskSource, volumeSource } from '../disks/disk-source.js';
import { PortLayerError } from '../errors.js';
import { type DiskPublisher, DiskUploads } from './disk-publisher.js';
import type { ImageStoreFiles } from './image-store-files.js';
import type { Layers } from './layers.js';
import { type StorageReserve, withoutRoom } from './storage-reserve.js';
import type { NewVolume, VolumeContent, VolumeInfo, VolumeStore } from './types.js';
import { volumeDiskPath, volumeId } from './volume-disks.js';
import type { VolumeUse } from './volume-use.js';

/** A new volume's file of so many bytes is sent from memory. */
const SMALL_DISK = 8 * 2 ** 20;
const log = logger('storage');
/** Its file begins with about 3 MiB and grows with what is written. */
const DEFAULT_CAPACITY = 16 * 2 ** 30;
const MIN_CAPACITY = 8 * 2 ** 20;
/** What the tables of a VMDK can address: sectors by numbers of 4 bytes. */
const MAX_CAPACITY = 2 * 2 ** 40;
/** Capacities are a multiple of a VMDK's grain. */
const GRAIN = 64 * 1024;
const LABEL = 'volume';
/** A disk that is still open in a VM that is just ending cannot be removed on every datastore. */
const REMOVE_ATTEMPTS = 6;
const REMOVE_PAUSE_MS = 500;

/** Directories of volumes that are being made or removed. */
const UNFINISHED = /^[0-9a-f]{64}\.(upload|removed)-[0-9a-f]+$/;

const described = z.strictObject({
  name: z.string().min(1),
  createdAt: z.string(),
  capacityBytes: z.int().min(1),
  driver: z.string(),
  labels: z.record(z.string(), z.string()).nullable(),
  options: z.record(z.string(), z.string()).nullable(),
});

/** The storage component's volume side. */
export class Volumes implements VolumeStore {
  private readonly volumes = new Map<string, VolumeInfo>();
  /** The last operation on the files of each name: they follow each other. */
  private readonly queues = new Map<string, Promise<unknown>>();
  private readonly uses = new Map<string, number>();
  /** Set by the port layer: names of volumes that containers have. */
  usedByContainers: () => Set<string> = () => new Set();

  private readonly publisher: DiskPublisher;

  constructor(
    private readonly files: ImageStoreFiles,
    private readonly config: VchConfig,
    private readonly layers: Pick<Layers, 'diskOf' | 'openDisk'>,
    private readonly use: VolumeUse,
    private readonly spoolDir: string,
    private readonly readers = new DiskReaders(),
    private readonly room: StorageReserve | null = null,
  ) {
    this.publisher = new DiskUploads(files.datastore, room, SMALL_DISK);
  }

  private get directory(): string {
    return `${this.files.root}/volumes`;
  }

  /** Finds the stored volumes and removes what was left half made or half removed. */
  async load(): Promise<void> {
    await mkdir(this.spoolDir, { recursive: true, mode: 0o700 });
    await this.files.makeDirectory(this.directory);
    const names = await this.files.list(this.directory);
    await Promise.all(
      names.map(async (name) => {
        if (/^[0-9a-f]{64}$/.test(name)) await this.find(name);
        else if (UNFINISHED.test(name)) await this.files.remove(`${this.directory}/${name}`);
        else log.warn({ name }, 'what is in the directory of volumes besides them is left alone');
      }),
    );
  }

  /** One that cannot be read is nobody's to remove: it stays, and is said. */
  private async find(id: string): Promise<void> {
    try {
      const text = await this.files.datastore.read(`${this.directory}/${id}/volume.json`);
      const volume = described.parse(JSON.parse(text.toString('utf8')));
      if (volumeId(volume.name) !== id) throw invalid(`it says that it is '${volume.name}'`);
      this.volumes.set(volume.name, volume);
    } catch (error) {
      log.error({ volume: id, err: messageOf(error) }, 'a volume cannot be read');
    }
  }

  list(): VolumeInfo[] {
    return [...this.volumes.values()];
  }

  get(name: string): VolumeInfo | undefined {
    return this.volumes.get(name);
  }

  /** Keeps volumes while a container is made with them. @throws notFound. @returns lets go */
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
      const capacityBytes = Math.ceil(wanted / GRAIN) * GRAIN;
      if (!(capacityBytes >= MIN_CAPACITY && capacityBytes <= MAX_CAPACITY))
        throw new PortLayerError('volume.badCapacity', { bytes: wanted });
      const info: VolumeInfo = { ...rest, capacityBytes, createdAt: new Date().toISOString() };
      const id = volumeId(info.name);
      const upload = `${this.directory}/${id}.upload-${randomBytes(4).toString('hex')}`;
      try {
        await this.files.makeDirectory(upload);
        // Both are waited for: nothing goes on in a directory that is removed.
        const parts = await Promise.allSettled([
          this.writeDisk(info, `${upload}/${id}.vmdk`, content, signal),
          this.files.datastore.put(`${upload}/volume.json`, JSON.stringify(info)),
        ]);
        for (const part of parts) if (part.status === 'rejected') throw part.reason;
        await this.files.move(upload, `${this.directory}/${id}`);
      } catch (error) {
        await this.files
          .remove(upload)
          .catch((failure: unknown) =>
            log.warn({ err: messageOf(failure) }, 'an unfinished volume could not be removed'),
          );
        throw error;
      }
      this.volumes.set(info.name, info);
      log.info({ volume: info.name, capacityBytes }, 'volume made');
      return info;
    });
  }

  async populate(name: string, content: VolumeContent, signal?: AbortSignal): Promise<boolean> {
    const release = await this.holdUnused(name);
    if (release === null) return false;
    try {
      return await this.alone(name, async () => {
        const info = this.volumes.get(name);
        if (info === undefined) throw new PortLayerError('volume.notFound', { volume: name });
        if (!(await this.isEmpty(name)) || !(await this.hasDirectory(content))) return false;
        await this.writeDisk(info, volumeDiskPath(this.config, name), content, signal);
        return true;
      });
    } finally {
      release();
    }
  }

  /** Null: a container works on it. Always held before {@link alone}: who holds it may have to wait for that. */
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
    if ((this.uses.get(name) ?? 0) > 0 || this.usedByContainers().has(name))
      throw new PortLayerError('volume.inUse', { volume: name });
    // At once: nobody finds it any more, and who makes one of that name waits.
    this.volumes.delete(name);
    await this.alone(name, () => this.removeFiles(name)).catch((error: unknown) => {
      this.volumes.set(name, info);
      throw error;
    });
  }

  private async removeFiles(name: string): Promise<void> {
    const id = volumeId(name);
    const removed = `${this.directory}/${id}.removed-${randomBytes(4).toString('hex')}`;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.files.move(`${this.directory}/${id}`, removed);
        break;
      } catch (error) {
        if (isKind(error, 'notFound')) return;
        if (attempt === REMOVE_ATTEMPTS) throw error;
        await new Promise((resolve) => setTimeout(resolve, REMOVE_PAUSE_MS));
      }
    }
    // It is no volume any more: what is left of it goes when the endpoint is started the next time.
    await this.files
      .remove(removed)
      .catch((error: unknown) => log.warn({ volume: name, err: messageOf(error) }, 'files of a removed volume stay'));
  }

  async usage(name: string, signal?: AbortSignal): Promise<number> {
    if (!this.volumes.has(name)) throw new PortLayerError('volume.notFound', { volume: name });
    return this.readers.using(this.source(name), (disk) => disk.usage(), signal);
  }

  /**
   * Makes the disk of a volume such that a machine can mount it without writing to it: a journal that a killed VM left is carried out.
   * Its container must be starting, or the volume held.
   */
  recover(name: string, signal?: AbortSignal): Promise<void> {
    return this.alone(name, async () => {
      const path = volumeDiskPath(this.config, name);
      if (!(await this.readers.using(this.source(name), (disk) => disk.isDirty(), signal))) return;
      log.info({ volume: name }, 'a volume was not unmounted; its journal is carried out');
      const local = this.spoolFile();
      try {
        // The copy here, and then the one beside the disk that is replaced by it.
        await this.room?.check((await this.files.datastore.size(path)) ?? 0);
        await pipeline(
          await this.files.datastore.get(path, { signal }),
          createWriteStream(local, { mode: 0o600, highWaterMark: 1 << 20 }),
        );
        await this.readers.recover(this.source(name), local, signal);
        await this.publisher.publish(local, path, signal);
      } catch (failure) {
        throw this.named(name, failure);
      } finally {
        await rm(local, { force: true });
      }
    });
  }

  /** The disk, made beside and put in place whole. */
  private async writeDisk(
    info: VolumeInfo,
    path: string,
    content: VolumeContent | null,
    signal?: AbortSignal,
  ): Promise<void> {
    const outPath = this.spoolFile();
    const format = { outPath, capacity: info.capacityBytes, seed: sha256(`${info.name} ${randomBytes(16)}`) };
    try {
      await this.withDirectory(content, async (image) => {
        await createFilesystem({
          ...format,
          label: LABEL,
          grow: this.room?.growing(false),
          fill: image === null ? undefined : (target) => copyTree(image.filesystem, image.ino, target, signal),
        });
      });
      await this.publisher.publish(outPath, path, signal);
    } catch (failure) {
      throw this.named(info.name, failure);
    } finally {
      await rm(outPath, { force: true });
    }
  }

  /** A want of room with the volume's name; other errors as they are. */
  private named(name: string, failure: unknown): unknown {
    const error = withoutRoom(failure);
    return isKind(error, 'insufficientResources')
      ? new PortLayerError('volume.noRoom', { volume: name, reason: messageOf(error) }, error)
      : error;
  }

  private spoolFile(): string {
    return join(this.spoolDir, `volume-${randomBytes(8).toString('hex')}.vmdk`);
  }

  private async hasDirectory(content: VolumeContent): Promise<boolean> {
    return this.withDirectory(content, async (image) => image !== null);
  }

  /** Opens an image's directory, if it has one at the path. */
  private async withDirectory<T>(
    content: VolumeContent | null,
    body: (image: { filesystem: Ext4Filesystem; ino: number } | null) => Promise<T>,
  ): Promise<T> {
    if (content === null) return body(null);
    return this.withFilesystem(await this.layers.diskOf(content.layer), async (filesystem) => {
      const ino = await findContent(filesystem, content.path);
      return body(ino === null ? null : { filesystem, ino });
    });
  }

  private async isEmpty(name: string): Promise<boolean> {
    return this.readers.using(this.source(name), (disk) => disk.isEmpty());
  }

  private source(name: string): DiskSource {
    return volumeSource(name, volumeDiskPath(this.config, name), this.files.datastore, this.spoolDir, this.room);
  }

  /** An image's filesystem: one that this program made. */
  private async withFilesystem<T>(path: string, body: (filesystem: Ext4Filesystem) => Promise<T>): Promise<T> {
    const chain = await VmdkChain.open(path, (file) => this.layers.openDisk(file));
    try {
      return await body(await Ext4Filesystem.open(chain));
    } finally {
      await chain.close();
    }
  }

  /** Runs operations on the files of a name one after the other. */
  private alone<T>(name: string, body: () => Promise<T>): Promise<T> {
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

/**
 * The directory whose content a new volume gets; null when there is nothing at the path.
 * @throws unavailable when what is there is not a directory
 */
async function findContent(filesystem: Ext4Filesystem, path: string): Promise<number | null> {
  try {
    const ino = await filesystem.resolve(Buffer.from(path), { followLast: true });
    if ((await filesystem.statInode(ino)).type === 'directory') return ino;
  } catch (error) {
    if (isKind(error, 'invalid')) throw new PortLayerError('volume.badContent', { path, why: 'tooManyLinks' });
    if (!isKind(error, 'notFound')) throw error;
    if (/^not a directory/.test(messageOf(error)))
      throw new PortLayerError('volume.badContent', { path, why: 'belowAFile' });
    return null;
  }
  throw new PortLayerError('volume.badContent', { path, why: 'notADirectory' });
}
