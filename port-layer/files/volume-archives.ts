/** Volumes as archives: the files as a tar, or the disk as a stream-optimized VMDK. Both are streams: nothing of them is kept in memory. */
import { randomBytes } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { isKind, messageOf } from '../../src/common/errors.js';
import {
  type DiskGrain,
  diskGrains,
  readVmdkStream,
  VMDK_HEAD,
  vmdkKind,
  writeDisk,
  writeVmdkStream,
} from '../../src/disk/index.js';
import type { DiskReaders } from '../disks/disk-readers.js';
import { volumeSource } from '../disks/disk-source.js';
import { isCode, PortLayerError } from '../errors.js';
import { DiskUploads } from '../storage/disk-publisher.js';
import { withoutRoom } from '../storage/storage-reserve.js';
import type { NewVolume, VolumeArchiveStore, VolumeInfo } from '../storage/types.js';
import type { VolumeLife } from '../storage/volume-life.js';
import { checkedCapacity, DEFAULT_CAPACITY } from '../storage/volume-record.js';
import type { Volumes } from '../storage/volumes.js';
import { FileError, fileFailed } from './root-files.js';
import { unpack } from './tar-in.js';
import { tarOf } from './tar-out.js';

/** What {@link VolumeArchives} needs of others. */
export interface ArchiveParts {
  volumes: Pick<Volumes, 'get' | 'alone' | 'publish' | 'writeEmpty' | 'storeOf'>;
  life: Pick<VolumeLife, 'contentToRead'>;
  readers: DiskReaders;
  spoolDir: string;
}

/** See {@link VolumeArchiveStore}. */
export class VolumeArchives implements VolumeArchiveStore {
  constructor(private readonly parts: ArchiveParts) {}

  async export(
    { volume, snapshot }: { volume: string; snapshot?: string },
    format: 'tar' | 'vmdk',
    signal?: AbortSignal,
  ): Promise<Readable> {
    const { volumes, life, readers, spoolDir } = this.parts;
    const content = await life.contentToRead({ volume, ...(snapshot === undefined ? {} : { snapshot }) });
    const call = readers.call(signal);
    try {
      const { files, room } = volumes.storeOf(content.store);
      const [path = '', ...below] = content.disks;
      const disk = await call.open(volumeSource(volume, path, below, files.datastore, spoolDir, room));
      const out =
        format === 'tar'
          ? tarOf(disk.tree('/', { content: true }), (name) => (name === '' ? '.' : `./${name}`))
          : writeVmdkStream(content.capacityBytes, disk.grains(), `${volume}.vmdk`);
      const readable = Readable.from(call.client.sent(out), { objectMode: false, highWaterMark: 256 * 1024 });
      // Errors are left to whoever reads the stream.
      readable.on('error', () => undefined);
      call.client.serves((error) => readable.destroy(error));
      readable.once('close', () => void disk.close().finally(() => content.letGo()));
      return readable;
    } catch (error) {
      await content.letGo();
      throw error;
    }
  }

  async import(volume: NewVolume, archive: AsyncIterable<Buffer>, signal?: AbortSignal): Promise<VolumeInfo> {
    const { volumes } = this.parts;
    const unused = (): void => {
      if (volumes.get(volume.name) !== undefined) throw new PortLayerError('volume.exists', { volume: volume.name });
    };
    unused();
    try {
      const { head, all } = await peeked(archive);
      const kind = vmdkKind(head);
      return await volumes.alone(volume.name, async () => {
        unused();
        if (kind === null) return await this.importTar(volume, all, signal);
        if (kind === 'stream') return await this.importDisk(volume, await readVmdkStream(all), signal);
        return await this.spooled(volume, all, async (file) => this.importDisk(volume, await diskGrains(file), signal));
      });
    } catch (failure) {
      throw told(volume.name, failure);
    }
  }

  private async importTar(volume: NewVolume, tar: AsyncIterable<Buffer>, signal?: AbortSignal): Promise<VolumeInfo> {
    const { volumes, readers, spoolDir } = this.parts;
    const info = made(volume, volume.capacityBytes ?? DEFAULT_CAPACITY);
    const { files, room } = volumes.storeOf(info.store);
    return volumes.publish(info, async (path) => {
      await volumes.writeEmpty(info, path);
      const call = readers.call(signal);
      const disk = await call.open({
        ...volumeSource(info.name, path, [], files.datastore, spoolDir, room),
        stepByStep: false,
      });
      try {
        const received = Readable.from(call.client.received(Readable.from(tar)), { objectMode: false });
        received.on('error', () => undefined);
        await unpack(disk, '/', received, { keepKind: false, owner: null, whole: true });
      } finally {
        await disk.close();
      }
    });
  }

  private async importDisk(
    volume: NewVolume,
    { capacity, grains }: { capacity: number; grains: AsyncIterable<DiskGrain> },
    signal?: AbortSignal,
  ): Promise<VolumeInfo> {
    const { volumes, readers, spoolDir } = this.parts;
    const info = made(volume, Math.max(capacity, volume.capacityBytes ?? 0));
    const { files, room } = volumes.storeOf(info.store);
    const local = this.spoolFile();
    return volumes.publish(info, async (path) => {
      try {
        await writeDisk(local, info.capacityBytes, abortable(grains, signal), room?.growing(false) ?? null);
        await new DiskUploads(files.datastore, room).publish(local, path, signal);
      } finally {
        await rm(local, { force: true });
      }
      // Its filesystem must be one that can be read here, all of it.
      const source = volumeSource(info.name, path, [], files.datastore, spoolDir, room);
      await readers.using(source, (disk) => disk.usage(), signal);
    });
  }

  /** Runs `body` with a local file that has what a client sends. */
  private async spooled<T>(
    volume: NewVolume,
    content: AsyncIterable<Buffer>,
    body: (file: string) => Promise<T>,
  ): Promise<T> {
    const { room } = this.parts.volumes.storeOf(volume.store);
    const grow = room?.growing(false);
    const local = this.spoolFile();
    const checked = async function* (): AsyncGenerator<Buffer> {
      for await (const piece of content) {
        await grow?.(piece.length);
        yield piece;
      }
    };
    try {
      await pipeline(checked(), createWriteStream(local, { mode: 0o600 }));
      return await body(local);
    } finally {
      await rm(local, { force: true });
    }
  }

  private spoolFile(): string {
    return join(this.parts.spoolDir, `import-${randomBytes(8).toString('hex')}.vmdk`);
  }
}

/** Reasons that are the archive's. */
const BAD_ARCHIVE = [
  'disk.unreadable',
  'archive.outside',
  'archive.cut',
  'archive.noEnd',
  'archive.damaged',
  'archive.keepsKind',
] as const;

const made = (volume: NewVolume, capacity: number): VolumeInfo => ({
  ...volume,
  capacityBytes: checkedCapacity(capacity),
  createdAt: new Date().toISOString(),
});

/** The first bytes of a stream, and all of it. */
async function peeked(stream: AsyncIterable<Buffer>): Promise<{ head: Buffer; all: AsyncGenerator<Buffer> }> {
  const iterator = stream[Symbol.asyncIterator]();
  let head = Buffer.alloc(0);
  while (head.length < VMDK_HEAD) {
    const next = await iterator.next();
    if (next.done === true) break;
    head = Buffer.concat([head, next.value]);
  }
  const all = async function* (): AsyncGenerator<Buffer> {
    yield head;
    for (let next = await iterator.next(); next.done !== true; next = await iterator.next()) yield next.value;
  };
  return { head, all: all() };
}

async function* abortable<T>(items: AsyncIterable<T>, signal?: AbortSignal): AsyncGenerator<T> {
  for await (const item of items) {
    signal?.throwIfAborted();
    yield item;
  }
}

/** The caller's error for an archive that cannot be imported. */
function told(volume: string, failure: unknown): unknown {
  const error = withoutRoom(failure);
  if (isKind(error, 'insufficientResources'))
    return new PortLayerError('volume.noRoom', { volume, reason: messageOf(error) }, error);
  if (error instanceof FileError) return fileFailed(error);
  const bad = BAD_ARCHIVE.some((code) => isCode(error, code));
  const plain = !(error instanceof PortLayerError) && (isKind(error, 'invalid') || isKind(error, 'unsupported'));
  if (!bad && !plain) return error;
  return new PortLayerError('volume.badArchive', { volume, reason: messageOf(error) }, error);
}
