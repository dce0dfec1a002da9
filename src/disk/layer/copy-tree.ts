/** Copies a directory from one filesystem into another: an image's content into an empty volume. */
import { cancelled } from '../../common/errors.js';
import type { Ext4Filesystem, FileStat } from '../ext4/filesystem.js';
import type { Time } from '../ext4/inode.js';
import type { TreeGuard } from '../ext4/tree-guard.js';
import type { Attributes, WritableExt4 } from '../ext4/writable.js';

/** Follows from the kernel's PATH_MAX: anything deeper has no path. */
const MAX_DEPTH = 2048;

/**
 * Copies the contents of the directory `ino` of `source` to the root of `target`, which gets the directory's owner, mode, times and
 * extended attributes. Hard links stay hard links; sockets are left out. @throws insufficientResources, cancelled, invalid
 */
export async function copyTree(
  source: Ext4Filesystem,
  ino: number,
  target: WritableExt4,
  signal?: AbortSignal,
): Promise<void> {
  await target.setRootAttributes(await attributesOf(source, await source.statInode(ino)));
  await new TreeCopy(source, target, signal).copyInto(ino, target.root, 0);
}

class TreeCopy {
  /** For files with several names, by inode: where their first name was put. */
  private readonly linked = new Map<number, { parent: number; name: string }>();
  private readonly guard: TreeGuard;

  constructor(
    private readonly source: Ext4Filesystem,
    private readonly target: WritableExt4,
    private readonly signal?: AbortSignal,
  ) {
    this.guard = source.treeGuard();
  }

  async copyInto(from: number, to: number, depth: number): Promise<void> {
    if (depth > MAX_DEPTH) return;
    for await (const { rawName, ino } of this.source.readdir(from, this.guard)) {
      if (this.signal?.aborted) throw cancelled('the copy was cancelled');
      await this.copy(ino, to, rawName.toString('latin1'), depth);
    }
  }

  private async copy(ino: number, parent: number, name: string, depth: number): Promise<void> {
    const { source, target } = this;
    const stat = await source.statInode(ino);
    const attributes = await attributesOf(source, stat);
    if (stat.type === 'directory') {
      await target.putDirectory(parent, name, attributes);
      const made = await target.lookup(parent, name);
      if (made !== null) await this.copyInto(ino, made.ino, depth + 1);
      return;
    }
    const first = this.linked.get(ino);
    if (first !== undefined) return target.putLink(parent, name, first.parent, first.name, attributes);
    switch (stat.type) {
      case 'file':
        await target.putFile(parent, name, attributes, async (writer) => {
          for await (const part of source.readFile(ino)) await writer.write(part as Buffer);
        });
        break;
      case 'symlink': {
        const link = (await source.readlink(ino)).toString('latin1');
        await target.putSpecial(parent, name, attributes, { type: 'symlink', target: link });
        break;
      }
      case 'fifo':
        await target.putSpecial(parent, name, attributes, { type: 'fifo' });
        break;
      case 'char':
      case 'block': {
        const { type, major, minor } = stat;
        await target.putSpecial(parent, name, attributes, { type, major, minor });
        break;
      }
      default:
        return;
    }
    if (stat.nlink > 1) this.linked.set(ino, { parent, name });
  }
}

async function attributesOf(source: Ext4Filesystem, stat: FileStat): Promise<Attributes> {
  const { mode, uid, gid, mtime, atime } = stat;
  const xattrs = await source.xattrs(stat.ino);
  return { mode, uid, gid, mtime: time(mtime), atime: time(atime), xattrs: xattrs.size > 0 ? xattrs : null };
}

function time(ns: bigint): Time {
  const nsec = ((ns % 1_000_000_000n) + 1_000_000_000n) % 1_000_000_000n;
  return { sec: Number((ns - nsec) / 1_000_000_000n), nsec: Number(nsec) };
}
