/** An image store in a local directory: the parts of `ImageStoreFiles` and its datastore client that the stores use. */
import { createReadStream, createWriteStream, existsSync, statSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ImageStoreFiles } from '../../port-layer/storage/image-store-files.js';
import { conflict, notFound } from '../../src/common/errors.js';
import { createDisk, enlargeDisk, replaceDisk } from '../../src/hostd/disks/disk-files.js';
import { copyDown, moveUp } from '../../src/hostd/disks/merge-disks.js';
import { makePoint, pointsOf } from '../../src/hostd/disks/point-disks.js';

/** @param directory the datastore. @param root the virtual container host's part of it */
export function localStore(directory: string, root: string): ImageStoreFiles {
  const at = (path: string): string => join(directory, path);
  const files = {
    root,
    images: `${root}/images`,
    datastore: {
      async get(path: string, { start, end }: { start?: number; end?: number } = {}): Promise<Readable> {
        return createReadStream(at(path), { start, ...(end === undefined ? {} : { end: end - 1 }) });
      },
      async put(path: string, content: Readable | Buffer | string): Promise<void> {
        if (typeof content === 'string' || Buffer.isBuffer(content)) return writeFile(at(path), content);
        await pipeline(content, createWriteStream(at(`${path}.new`)));
        await rename(at(`${path}.new`), at(path));
      },
      hand: async (): Promise<boolean> => false,
      async read(path: string): Promise<Buffer> {
        if (!existsSync(at(path))) throw notFound(path);
        return readFile(at(path));
      },
      async size(path: string): Promise<number | null> {
        return existsSync(at(path)) ? statSync(at(path)).size : null;
      },
    },
    async makeDirectory(path: string): Promise<void> {
      await mkdir(at(path), { recursive: true });
    },
    async move(from: string, to: string): Promise<void> {
      if (!existsSync(at(from))) throw notFound(from);
      if (existsSync(at(to))) throw conflict(to);
      await rename(at(from), at(to));
    },
    async remove(path: string): Promise<void> {
      await rm(at(path), { recursive: true, force: true });
    },
    sharesDisks: true,
    async copyDisk(from: string, to: string, shared: boolean, force = false): Promise<void> {
      if (force) return replaceDisk(at(to), at(from));
      if (existsSync(at(to))) throw conflict(to);
      if (!shared) await copyFile(at(from), at(to));
      else if (pointsOf(to) !== null) await makePoint(at(from), at(to), null);
      else await createDisk(at(to), at(from), 0);
    },
    mergeDisk: (upper: string, lower: string): Promise<void> => copyDown(at(upper), at(lower)),
    takePlace: (lower: string, upper: string): Promise<void> => moveUp(at(lower), at(upper)),
    extendDisk: (path: string, capacityBytes: number): Promise<void> => enlargeDisk(at(path), capacityBytes),
    async list(path: string): Promise<string[]> {
      return existsSync(at(path)) ? readdir(at(path)) : [];
    },
  };
  return files as unknown as ImageStoreFiles;
}
