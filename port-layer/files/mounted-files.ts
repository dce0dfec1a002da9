/**
 * The files of a stopped container, with its volumes where they will be mounted: one tree over several disks. Paths are resolved across the
 * disks, so a link may lead from the root into a volume and back.
 */
import { followLinks, parentOf } from './paths.js';
import {
  Errno,
  type FileEntry,
  FileError,
  isDirectory,
  isRegular,
  madeDirectory,
  type RootFiles,
  type TreeOptions,
} from './root-files.js';

/** A volume in the tree. Strings have one character per byte. */
export interface MountedVolume {
  /** Where it is mounted; links are followed. */
  path: string;
  readOnly: boolean;
  /** A directory in the volume, instead of its root. */
  subpath: string;
  /** Called on first use. Several volumes may share the same files; whoever opened them closes them. */
  open(): Promise<RootFiles>;
}

interface Mount {
  /** The mount point, with all links resolved. */
  at: string;
  volume: MountedVolume;
  /** Its device number, in place of a real one: inode numbers of different disks may be the same. */
  dev: bigint;
  opened: { files: RootFiles; inside: string } | null;
}

/** What a path resolves to. */
interface Place {
  files: RootFiles;
  /** The path within {@link files}. */
  path: string;
  mount: Mount | null;
}

/** See {@link RootFiles}. */
export class MountedFiles implements RootFiles {
  private readonly mounts: Mount[] = [];
  private readonly changed = new Set<RootFiles>();
  /** The files that the last put went to. */
  private last: RootFiles | null = null;
  /** The directory of the last put, and where it really is. */
  private lastParent: { path: string; found: string } | null = null;
  /** For {@link followLinks}: stats paths that have no link among their parents. */
  private readonly unlinked: Pick<RootFiles, 'stat'> = { stat: (path) => this.statUnlinked(path) };

  private constructor(private readonly root: RootFiles) {}

  /** @param root the container's own disk, closed with this. @throws FileError for a mount point that cannot be resolved */
  static async open(root: RootFiles, volumes: MountedVolume[]): Promise<MountedFiles> {
    const files = new MountedFiles(root);
    const depth = ({ path }: MountedVolume): number => path.split('/').length;
    // In mount order: a volume inside another one comes after it.
    for (const volume of [...volumes].sort((a, b) => depth(a) - depth(b))) {
      const at = await followLinks(files.unlinked, volume.path, 'keep');
      files.mounts.unshift({ at, volume, dev: BigInt(files.mounts.length + 1), opened: null });
    }
    return files;
  }

  async stat(path: string): Promise<FileEntry> {
    const unlinked = await this.resolve(path);
    return { ...(await this.statUnlinked(unlinked)), path };
  }

  async *tree(path: string, options: TreeOptions): AsyncGenerator<FileEntry | Buffer> {
    yield* this.walk(await this.resolve(path), '', options);
  }

  async put(entry: FileEntry, keepKind: boolean): Promise<void> {
    const path = await this.inParent(entry.path, 'keep');
    const place = await this.place(path);
    const failed = (errno: number, operation: string): FileError =>
      new FileError({ errno, operation, path: entry.path });
    if (!isDirectory(entry) && this.mounts.some(({ at }) => at === path || isBelow(at, path)))
      throw keepKind ? failed(Errno.EISDIR, 'keep') : failed(Errno.EBUSY, 'RemoveAll');
    if (place.mount?.volume.readOnly === true)
      throw failed(Errno.EROFS, isDirectory(entry) && (await this.isThere(path)) ? 'lchown' : 'put');
    let { target } = entry;
    if (isRegular(entry) && target !== '') {
      const other = await this.place(await this.inParent(target, 'keep'));
      if (other.mount !== place.mount) throw failed(Errno.EXDEV, 'link');
      target = other.path;
    }
    if (!isRegular(entry)) this.lastParent = null;
    this.last = place.files;
    this.changed.add(place.files);
    await named(entry.path, place.files.put({ ...entry, path: place.path, target }, keepKind));
  }

  async data(bytes: Buffer): Promise<void> {
    await this.last?.data(bytes);
  }

  async times(entry: FileEntry): Promise<void> {
    const place = await this.place(await this.inParent(entry.path, 'keep'));
    await named(entry.path, place.files.times({ ...entry, path: place.path }));
  }

  async finish(): Promise<void> {
    for (const files of this.changed) await files.finish();
  }

  async freeze(): Promise<void> {}

  async close(): Promise<void> {
    await this.root.close();
  }

  /** What is at a path with no link among its parents. Mount points and their parents exist here even before they are made. */
  private async statUnlinked(path: string): Promise<FileEntry> {
    const { files, path: inside, mount } = await this.place(path);
    try {
      return { ...(await named(path, files.stat(inside))), dev: mount?.dev ?? 0n };
    } catch (error) {
      const nothing = error instanceof FileError && error.errno === Errno.ENOENT;
      if (nothing && this.mounts.some(({ at }) => isBelow(at, path))) return madeDirectory(path);
      throw error;
    }
  }

  private async isThere(path: string): Promise<boolean> {
    try {
      await this.statUnlinked(path);
      return true;
    } catch (error) {
      if (error instanceof FileError) return false;
      throw error;
    }
  }

  /** Resolves the links in a path's parents, and in its last component too if the path ends with `/` or `/.`. */
  private async resolve(path: string): Promise<string> {
    if (!/\/\.?$/.test(path)) return this.inParent(path, 'error');
    const found = await followLinks(this.unlinked, path, 'error');
    if (!isDirectory(await this.statUnlinked(found)))
      throw new FileError({ errno: Errno.ENOTDIR, operation: 'lstat', path });
    return found;
  }

  private async inParent(path: string, missing: 'error' | 'keep'): Promise<string> {
    if (path === '/') return path;
    const above = parentOf(path);
    const known = missing === 'keep' && this.lastParent?.path === above ? this.lastParent.found : null;
    const parent = known ?? (await followLinks(this.unlinked, above, missing));
    if (missing === 'keep') this.lastParent = { path: above, found: parent };
    return `${parent === '/' ? '' : parent}/${path.slice(path.lastIndexOf('/') + 1)}`;
  }

  /** @param path has no link in it */
  private async place(path: string): Promise<Place> {
    const mount = this.mountOf(path);
    if (mount === null) return { files: this.root, path, mount };
    mount.opened ??= await openMount(mount.volume);
    const rest = path.slice(mount.at.length);
    const { files, inside } = mount.opened;
    return { files, path: `${inside === '/' ? '' : inside}${rest}` || '/', mount };
  }

  /** The innermost mount that contains the path. */
  private mountOf(path: string): Mount | null {
    let found: Mount | null = null;
    for (const mount of this.mounts)
      if ((mount.at === path || isBelow(path, mount.at)) && mount.at.length > (found?.at.length ?? -1)) found = mount;
    return found;
  }

  /** Mounts below `base` that are mounted directly on the disk of `base`, as paths relative to `base`, in tree order. */
  private mountsIn(base: string): string[] {
    const own = this.mountOf(base);
    const below = this.mounts.filter(({ at }) => isBelow(at, base) && this.mountOf(parentOf(at)) === own);
    const paths = below.map(({ at }) => at.slice(base === '/' ? 1 : base.length + 1));
    return [...new Set(paths)].sort((a, b) => order(a, b));
  }

  private async *walk(base: string, prefix: string, options: TreeOptions): AsyncGenerator<FileEntry | Buffer> {
    const { files, path, mount } = await this.place(base);
    const mounts = options.alone === true ? [] : this.mountsIn(base);
    const told = new Set<string>();
    const walkMount = async function* (this: MountedFiles, one: string): AsyncGenerator<FileEntry | Buffer> {
      const parts = one.split('/');
      for (let i = 0; i < parts.length; i++) {
        const above = parts.slice(0, i).join('/');
        if (told.has(above)) continue;
        told.add(above);
        yield madeDirectory(joined(prefix, above));
      }
      yield* this.walk(`${base === '/' ? '' : base}/${one}`, joined(prefix, one), options);
    }.bind(this);
    /** A directory with a mount over it: what is in it is skipped. */
    let covered: string | null = null;
    let hidden = false;
    try {
      for await (const part of files.tree(path, options)) {
        if (Buffer.isBuffer(part)) {
          if (!hidden) yield part;
          continue;
        }
        hidden = covered !== null && isBelow(part.path, covered);
        if (hidden) continue;
        while (mounts.length > 0 && order(mounts[0]!, part.path) < 0) yield* walkMount(mounts.shift()!);
        hidden = mounts[0] === part.path;
        if (hidden) {
          covered = mounts.shift()!;
          yield* walkMount(covered);
          continue;
        }
        if (mounts.some((one) => part.path === '' || isBelow(one, part.path))) told.add(part.path);
        yield { ...part, path: joined(prefix, part.path), dev: mount?.dev ?? 0n };
      }
    } catch (error) {
      // The directories that lead to the mounts have not been made on this disk yet.
      const nothing = error instanceof FileError && error.errno === Errno.ENOENT && told.size === 0;
      if (!nothing || mounts.length === 0) throw error;
    }
    while (mounts.length > 0) yield* walkMount(mounts.shift()!);
  }
}

/** A volume's files, seen through a container that has it mounted. */
export class FilesBelow implements RootFiles {
  constructor(
    private readonly files: RootFiles,
    /** Has no link in it. */
    private readonly directory: string,
  ) {}

  private at(path: string): string {
    return `${this.directory}${path === '/' ? '' : path}`;
  }

  async stat(path: string): Promise<FileEntry> {
    return { ...(await named(path, this.files.stat(this.at(path)))), path };
  }

  tree(path: string, options: TreeOptions): AsyncIterable<FileEntry | Buffer> {
    return this.files.tree(this.at(path), options);
  }

  async put(entry: FileEntry, keepKind: boolean): Promise<void> {
    const target = isRegular(entry) && entry.target !== '' ? this.at(entry.target) : entry.target;
    await named(entry.path, this.files.put({ ...entry, path: this.at(entry.path), target }, keepKind));
  }

  data(bytes: Buffer): Promise<void> {
    return this.files.data(bytes);
  }

  times(entry: FileEntry): Promise<void> {
    return this.files.times({ ...entry, path: this.at(entry.path) });
  }

  finish(): Promise<void> {
    return this.files.finish();
  }

  freeze(): Promise<void> {
    return this.files.freeze();
  }

  close(): Promise<void> {
    return this.files.close();
  }
}

async function openMount(volume: MountedVolume): Promise<{ files: RootFiles; inside: string }> {
  const files = await volume.open();
  return { files, inside: await followLinks(files, `/${volume.subpath}`, 'error') };
}

const joined = (prefix: string, path: string): string =>
  path === '' ? prefix : prefix === '' ? path : `${prefix}/${path}`;

const isBelow = (path: string, directory: string): boolean =>
  path.length > directory.length && (directory === '' || directory === '/' || path.startsWith(`${directory}/`));

/** Tree order: a directory first, then its names in byte order. */
function order(a: string, b: string): number {
  const [left, right] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')];
  return left === right ? 0 : left < right ? -1 : 1;
}

/** Errors name the path that was asked for, not the one on the disk. */
async function named<T>(path: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof FileError)) throw error;
    throw new FileError({ errno: error.errno, operation: error.operation, path });
  }
}
