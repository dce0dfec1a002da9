/** Writes volumes' disks: empty ones, and ones with the content of an image's directory. */
import { randomBytes } from 'node:crypto';
import { rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isKind, messageOf } from '../../src/common/errors.js';
import { sha256 } from '../../src/common/ids.js';
import { copyTree, createFilesystem, Ext4Filesystem, VmdkChain } from '../../src/disk/index.js';
import { PortLayerError } from '../errors.js';
import type { Layers } from './layers.js';
import { withoutRoom } from './storage-reserve.js';
import type { VolumeContent, VolumeInfo } from './types.js';
import type { OpenStore } from './volume-stores.js';

const LABEL = 'volume';

/** See the file's head. */
export class VolumeContents {
  constructor(
    private readonly layers: Pick<Layers, 'diskOf' | 'openDisk'>,
    private readonly spoolDir: string,
  ) {}

  /** Writes the disk locally and puts it in place in one step. */
  async writeDisk(
    info: VolumeInfo,
    { room, publisher }: OpenStore,
    path: string,
    content: VolumeContent | null,
    signal?: AbortSignal,
  ): Promise<void> {
    const outPath = join(this.spoolDir, `volume-${randomBytes(8).toString('hex')}.vmdk`);
    const format = { outPath, capacity: info.capacityBytes, seed: sha256(`${info.name} ${randomBytes(16)}`) };
    try {
      await this.withDirectory(content, async (image) => {
        await createFilesystem({
          ...format,
          label: LABEL,
          grow: room?.growing(false),
          fill: image === null ? undefined : (target) => copyTree(image.filesystem, image.ino, target, signal),
        });
      });
      await room?.checkStorageQuota((await stat(outPath)).size);
      await publisher.publish(outPath, path, signal);
    } catch (failure) {
      throw withVolumeName(info.name, failure);
    } finally {
      await rm(outPath, { force: true });
    }
  }

  async hasDirectory(content: VolumeContent): Promise<boolean> {
    return this.withDirectory(content, async (image) => image !== null);
  }

  /** Opens the image's directory, if there is one at the path. */
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

  /** Opens an image's filesystem; it is safe to read here, because this program made it. */
  private async withFilesystem<T>(path: string, body: (filesystem: Ext4Filesystem) => Promise<T>): Promise<T> {
    const chain = await VmdkChain.open(path, (file) => this.layers.openDisk(file));
    try {
      return await body(await Ext4Filesystem.open(chain));
    } finally {
      await chain.close();
    }
  }
}

/** Adds the volume's name to an error about missing space; returns other errors unchanged. */
export function withVolumeName(name: string, failure: unknown): unknown {
  const error = withoutRoom(failure);
  return isKind(error, 'insufficientResources')
    ? new PortLayerError('volume.noRoom', { volume: name, reason: messageOf(error) }, error)
    : error;
}

/**
 * The directory whose content a new volume gets; null if there is nothing at the path.
 * @throws unavailable when it is not a directory
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
