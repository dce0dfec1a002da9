/** Changes a filesystem: names, files, directories and links, as a layer's tar asks for. */
import { invalid, unsupported } from '../../common/errors.js';
import type { DeltaDisk } from '../vmdk/delta.js';
import { Allocator } from './allocator.js';
import { BitSet } from './bit-set.js';
import * as c from './constants.js';
import { checkName } from './directory.js';
import { type Directory, DirectoryCache, inoOf, typeOf } from './directory-cache.js';
import { buildExtentTree, type Extent, extentAt } from './extents.js';
import { FileWriter } from './file-writer.js';
import { hasOurFeatures } from './format.js';
import { Inode, type Time } from './inode.js';
import { InodeStore } from './inode-store.js';
import { decodeSuperblock } from './superblock.js';
import { aclForMode, isStorableXattr, type Xattrs } from './xattr.js';

/** Owner, permissions, times and extended attributes of a file. */
export interface Attributes {
  /** Permission bits, setuid, setgid, sticky. */
  mode: number;
  uid: number;
  gid: number;
  mtime: Time;
  atime: Time;
  xattrs: Xattrs | null;
}

/** What a new inode is, apart from a regular file (which is streamed). */
export type Special =
  | { type: 'symlink'; target: string }
  | { type: 'fifo' }
  | { type: 'char' | 'block'; major: number; minor: number };

const MAX_SYMLINKS = 40;
const ACL = 'system.posix_acl_access';
const CAPABILITY = 'security.capability';

/** For one caller at a time: operations must not overlap. Names are strings with one character per byte. */
export class WritableExt4 {
  /** Inode number of the root directory. */
  readonly root = c.ROOT_INO;
  /** How many attributes were dropped because ext4 or the kernel cannot store them. */
  skippedAttributes = 0;
  /** Called before a regular file loses its last name, and with it what it holds. */
  onLeave: ((ino: number, size: number) => Promise<void>) | null = null;
  /** Inodes that the layer being applied has made, and directories that it named or filled; an opaque mark spares them. */
  private readonly fresh = new BitSet();
  /** Names that the layer gave to existing inodes: `directory inode/name`. */
  private readonly freshLinks = new Set<string>();
  private readonly writer: FileWriter;

  private constructor(
    private readonly inodes: InodeStore,
    private readonly directories: DirectoryCache,
  ) {
    this.writer = new FileWriter(inodes.disk, inodes.allocator);
  }

  /**
   * Opens the filesystem on `disk`, which `formatExt4` must have made and whose journal must be empty. @param reuseFreed whether freed
   * space in the disk's own grains is reused at once
   */
  static async open(disk: DeltaDisk, reuseFreed = false): Promise<WritableExt4> {
    const grain = await disk.load(0);
    const raw = Buffer.from(grain.data.subarray(c.SUPER_OFFSET, c.SUPER_OFFSET + c.SUPER_SIZE));
    const sb = decodeSuperblock(raw, disk.size);
    if (!hasOurFeatures(raw) || sb.inodeSize !== c.INODE_SIZE) {
      throw unsupported('a layer can only be written over a layer this program wrote');
    }
    const allocator = await Allocator.load(disk, sb);
    allocator.reuseFreed = reuseFreed;
    const inodes = new InodeStore(disk, allocator, sb.blocks);
    return new WritableExt4(inodes, new DirectoryCache(inodes, sb.hashSeed));
  }

  private directory(ino: number): Directory | Promise<Directory> {
    return this.directories.cached(ino) ?? this.directories.get(ino);
  }

  /**
   * The directory at `path`. Symlinks are followed inside the root. Missing directories are made with mode 0755 and `time`; if `time` is
   * null, the result is null instead. The target of a dangling link is made too, as Docker does.
   * @param replaceLower whether a directory replaces a file of a layer below, as in Docker, which unpacks each layer separately
   */
  async directoryAt(path: string[], time: Time | null, replaceLower = false): Promise<number | null> {
    let current = c.ROOT_INO;
    // The components that are left, the next one last.
    const rest = [...path].reverse();
    let followed = 0;
    for (let name = rest.pop(); name !== undefined; name = rest.pop()) {
      const directory = await this.directory(current);
      if (name === '..') {
        current = directory.parent;
        continue;
      }
      const packed = directory.entries.get(name);
      if (packed === undefined) {
        if (time === null) return null;
        current = await this.makeDirectory(current, name, implied(time));
        continue;
      }
      const type = typeOf(packed);
      if (type === c.FT_DIR) current = inoOf(packed);
      else if (type === c.FT_SYMLINK) {
        if (++followed > MAX_SYMLINKS) throw invalid(`too many symbolic links on the way to ${shown(path)}`);
        const target = await this.inodes.readlink(await this.inodes.read(inoOf(packed)));
        if (target.startsWith('/')) current = c.ROOT_INO;
        const parts = target.split('/').filter((part) => part !== '' && part !== '.');
        rest.push(...parts.reverse());
      } else if (time === null) return null;
      else if (replaceLower && !this.fresh.has(inoOf(packed)) && !this.freshLinks.has(`${current}/${name}`)) {
        await this.remove(current, name);
        current = await this.makeDirectory(current, name, implied(time));
      } else throw invalid(`${shown([name])} on the way to ${shown(path)} is not a directory`);
    }
    return current;
  }

  /** What `name` in the directory `parent` is: inode number and `file_type`, or null. */
  async lookup(parent: number, name: string): Promise<{ ino: number; type: number } | null> {
    const packed = (await this.directory(parent)).entries.get(name);
    return packed === undefined ? null : { ino: inoOf(packed), type: typeOf(packed) };
  }

  /** Makes a directory, or gives an existing one new attributes. */
  async putDirectory(parent: number, name: string, attributes: Attributes): Promise<void> {
    const there = await this.lookup(parent, name);
    if (there?.type === c.FT_DIR) {
      await this.markFresh(there.ino);
      return this.setAttributes(there.ino, attributes);
    }
    await this.remove(parent, name);
    await this.makeDirectory(parent, name, attributes);
  }

  private async makeDirectory(parent: number, name: string, attributes: Attributes): Promise<number> {
    checkName(name);
    const inode = Inode.blank(c.S_IFDIR);
    inode.flags = c.FL_EXTENTS;
    inode.links = 2;
    await buildExtentTree(inode.area, [], none, none);
    const ino = await this.addInode(inode, attributes, true);
    await this.directories.add(ino, parent);
    await this.link(parent, name, ino, c.FT_DIR);
    return ino;
  }

  /** Gives new attributes to the root directory. */
  async setRootAttributes(attributes: Attributes): Promise<void> {
    await this.setAttributes(c.ROOT_INO, attributes);
  }

  /** Sets the modification time of the directory `ino`, if it is still one. */
  async touchDirectory(ino: number, time: Time): Promise<void> {
    const inode = await this.inodes.read(ino);
    if (!inode.isDirectory || inode.links === 0) return;
    inode.setTimes(time, inode.atime);
    await this.inodes.write(ino, inode);
  }

  /** Puts a regular file at `name`, replacing what was there. `content` feeds its bytes to the writer. @returns its inode number */
  async putFile(
    parent: number,
    name: string,
    attributes: Attributes,
    content: ((writer: FileWriter) => Promise<void>) | null,
  ): Promise<number> {
    const writer = await this.beginFile(parent, name);
    if (content) await content(writer);
    return this.endFile(parent, name, attributes);
  }

  /** Makes way for a regular file at `name`. Its bytes go to the writer; nothing else may happen before {@link endFile}. */
  async beginFile(parent: number, name: string): Promise<FileWriter> {
    checkName(name);
    await this.remove(parent, name);
    this.writer.begin();
    return this.writer;
  }

  /** Puts the file that was begun at `name`. @returns its inode number */
  async endFile(parent: number, name: string, attributes: Attributes): Promise<number> {
    const { size, extents, blocks } = await this.writer.end();
    const inode = Inode.blank(c.S_IFREG);
    inode.links = 1;
    inode.size = size;
    await this.storeExtents(inode, extents, blocks);
    const ino = await this.addInode(inode, attributes, false);
    await this.link(parent, name, ino, c.FT_REG);
    return ino;
  }

  /** Bytes of the regular file `ino`, `length` from `offset`, in pieces. They are views, valid until the next is asked for. */
  async *content(ino: number, { offset, length }: { offset: number; length: number }): AsyncGenerator<Buffer> {
    const { extents } = await this.inodes.extentsOf(await this.inodes.read(ino));
    for (let at = offset; at < offset + length; ) {
      const within = at % c.BLOCK;
      const bytes = Math.min(c.BLOCK - within, offset + length - at);
      const extent = extentAt(extents, (at - within) / c.BLOCK);
      if (extent === null) yield Buffer.alloc(bytes);
      else {
        const block = await this.inodes.block(extent.start + (at - within) / c.BLOCK - extent.logical);
        yield block.subarray(within, within + bytes);
      }
      at += bytes;
    }
  }

  /** Puts a symlink, device node or fifo at `name`, replacing what was there. */
  async putSpecial(parent: number, name: string, attributes: Attributes, special: Special): Promise<void> {
    checkName(name);
    await this.remove(parent, name);
    let inode: Inode;
    if (special.type === 'symlink') {
      inode = Inode.blank(c.S_IFLNK);
      await this.storeTarget(inode, special.target);
    } else if (special.type === 'fifo') inode = Inode.blank(c.S_IFIFO);
    else {
      inode = Inode.blank(special.type === 'char' ? c.S_IFCHR : c.S_IFBLK);
      inode.setDevice(special.major, special.minor);
    }
    inode.links = 1;
    const type = c.fileTypeOf(inode.mode);
    const ino = await this.addInode(inode, attributes, false);
    await this.link(parent, name, ino, type);
  }

  private async storeTarget(inode: Inode, target: string): Promise<void> {
    if (target === '' || target.length >= c.BLOCK || target.includes('\0')) {
      throw invalid('a symbolic link without a target, or with one of more than 4095 bytes');
    }
    inode.size = target.length;
    if (target.length < 60) {
      inode.area.write(target, 0, 'latin1');
      return;
    }
    const block = Buffer.alloc(c.BLOCK);
    block.write(target, 0, 'latin1');
    const { start } = await this.inodes.allocator.allocateBlocks(1);
    await this.inodes.disk.write(start * c.BLOCK, block);
    await this.storeExtents(inode, [{ logical: 0, start, count: 1 }], 1);
  }

  private async storeExtents(inode: Inode, extents: Extent[], blocks: number): Promise<void> {
    inode.flags |= c.FL_EXTENTS;
    const tree = await buildExtentTree(
      inode.area,
      extents,
      async () => (await this.inodes.allocator.allocateBlocks(1)).start,
      (block, node) => this.inodes.disk.write(block * c.BLOCK, node),
    );
    inode.blocks = blocks + tree;
  }

  /**
   * Makes `name` another name for what is at `targetName` in `targetParent`; `attributes` then apply to both, as in Docker.
   */
  async putLink(
    parent: number,
    name: string,
    targetParent: number,
    targetName: string,
    attributes: Attributes,
  ): Promise<void> {
    checkName(name);
    // First remove what is there, as Docker does; a link to itself then has no target.
    await this.remove(parent, name);
    const target = await this.lookup(targetParent, targetName);
    if (!target) throw invalid(`the hard link ${shown([name])} has no target ${shown([targetName])}`);
    if (target.type === c.FT_DIR) throw invalid(`the hard link ${shown([name])} would name a directory`);
    const inode = await this.inodes.read(target.ino);
    if (inode.links >= c.MAX_LINKS) throw invalid(`a file has more than ${c.MAX_LINKS} names`);
    inode.links += 1;
    await this.dropCapability(inode);
    await this.applyAttributes(inode, attributes);
    await this.inodes.write(target.ino, inode);
    if (!this.fresh.has(target.ino)) this.freshLinks.add(`${parent}/${name}`);
    await this.link(parent, name, target.ino, target.type);
  }

  /** Setting the owner, which every entry does, removes the capabilities of what is no directory, even if the owner stays the same. */
  private async dropCapability(inode: Inode): Promise<void> {
    const xattrs = await this.inodes.xattrs(inode);
    if (xattrs.delete(CAPABILITY)) await this.inodes.setXattrs(inode, xattrs);
  }

  private async setAttributes(ino: number, attributes: Attributes): Promise<void> {
    const inode = await this.inodes.read(ino);
    await this.applyAttributes(inode, attributes);
    await this.inodes.write(ino, inode);
  }

  private async applyAttributes(inode: Inode, attributes: Attributes): Promise<void> {
    const kind = inode.mode & c.S_IFMT;
    if (kind !== c.S_IFLNK) inode.mode = kind | (attributes.mode & 0o7777);
    inode.uid = attributes.uid;
    inode.gid = attributes.gid;
    inode.setTimes(attributes.mtime, attributes.atime);
    const given = this.storable(attributes.xattrs, kind);
    const hasStored = inode.xattrBlock !== 0 || inode.inlineXattrs.readUInt32LE(0) !== 0;
    if (!given && !hasStored) return;
    const xattrs = hasStored ? await this.inodes.xattrs(inode) : new Map<string, Buffer>();
    for (const [name, value] of given ?? []) xattrs.set(name, value);
    const acl = xattrs.get(ACL);
    if (acl) {
      const adapted = aclForMode(acl, attributes.mode);
      if (adapted) xattrs.set(ACL, adapted);
      else xattrs.delete(ACL);
    } else if (!given) return;
    await this.inodes.setXattrs(inode, xattrs);
  }

  /** The attributes that a file of this kind can have: `user.` ones need a regular file or a directory. */
  private storable(xattrs: Xattrs | null, kind: number): Xattrs | null {
    if (!xattrs || xattrs.size === 0) return null;
    const kept: Xattrs = new Map();
    for (const [name, value] of xattrs) {
      const plain = kind === c.S_IFREG || kind === c.S_IFDIR;
      const fits =
        isStorableXattr(name) &&
        (plain || !name.startsWith('user.')) &&
        (kind !== c.S_IFLNK || !name.startsWith('system.'));
      if (fits) kept.set(name, value);
      else this.skippedAttributes++;
    }
    return kept.size > 0 ? kept : null;
  }

  private async addInode(inode: Inode, attributes: Attributes, directory: boolean): Promise<number> {
    if ((inode.mode & c.S_IFMT) === c.S_IFLNK) inode.mode |= 0o777;
    await this.applyAttributes(inode, attributes);
    const ino = await this.inodes.allocator.allocateInode(directory);
    await this.inodes.write(ino, inode);
    this.fresh.add(ino);
    return ino;
  }

  private async link(parent: number, name: string, ino: number, type: number): Promise<void> {
    this.directories.set(await this.directory(parent), name, ino, type);
    await this.markFresh(parent);
  }

  /** Marks a directory and all its parents as containing something from this layer. */
  private async markFresh(ino: number): Promise<void> {
    let current = ino;
    while (!this.fresh.has(current)) {
      this.fresh.add(current);
      current = (await this.directory(current)).parent;
    }
  }

  /** Removes `name` from the directory `parent`, with everything below it. Does nothing if it is not there. */
  async remove(parent: number, name: string): Promise<void> {
    const directory = await this.directory(parent);
    const packed = directory.entries.get(name);
    if (packed === undefined) return;
    this.directories.remove(directory, name);
    if (this.freshLinks.size > 0) this.freshLinks.delete(`${parent}/${name}`);
    if (typeOf(packed) !== c.FT_DIR) return this.unlink(inoOf(packed));
    const pending = [inoOf(packed)];
    for (let ino = pending.pop(); ino !== undefined; ino = pending.pop()) {
      const entries = [...(await this.directory(ino)).entries];
      for (const [child, below] of entries) {
        if (this.freshLinks.size > 0) this.freshLinks.delete(`${ino}/${child}`);
        if (typeOf(below) === c.FT_DIR) pending.push(inoOf(below));
        else await this.unlink(inoOf(below));
      }
      this.directories.forget(ino);
      await this.inodes.free(ino, await this.inodes.read(ino));
      this.fresh.delete(ino);
    }
  }

  private async unlink(ino: number): Promise<void> {
    const inode = await this.inodes.read(ino);
    if (inode.links > 1) {
      inode.links -= 1;
      return this.inodes.write(ino, inode);
    }
    if (this.onLeave !== null && (inode.mode & c.S_IFMT) === c.S_IFREG) await this.onLeave(ino, inode.size);
    await this.inodes.free(ino, inode);
    this.fresh.delete(ino);
  }

  /** Removes from the directory `ino` what lower layers put there; what this layer added stays. */
  async removeLower(ino: number): Promise<void> {
    const pending = [ino];
    for (let current = pending.pop(); current !== undefined; current = pending.pop()) {
      const names = [...(await this.directory(current)).entries];
      for (const [name, packed] of names) {
        const kept = this.fresh.has(inoOf(packed)) || this.freshLinks.has(`${current}/${name}`);
        if (!kept) await this.remove(current, name);
        else if (typeOf(packed) === c.FT_DIR) pending.push(inoOf(packed));
      }
    }
  }

  /** Writes everything that is still in memory to the disk's cache. */
  async flush(): Promise<void> {
    await this.directories.flush();
    await this.inodes.allocator.store();
  }
}

const none = () => Promise.reject(new Error('an empty tree has no nodes'));

/** Attributes of a directory that no entry describes. */
function implied(time: Time): Attributes {
  return { mode: 0o755, uid: 0, gid: 0, mtime: time, atime: time, xattrs: null };
}

/** A path for messages: shortened, UTF-8. */
function shown(path: string[]): string {
  return JSON.stringify(Buffer.from(path.join('/').slice(0, 200), 'latin1').toString());
}
