/** Brings a disk that was written here onto the datastore: the seam for another kind of host. */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { DatastoreClient } from '../../src/vim25/index.js';
import type { StorageReserve } from './storage-reserve.js';

/**
 * Publishes disks. Today a disk is a sparse VMDK in a local file, which is uploaded. On a vSphere whose datastores do not accept such
 * files, it would be a child disk, written while attached to the endpoint's VM.
 * - Until `publish` has resolved, nobody sees the new disk at `path`: neither part of it nor, if it replaces a disk, a mix of both.
 * - If it fails or is aborted, whatever was at `path` is still there.
 * - The local file stays; it belongs to the caller.
 */
export interface DiskPublisher {
  /** @param path relative to the datastore @returns the bytes published @throws insufficientResources, cancelled */
  publish(local: string, path: string, signal?: AbortSignal): Promise<number>;
}

/** Larger ones are sent, because a copy that takes minutes cannot be told from a host that does not answer. */
const HANDED_MAX = 1 << 30;

/** Uploads the file as it is, or lets a host on this machine copy it. */
export class DiskUploads implements DiskPublisher {
  /** @param inMemory files up to this size are read whole and sent at once */
  constructor(
    private readonly datastore: DatastoreClient,
    private readonly room: StorageReserve | null | undefined,
    private readonly inMemory = 0,
  ) {}

  async publish(local: string, path: string, signal?: AbortSignal): Promise<number> {
    const { size } = await stat(local);
    await this.room?.check(size);
    // A buffer is sent without first checking that the session is still alive, because it can be sent again.
    if (size <= this.inMemory) await this.datastore.put(path, await readFile(local), { signal });
    else if (size <= HANDED_MAX && (await this.datastore.hand(path, local, signal))) return size;
    else await this.datastore.put(path, createReadStream(local, { highWaterMark: 1 << 20 }), { size, signal });
    return size;
  }
}
