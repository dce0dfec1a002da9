/** The files that a resumed VM is given open: its devices' state, and its disks. */
import { type FileHandle, open } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { invalid } from '../../common/errors.js';
import { FileBlocks, MAX_CHAIN, readVmdkInfo, type VmdkInfo } from '../../disk/index.js';
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
        disks.push({
          readFd: keep(await open(path, 'r')),
          writeFd: readOnly ? -1 : keep(await open(path, 'r+')),
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

/** The absolute paths of a disk's parents, the nearest first. @throws invalid for a chain that has no end */
export async function diskParents(path: string): Promise<string[]> {
  const parents: string[] = [];
  for (let current = path; ; ) {
    const { parentHint } = await diskInfo(current);
    if (parentHint === null) return parents;
    if (parents.length === MAX_CHAIN) throw invalid(`the chain of ${path} has more than ${MAX_CHAIN} disks`);
    current = resolve(dirname(current), parentHint);
    parents.push(current);
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
