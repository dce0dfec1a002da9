/** Changes the files on the disk of a stopped container. */
import { isKind, messageOf } from '../../src/common/errors.js';
import type { ChangedDisk, FileWriter, VmdkChain } from '../../src/disk/index.js';
import { PortLayerError } from '../errors.js';
import {
  Errno,
  type FileEntry,
  FileError,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from './root-files.js';

/** A file whose content is still arriving. */
interface OpenFile {
  parent: number;
  name: string;
  entry: FileEntry;
  writer: FileWriter;
}

/** Puts entries into a disk's filesystem, as `RootFiles.put` describes. Operations must not overlap. */
export class DiskChanges {
  private file: OpenFile | null = null;
  /** Inodes of directories whose entries changed, and of directories that were put themselves: those keep the times they were given. */
  private readonly touched = new Set<number>();
  private readonly given = new Set<number>();

  /** Both are closed by {@link finish} and {@link discard}. */
  constructor(
    private readonly disk: ChangedDisk,
    private readonly parentChain: VmdkChain | null,
  ) {}

  async put(entry: FileEntry, keepKind: boolean): Promise<void> {
    try {
      await this.endFile();
      await this.place(entry, keepKind);
    } catch (error) {
      throw translated(error, entry.path);
    }
  }

  async data(bytes: Buffer): Promise<void> {
    if (this.file === null) return;
    try {
      await this.file.writer.write(bytes);
    } catch (error) {
      throw translated(error, this.file.entry.path);
    }
  }

  /** Writes everything to the disk's file. */
  async finish(): Promise<void> {
    await this.endFile();
    for (const ino of this.touched) if (!this.given.has(ino)) await this.disk.filesystem.touchDirectory(ino, now());
    await this.disk.finish();
    await this.parentChain?.close();
  }

  async discard(): Promise<void> {
    await this.disk.discard();
    await this.parentChain?.close();
  }

  private async endFile(): Promise<void> {
    const { file } = this;
    this.file = null;
    if (file !== null) await this.disk.filesystem.endFile(file.parent, file.name, attributesOf(file.entry));
  }

  private async place(entry: FileEntry, keepKind: boolean): Promise<void> {
    const { filesystem } = this.disk;
    const parts = entry.path.split('/').filter((part) => part !== '');
    const name = parts.pop();
    const kind = entry.mode & S_IFMT;
    const attributes = attributesOf(entry);
    if (name === undefined) {
      if (kind !== S_IFDIR) throw failure(Errno.EISDIR, 'open', entry.path);
      return filesystem.setRootAttributes(attributes);
    }
    const parent = await filesystem.directoryAt(parts, now());
    if (parent === null) throw failure(Errno.ENOTDIR, 'mkdir', entry.path);
    if (keepKind) {
      const there = await filesystem.lookup(parent, name);
      const isDirectory = there?.type === FT_DIR;
      if (isDirectory && kind !== S_IFDIR) throw failure(Errno.EISDIR, 'keep', entry.path);
      if (there !== null && !isDirectory && kind === S_IFDIR) throw failure(Errno.ENOTDIR, 'keep', entry.path);
    }
    switch (kind) {
      case S_IFREG:
        this.touched.add(parent);
        if (entry.target !== '') return this.link(parent, name, entry);
        this.file = { parent, name, entry, writer: await filesystem.beginFile(parent, name) };
        return;
      case S_IFDIR: {
        const before = await filesystem.lookup(parent, name);
        await filesystem.putDirectory(parent, name, attributes);
        const after = await filesystem.lookup(parent, name);
        if (after !== null) this.given.add(after.ino);
        if (before?.type !== FT_DIR) this.touched.add(parent);
        return;
      }
      case S_IFLNK:
        this.touched.add(parent);
        return filesystem.putSpecial(parent, name, attributes, { type: 'symlink', target: entry.target });
      case S_IFIFO:
        this.touched.add(parent);
        return filesystem.putSpecial(parent, name, attributes, { type: 'fifo' });
      case S_IFCHR:
      case S_IFBLK: {
        const { major, minor } = entry;
        if (major < 0 || major >= 4096 || minor < 0 || minor >= 2 ** 20)
          throw failure(Errno.EINVAL, 'mknod', entry.path);
        this.touched.add(parent);
        return filesystem.putSpecial(parent, name, attributes, {
          type: kind === S_IFCHR ? 'char' : 'block',
          major,
          minor,
        });
      }
      default:
        throw failure(Errno.EINVAL, 'mknod', entry.path);
    }
  }

  private async link(parent: number, name: string, entry: FileEntry): Promise<void> {
    const { filesystem } = this.disk;
    const target = entry.target.split('/').filter((part) => part !== '');
    const targetName = target.pop();
    const directory = targetName === undefined ? null : await filesystem.directoryAt(target, null);
    if (targetName === undefined || directory === null || (await filesystem.lookup(directory, targetName)) === null)
      throw failure(Errno.ENOENT, 'link', entry.path);
    await filesystem.putLink(parent, name, directory, targetName, attributesOf(entry));
  }
}

const now = (): FileEntry['mtime'] => ({ sec: Math.floor(Date.now() / 1000), nsec: 0 });

/** `file_type` of a directory in a directory entry. */
const FT_DIR = 2;

function attributesOf(entry: FileEntry): Parameters<ChangedDisk['filesystem']['setRootAttributes']>[0] {
  const { mode, uid, gid, mtime, atime, capability } = entry;
  const xattrs = capability === null ? null : new Map([['security.capability', capability]]);
  return { mode: mode & 0o7777, uid, gid, mtime, atime, xattrs };
}

const failure = (errno: number, operation: string, path: string): FileError =>
  new FileError({ errno, operation, path });

/** Turns an error of the filesystem code into the one that the kernel would give for a mounted disk. */
function translated(error: unknown, path: string): unknown {
  if (isKind(error, 'insufficientResources')) return failure(Errno.ENOSPC, 'write', path);
  if (!isKind(error, 'invalid')) return error;
  const message = messageOf(error);
  if (message.endsWith('is not a directory')) return failure(Errno.ENOTDIR, 'mkdir', path);
  if (message.endsWith('leads nowhere')) return failure(Errno.ENOENT, 'mkdir', path);
  return new PortLayerError('disk.refused', { reason: message }, error);
}
