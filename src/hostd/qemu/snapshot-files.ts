/**
 * The files of one boot snapshot, opened once, and checked and read through the same descriptors, so that a resumed VM gets what was
 * checked, whatever is put in their place later.
 */
import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { internal } from '../../common/errors.js';
import { fileDigest } from './memory-digest.js';

/** The files of a snapshot: a VM's memory, its devices' state, and the beginning of a disk to rehearse on. */
export const SNAPSHOT_FILES = ['memory', 'state', 'rehearsal'] as const;
export type SnapshotFile = (typeof SNAPSHOT_FILES)[number];
export type SnapshotDigests = Record<SnapshotFile, string>;

/** Its owner must `close()` it; handles from {@link again} stay open. */
export class SnapshotFiles {
  private constructor(
    private readonly handles: Record<SnapshotFile, FileHandle>,
    private readonly seen: Record<SnapshotFile, string>,
  ) {}

  /** @throws as `open` does, and internal for anything but a regular file; nothing stays open then */
  static async open(directory: string): Promise<SnapshotFiles> {
    const handles: Partial<Record<SnapshotFile, FileHandle>> = {};
    const seen: Partial<Record<SnapshotFile, string>> = {};
    try {
      for (const name of SNAPSHOT_FILES) {
        const path = join(directory, name);
        const handle = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
        handles[name] = handle;
        if (!(await handle.stat()).isFile()) throw internal(`${path} is no regular file`);
        // Taken before the check, so that changes made during it are noticed.
        seen[name] = await stamp(handle);
      }
    } catch (error) {
      await Promise.all(Object.values(handles).map((handle) => handle.close()));
      throw error;
    }
    return new SnapshotFiles(handles as Record<SnapshotFile, FileHandle>, seen as Record<SnapshotFile, string>);
  }

  /** @throws internal when one cannot be read */
  async digests(): Promise<SnapshotDigests> {
    const pairs = await Promise.all(
      SNAPSHOT_FILES.map(async (name) => [name, await fileDigest(this.handles[name])] as const),
    );
    return Object.fromEntries(pairs) as SnapshotDigests;
  }

  /** Flushes what was written to the disk. */
  async sync(): Promise<void> {
    for (const name of SNAPSHOT_FILES) await this.handles[name].sync();
  }

  /** Opens the same file again, for reading from its beginning. @throws internal if it was written to since it was first opened */
  async again(name: SnapshotFile): Promise<FileHandle> {
    const handle = this.handles[name];
    if (handle.fd < 0) throw internal('the boot snapshot was removed');
    if ((await stamp(handle)) !== this.seen[name]) throw internal(`the ${name} of the boot snapshot was changed`);
    // Opened through the descriptor, so that no name in a directory is followed.
    return open(`/proc/self/fd/${handle.fd}`, 'r');
  }

  async close(): Promise<void> {
    await Promise.all(SNAPSHOT_FILES.map((name) => this.handles[name].close()));
  }
}

async function stamp(handle: FileHandle): Promise<string> {
  const { size, mtimeNs } = await handle.stat({ bigint: true });
  return `${size} ${mtimeNs}`;
}
