/** How a disk that was written here gets onto the datastore: the seam for another kind of host. */
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import type { DatastoreClient } from '../../src/vim25/index.js';
import type { StorageReserve } from './storage-reserve.js';

/**
 * Publishes disks. Today a disk is a sparse VMDK in a local file, which is uploaded. On a vSphere whose datastores take no such files, it
 * would be a child disk that was written while it was attached to the endpoint's VM.
 * - Until `publish` has resolved, nobody sees the disk at `path`: neither part of it nor, where it replaces one, a mix of both.
 * - When it fails or is aborted, whatever was at `path` is still there.
 * - The local file stays; it is the caller's.
 */
export interface DiskPublisher {
  /** @param path relative to the datastore @returns the bytes that it took @throws insufficientResources, cancelled */
  publish(local: string, path: string, signal?: AbortSignal): Promise<number>;
}

/** Uploads the file as it is. */
export class DiskUploads implements DiskPublisher {
  /** @param inMemory files of so many bytes at most are read whole and sent at once */
  constructor(
    private readonly datastore: DatastoreClient,
    private readonly room: StorageReserve | null | undefined,
    private readonly inMemory = 0,
  ) {}

  async publish(local: string, path: string, signal?: AbortSignal): Promise<number> {
    const { size } = await stat(local);
    await this.room?.check(size);
    // What is in memory is sent without asking first whether the session is still alive: it can be sent again.
    if (size <= this.inMemory) await this.datastore.put(path, await readFile(local), { signal });
    else await this.datastore.put(path, createReadStream(local, { highWaterMark: 1 << 20 }), { size, signal });
    return size;
  }
}
