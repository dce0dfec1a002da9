/** Writes the changes of a container, as the tar of a layer, to the disk of a new container of the same image. */
import { randomBytes } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { isKind, messageOf } from '../../src/common/errors.js';
import { applyLayer, type OpenFile, readVmdkInfo, VmdkChain } from '../../src/disk/index.js';
import type { DatastoreClient } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';
import { DatastoreBlocks } from '../storage/datastore-blocks.js';
import { DiskUploads } from '../storage/disk-publisher.js';
import { type StorageReserve, withoutRoom } from '../storage/storage-reserve.js';

/** Where the disk is. Paths are relative to the datastore. */
export interface ChangesPlace {
  datastore: DatastoreClient;
  spoolDir: string;
  room: StorageReserve | null;
  openDisk: OpenFile;
  /** The disk of the image's last layer. */
  layer: string;
  /** The container's own. */
  path: string;
}

/** @throws invalid (the tar), insufficientResources; the container's disk is as it was then */
export async function writeChanges(place: ChangesPlace, tar: Readable, signal?: AbortSignal): Promise<void> {
  const { datastore, spoolDir, room, openDisk, layer, path } = place;
  const own = await DatastoreBlocks.open(datastore, path);
  const { parentHint } = await readVmdkInfo(own).finally(() => own.close());
  const seed = randomBytes(32).toString('hex');
  const local = join(spoolDir, `changes-${seed.slice(0, 16)}.vmdk`);
  const parent = await VmdkChain.open(layer, openDisk);
  try {
    const grow = room?.growing(false);
    const { unchanged } = await applyLayer({ parent, tar, outPath: local, parentHint, seed, grow, signal });
    if (!unchanged) await new DiskUploads(datastore, room).publish(local, path, signal);
  } catch (failure) {
    const error = withoutRoom(failure);
    if (error instanceof PortLayerError || !(isKind(error, 'invalid') || isKind(error, 'unsupported'))) throw error;
    throw new PortLayerError('archive.badChanges', { reason: messageOf(error) }, error);
  } finally {
    await parent.close();
    await rm(local, { force: true });
  }
}
