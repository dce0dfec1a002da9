/** The few things that a directory of backups needs of a filesystem. Paths are relative to the directory. */
import { randomBytes } from 'node:crypto';
import { lstat, mkdir, open, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, invalid } from '../common/errors.js';

/** See the file's head. What is written is for its owner alone: it has the files and the environment of containers. */
export interface BackupFiles {
  /** Names in a directory; none if it does not exist. */
  list(path: string): Promise<string[]>;
  /** @throws invalid if it has more than `most` bytes; ENOENT */
  read(path: string, most: number): Promise<Buffer>;
  /** Bytes; null if there is no such file. */
  size(path: string): Promise<number | null>;
  /** Writes a new file. @throws EEXIST */
  write(path: string, data: Buffer): Promise<void>;
  /** Makes sure that a file, or what a directory has, outlives a power cut. */
  sync(path: string): Promise<void>;
  /** Replaces what is at `to`. */
  rename(from: string, to: string): Promise<void>;
  /** Does nothing if it does not exist. */
  remove(path: string): Promise<void>;
}

/** A directory of this machine, which is made if it does not exist. */
export function localFiles(root: string): BackupFiles {
  const at = (path: string): string => join(root, path);
  const made = new Set<string>();
  const makeParent = async (path: string): Promise<void> => {
    const parent = dirname(at(path));
    if (made.has(parent)) return;
    await mkdir(parent, { recursive: true, mode: 0o700 });
    made.add(parent);
  };
  return {
    async list(path) {
      try {
        return await readdir(at(path));
      } catch (error) {
        if (errnoOf(error) === 'ENOENT') return [];
        throw error;
      }
    },
    async read(path, most) {
      const file = await open(at(path), 'r');
      try {
        const { size } = await file.stat();
        if (size > most) throw invalid(`${path} has ${size} bytes, and can have at most ${most}`);
        return await file.readFile();
      } finally {
        await file.close();
      }
    },
    async size(path) {
      try {
        return (await lstat(at(path))).size;
      } catch (error) {
        if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return null;
        throw error;
      }
    },
    async write(path, data) {
      await makeParent(path);
      const file = await open(at(path), 'wx', 0o600);
      try {
        await file.writeFile(data);
      } finally {
        await file.close();
      }
    },
    async sync(path) {
      const file = await open(at(path), 'r');
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    },
    async rename(from, to) {
      await makeParent(to);
      await rename(at(from), at(to));
    },
    remove: (path) => rm(at(path), { force: true }),
  };
}

/** Files that are being written; what a killed program left of them is removed later. */
export const DRAFTS = 'drafts';

/** Writes a file that is there whole or not at all. */
export async function writeWhole(files: BackupFiles, path: string, data: Buffer): Promise<void> {
  const draft = `${DRAFTS}/${randomBytes(8).toString('hex')}`;
  await files.write(draft, data);
  await files.rename(draft, path);
}
