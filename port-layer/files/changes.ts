/** Compares a container's root with its image by walking both trees side by side. */

import { isFixture, isFixturePath } from './init-layer.js';
import { toText } from './paths.js';
import { type FileEntry, isDirectory, isSymlink } from './root-files.js';
import type { FileChange } from './types.js';

/** One difference. `path` (one character per byte) has no leading slash. */
export interface TreeChange {
  kind: FileChange['kind'];
  path: string;
  /** What is there now; null when it was deleted. */
  entry: FileEntry | null;
}

export interface CompareOptions {
  /** Also report changes that only the inode shows, so that a layer misses nothing. Without it, what `docker diff` shows. */
  exact: boolean;
  /** Both trees are of an image, in which nothing comes from the engine. */
  images?: boolean;
}

/**
 * The differences, in tree order: a directory before its content. What the engine puts into every container (`init-layer.ts`) is left out.
 * A directory counts as modified if only its content changed. A deleted directory comes without its content, a new one with it.
 * @param before and `after`: trees without content, from the root
 */
export async function* compareTrees(
  before: AsyncIterable<FileEntry | Buffer>,
  after: AsyncIterable<FileEntry | Buffer>,
  options: CompareOptions,
): AsyncGenerator<TreeChange> {
  const [left, right] = [new Cursor(before), new Cursor(after)];
  const isOurs = (entry: FileEntry): boolean => options.images !== true && isFixture(entry);
  await Promise.all([left.advance(), right.advance()]);
  /** Directories above the current position that are in both trees, and whether each was already reported. */
  const above: { entry: FileEntry; told: boolean }[] = [];
  const tell = function* (change: TreeChange): Generator<TreeChange> {
    while (above.length > 0 && !isBelow(change.path, above.at(-1)!.entry.path)) above.pop();
    for (const directory of above) {
      if (!directory.told) yield { kind: 'modified', path: directory.entry.path, entry: directory.entry };
      directory.told = true;
    }
    yield change;
  };
  while (left.entry !== null || right.entry !== null) {
    const order = compare(left.entry?.path, right.entry?.path);
    if (order < 0) {
      const { path } = left.entry!;
      yield* tell({ kind: 'deleted', path, entry: null });
      await left.leave();
    } else if (order > 0) {
      const entry = right.entry!;
      if (!isOurs(entry)) yield* tell({ kind: 'added', path: entry.path, entry });
      await right.advance();
    } else {
      const [old, now] = [left.entry!, right.entry!];
      const made = isOurs(now) && !(isDirectory(old) && isDirectory(now));
      const changed = now.path !== '' && !made && differs(old, now, options);
      if (changed) yield* tell({ kind: 'modified', path: now.path, entry: now });
      if (isDirectory(old) && !isDirectory(now)) await left.leave();
      else await left.advance();
      if ((isDirectory(old) || made) && isDirectory(now) && now.path !== '') {
        while (above.length > 0 && !isBelow(now.path, above.at(-1)!.entry.path)) above.pop();
        above.push({ entry: now, told: changed });
      }
      await right.advance();
    }
  }
}

/** A tree, entry by entry. */
class Cursor {
  entry: FileEntry | null = null;
  private readonly iterator: AsyncIterator<FileEntry | Buffer>;

  constructor(tree: AsyncIterable<FileEntry | Buffer>) {
    this.iterator = tree[Symbol.asyncIterator]();
  }

  async advance(): Promise<void> {
    const { value, done } = await this.iterator.next();
    this.entry = done === true || Buffer.isBuffer(value) ? null : value;
  }

  /** Moves on to the next entry that is not below the current one. */
  async leave(): Promise<void> {
    const { path } = this.entry!;
    do await this.advance();
    while (this.entry !== null && isBelow(this.entry.path, path));
  }
}

const isBelow = (path: string, directory: string): boolean => directory === '' || path.startsWith(`${directory}/`);

/** Tree order: a directory first, then its names in byte order. The end of a tree sorts last. */
function compare(a: string | undefined, b: string | undefined): number {
  if (a === undefined || b === undefined) return a === b ? 0 : a === undefined ? 1 : -1;
  const [left, right] = [a.replaceAll('/', '\0'), b.replaceAll('/', '\0')];
  return left === right ? 0 : left < right ? -1 : 1;
}

function differs(old: FileEntry, now: FileEntry, { exact, images = false }: CompareOptions): boolean {
  if (old.mode !== now.mode || old.uid !== now.uid || old.gid !== now.gid) return true;
  if (old.major !== now.major || old.minor !== now.minor) return true;
  // What the init layer puts into a directory does not count as a change to that directory.
  if (isDirectory(now)) return exact && (images || !isFixturePath(now.path)) && !sameTime(old.mtime, now.mtime);
  if (exact && (old.ino !== now.ino || old.ctime.sec !== now.ctime.sec || old.ctime.nsec !== now.ctime.nsec))
    return true;
  if (isSymlink(now) && old.target !== now.target) return true;
  return old.size !== now.size || !sameTime(old.mtime, now.mtime);
}

/** Times from archives have whole seconds only. */
function sameTime(a: FileEntry['mtime'], b: FileEntry['mtime']): boolean {
  return a.sec === b.sec && (a.nsec === b.nsec || a.nsec === 0 || b.nsec === 0);
}

/** As the personality shows it. */
export function shown({ kind, path }: TreeChange): FileChange {
  return { kind, path: `/${toText(path)}` };
}
