/** Writes files as a tar stream, entry by entry. */
import { TAR_END, type TarFields, tarHeader, tarPadding } from '../../src/disk/index.js';
import { NameBudget } from './name-budget.js';
import {
  type FileEntry,
  isDirectory,
  isRegular,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from './root-files.js';

const TYPES: Record<number, TarFields['type']> = {
  [S_IFREG]: '0',
  [S_IFLNK]: '2',
  [S_IFCHR]: '3',
  [S_IFBLK]: '4',
  [S_IFDIR]: '5',
  [S_IFIFO]: '6',
};

/** Turns entries with content (see `RootFiles.tree`) into an archive. Sockets are left out: the format has none. */
export class TarOutput {
  /** By inode, the first name of each file that has several. */
  private readonly named = new Map<string, string>();
  private readonly budget = new NameBudget();
  /** Bytes of content still missing of the last file. */
  private left = 0;
  private size = 0;

  /**
   * The bytes of an entry's header, or of a piece of content with its padding.
   * @param name the entry's name in the archive, without a slash at its end
   */
  entry(entry: FileEntry, name: string): Buffer {
    const type = TYPES[entry.mode & S_IFMT];
    if (type === undefined) return Buffer.alloc(0);
    const fields: TarFields = {
      type,
      name: isDirectory(entry) && !name.endsWith('/') ? `${name}/` : name,
      mode: entry.mode & 0o7777,
      uid: entry.uid,
      gid: entry.gid,
      mtime: entry.mtime.sec,
      ...(entry.capability === null ? {} : { xattrs: new Map([['security.capability', entry.capability]]) }),
    };
    if (isRegular(entry) && entry.nlink > 1) {
      const inode = `${entry.dev}:${entry.ino}`;
      const first = this.named.get(inode);
      if (first !== undefined) return tarHeader({ ...fields, type: '1', linkName: first });
      this.budget.take(name);
      this.named.set(inode, name);
    }
    if (isRegular(entry)) {
      this.left = this.size = entry.size;
      return tarHeader({ ...fields, size: entry.size });
    }
    if (type === '2') return tarHeader({ ...fields, linkName: entry.target });
    return tarHeader({ ...fields, major: entry.major, minor: entry.minor });
  }

  /** Content of the file that came last. */
  content(data: Buffer): Buffer[] {
    this.left -= data.length;
    return this.left === 0 ? [data, tarPadding(this.size)] : [data];
  }
}

/** A tree as an archive. @param rename gives an entry's name in the archive; null leaves it out (if so, it must have no content) */
export async function* tarOf(
  tree: AsyncIterable<FileEntry | Buffer>,
  rename: (path: string) => string | null,
): AsyncGenerator<Buffer> {
  const tar = new TarOutput();
  for await (const part of tree) {
    if (Buffer.isBuffer(part)) {
      yield* tar.content(part);
      continue;
    }
    const name = rename(part.path);
    if (name === null) continue;
    const header = tar.entry(part, name);
    if (header.length > 0) yield header;
  }
  yield TAR_END;
}
