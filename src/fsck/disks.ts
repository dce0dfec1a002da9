/** Checks virtual disks with their parents: each file once, however many disks stand on it. */
import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { messageOf } from '../common/errors.js';
import {
  type BlockReader,
  checkExt4,
  checkVmdk,
  Ext4Filesystem,
  FileBlocks,
  MAX_CHAIN,
  VmdkChain,
  VmdkExtent,
  type VmdkVerdict,
} from '../disk/index.js';
import { e2fsckProblems } from './e2fsck.js';

/** What is wrong with a disk's chain, without what is wrong inside one of its files. */
export type ChainProblem =
  | { kind: 'noParent'; child: string; parent: string }
  | { kind: 'mismatch'; child: string; parent: string; why: string }
  | { kind: 'cycle'; child: string; parent: string }
  | { kind: 'damagedParent'; child: string; parent: string };

/** See the file's head. */
export class DiskChecks {
  private readonly verdicts = new Map<string, Promise<VmdkVerdict>>();
  private readonly files = new Map<string, Promise<VmdkExtent>>();
  private readonly opened: FileBlocks[] = [];

  /** The verdict on one file. */
  vmdk(path: string): Promise<VmdkVerdict> {
    let verdict = this.verdicts.get(path);
    if (verdict === undefined) {
      verdict = checkFile(path);
      this.verdicts.set(path, verdict);
    }
    return verdict;
  }

  /** The files that a disk stands on, itself first, and what is wrong with how they fit. The file itself must be sound. */
  async chain(path: string): Promise<{ files: string[]; problems: ChainProblem[] }> {
    const files = [path];
    for (let child = path; ; ) {
      const { info } = await this.vmdk(child);
      if (info === null || info.parentHint === null) return { files, problems: [] };
      const parent = resolve(dirname(child), info.parentHint);
      if (files.includes(parent) || files.length === MAX_CHAIN)
        return { files, problems: [{ kind: 'cycle', child, parent }] };
      if (!existsSync(parent)) return { files, problems: [{ kind: 'noParent', child, parent }] };
      const verdict = await this.vmdk(parent);
      if (verdict.problems.length > 0 || verdict.info === null)
        return { files, problems: [{ kind: 'damagedParent', child, parent }] };
      if (verdict.info.cid !== info.parentCid) {
        const why = `its content id is ${verdict.info.cid}, and was ${info.parentCid} when the disk was made on it`;
        return { files, problems: [{ kind: 'mismatch', child, parent, why }] };
      }
      if (verdict.info.capacity > info.capacity)
        return { files, problems: [{ kind: 'mismatch', child, parent, why: 'it is larger than what stands on it' }] };
      files.push(parent);
      child = parent;
    }
  }

  /** Opens a sound disk with its parents. */
  open(path: string): Promise<VmdkChain> {
    return VmdkChain.open(path, (file) => this.extent(file));
  }

  private extent(path: string): Promise<VmdkExtent> {
    let opening = this.files.get(path);
    if (opening === undefined) {
      opening = FileBlocks.open(path).then((file) => {
        this.opened.push(file);
        return VmdkExtent.open({ size: file.size, read: (at, length) => file.read(at, length), close: async () => {} });
      });
      this.files.set(path, opening);
    }
    return opening;
  }

  /** What is wrong with the filesystem of a sound disk. @param e2fsck whether that program is asked too */
  async filesystem(path: string, e2fsck: boolean): Promise<string[]> {
    const disk = await this.open(path);
    try {
      const verdict = await checkExt4(disk);
      return verdict.problems.length > 0 || !e2fsck ? verdict.problems : await e2fsckProblems(disk, verdict);
    } catch (error) {
      return [`it cannot be read: ${messageOf(error)}`];
    } finally {
      await disk.close();
    }
  }

  /** Uses the filesystem of a sound disk. */
  async withFilesystem<T>(path: string, body: (filesystem: Ext4Filesystem) => Promise<T>): Promise<T> {
    const disk = await this.open(path);
    try {
      return await body(await Ext4Filesystem.open(disk));
    } finally {
      await disk.close();
    }
  }

  /** Closes all files. */
  async close(): Promise<void> {
    await Promise.allSettled(this.files.values());
    await Promise.all(this.opened.map((file) => file.close()));
  }
}

async function checkFile(path: string): Promise<VmdkVerdict> {
  let file: BlockReader;
  try {
    file = await FileBlocks.open(path);
  } catch (error) {
    return { problems: [`it cannot be opened: ${messageOf(error)}`], info: null, grains: 0 };
  }
  try {
    return await checkVmdk(file);
  } catch (error) {
    return { problems: [`it cannot be read: ${messageOf(error)}`], info: null, grains: 0 };
  } finally {
    await file.close();
  }
}
