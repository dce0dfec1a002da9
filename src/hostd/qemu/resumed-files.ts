/** The files that a resumed VM is given open: its devices' state, and its disks. */
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { FileBlocks, readVmdkInfo, type VmdkInfo } from '../../disk/index.js';
import type { VmDefinition } from '../runtime.js';
import type { BootSnapshot } from './boot-snapshots.js';
import { type OpenDisk, type SnapshotUse, STATE_FD } from './command-line.js';

/** Its owner must `close()` it when QEMU was started, or was not. */
export class ResumedFiles {
  private constructor(
    /** To be inherited as descriptors {@link STATE_FD} and on. */
    readonly inherited: FileHandle[],
    readonly use: SnapshotUse,
  ) {}

  /** @throws as `open` does; nothing stays open then */
  static async open(vm: VmDefinition, snapshot: BootSnapshot): Promise<ResumedFiles> {
    const inherited: FileHandle[] = [];
    const keep = (handle: FileHandle): number => STATE_FD + inherited.push(handle) - 1;
    try {
      keep(await open(snapshot.state, 'r'));
      const disks: OpenDisk[] = [];
      for (const { path, readOnly } of vm.disks) {
        const { parentHint } = await diskInfo(path);
        disks.push({
          readFd: keep(await open(path, 'r')),
          writeFd: readOnly ? -1 : keep(await open(path, 'r+')),
          parent: parentHint === null ? null : resolve(dirname(path), parentHint),
        });
      }
      return new ResumedFiles(inherited, { use: 'resume', memory: snapshot.memory, disks });
    } catch (error) {
      await Promise.all(inherited.map((handle) => handle.close()));
      throw error;
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.inherited.map((handle) => handle.close()));
  }
}

/** What a VMDK file says of itself. */
export async function diskInfo(path: string): Promise<VmdkInfo> {
  const file = await FileBlocks.open(path);
  try {
    return await readVmdkInfo(file);
  } finally {
    await file.close();
  }
}
