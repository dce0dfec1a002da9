/**
 * Applies an image layer: tar entries and whiteouts become changes to the filesystem in the parent's chain.
 *
 * Memory use is bounded by about 200 MiB, whatever the layer: 64 MiB of grains, 400 000 directory entries, the grain
 * tables (2 MiB for 32 GiB) and what a single file needs (its extents).
 */
import type { Readable } from 'node:stream';
import { cancelled, invalid } from '../../common/errors.js';
import type { FileWriter } from '../ext4/file-writer.js';
import { formatExt4 } from '../ext4/format.js';
import { type Attributes, WritableExt4 } from '../ext4/writable.js';
import { type RecipeFiles, type RecipeSize, RecipeWriter } from '../recipe/index.js';
import { type TarEntry, TarReader } from '../tar/reader.js';
import type { VmdkChain } from '../vmdk/chain.js';
import { newCid } from '../vmdk/create.js';
import { DeltaDisk, type GrowFile } from '../vmdk/delta.js';
import { cleanPath } from './path.js';

/** The virtual capacity of the disks of an image store when nothing else is configured: 32 GiB. */
export const DEFAULT_CAPACITY = 32 * 2 ** 30;
/** The label of an image's filesystem, by which the guest may know it. */
export const IMAGE_LABEL = 'containerfs';

/** What {@link applyLayer} needs. */
export interface LayerOptions {
  /** The parent layer's disk, or null for the first layer. Stays open; the caller closes it. */
  parent: VmdkChain | null;
  /** The layer, an uncompressed tar. It is read to its very end, even past the end mark, so that a digest over it is complete. */
  tar: Readable;
  /** The local file to make; must not exist (`EEXIST`). Removed again on failure. */
  outPath: string;
  /** How the new disk names its parent: a path relative to where the new disk will finally be. Null without a parent. */
  parentHint: string | null;
  /** Capacity in bytes of the first layer, a multiple of 64 KiB (later layers have their parent's). Default 32 GiB. */
  capacity?: number;
  /** The chain id. Everything that would otherwise be random (UUID, hash seed, content id) is derived from it. */
  seed: string;
  /** Asked before the file grows, since it may become far larger than the layer. */
  grow?: GrowFile | undefined;
  /** Asked before the content of an entry is written: its bytes, as they will be in the file. */
  content?: GrowFile | undefined;
  /** Where to write how the tar is made again from the disk; see `src/disk/recipe`. Removed again on failure. */
  recipe?: RecipeFiles | undefined;
  signal?: AbortSignal;
}

/** The result of applying a layer. */
export interface LayerResult {
  /** Total size of the tar's regular files, in bytes: what Docker calls the size of a layer. */
  size: number;
  /** Number of tar entries, whiteouts included. */
  entries: number;
  /** The layer changes nothing: no file was made, and the parent's disk is this layer's too. */
  unchanged: boolean;
  /** Length of the file at `outPath` in bytes. */
  bytesWritten: number;
  /** Content id of the layer's disk, which a child must name. */
  cid: string;
  /** How many extended attributes ext4 cannot store (`system.nfs4_acl`, `user.` on a symlink, …); they are left out, as in Docker. */
  skippedAttributes: number;
  /** The recipe that was asked for. */
  recipe: RecipeSize | null;
}

const WHITEOUT = '.wh.';
const META = '.wh..wh.';
const OPAQUE = '.wh..wh..opq';
/** Where AUFS kept files with several names. Hard links in the layer lead there, but the directory itself is not part of an image. */
const AUFS_LINKS = '.wh..wh.plnk';

/**
 * Applies one image layer: writes to `outPath` a VMDK that holds what the layer changes in the filesystem of `parent`, if it changes
 * anything. The same layer over the same parent gives the same bytes. Errors: `invalid` (a broken or hostile tar), `insufficientResources`
 * (the filesystem is full), `unsupported`, `cancelled`. The stream is destroyed on failure.
 */
export async function applyLayer(options: LayerOptions): Promise<LayerResult> {
  const { parent, tar, signal } = options;
  if ((parent === null) !== (options.parentHint === null)) {
    throw invalid('a layer has both a parent and a path to it, or neither');
  }
  const onAbort = () => tar.destroy(cancelled('the layer was cancelled'));
  signal?.addEventListener('abort', onAbort, { once: true });
  // A stream may fail before it is read, and reading will then report it. Until then an unhandled error event must not end the process.
  tar.on('error', ignoreForNow);
  let disk: DeltaDisk | null = null;
  const recipe = options.recipe ? new RecipeWriter(options.recipe, options.grow) : null;
  try {
    checkAborted(signal);
    const reader = new TarReader(tar, recipe && ((bytes) => recipe.bytes(bytes)));
    let entry = await reader.next();
    if (entry === null && parent !== null) return { ...unchanged(parent, 0, 0), recipe: await finished(recipe) };
    disk = await DeltaDisk.create(
      options.outPath,
      parent,
      parent?.size ?? options.capacity ?? DEFAULT_CAPACITY,
      options.grow,
    );
    if (!parent) await formatExt4(disk, options.seed, IMAGE_LABEL);
    const filesystem = await WritableExt4.open(disk);
    if (recipe !== null)
      filesystem.onLeave = (inode, bytes) => recipe.leaves(inode, bytes, (part) => filesystem.content(inode, part));
    let size = 0;
    let entries = 0;
    for (; entry; entry = await reader.next()) {
      checkAborted(signal);
      entries++;
      size += entry.size;
      if (entry.size > 0) await options.content?.(entry.size);
      await applyEntry(filesystem, entry, reader, recipe);
    }
    // Kept until here for the hard links into it.
    await filesystem.remove(filesystem.root, AUFS_LINKS);
    await filesystem.flush();
    const { skippedAttributes } = filesystem;
    if (parent !== null && (await disk.isUnchanged())) {
      await disk.discard();
      return { ...unchanged(parent, size, entries), skippedAttributes, recipe: await finished(recipe) };
    }
    const cid = newCid(options.seed);
    const bytesWritten = await disk.finish({
      cid,
      parentCid: parent?.info.cid ?? null,
      parentHint: options.parentHint,
    });
    const written = await finished(recipe);
    checkAborted(signal);
    return { size, entries, unchanged: false, bytesWritten, cid, skippedAttributes, recipe: written };
  } catch (error) {
    tar.destroy();
    await disk?.discard();
    await recipe?.discard();
    checkAborted(signal);
    throw error;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    if (!tar.destroyed) tar.off('error', ignoreForNow);
  }
}

const unchanged = (parent: VmdkChain, size: number, entries: number): LayerResult => {
  return { size, entries, unchanged: true, bytesWritten: 0, cid: parent.info.cid, skippedAttributes: 0, recipe: null };
};

const finished = async (recipe: RecipeWriter | null): Promise<RecipeSize | null> => (await recipe?.finish()) ?? null;

const ignoreForNow = (): void => {};

function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw cancelled('the layer was cancelled', signal.reason);
}

async function applyEntry(
  filesystem: WritableExt4,
  entry: TarEntry,
  reader: TarReader,
  recipe: RecipeWriter | null,
): Promise<void> {
  const path = cleanPath(entry.name);
  const attributes: Attributes = {
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtime: entry.mtime,
    atime: entry.atime,
    xattrs: entry.xattrs,
  };
  const name = path.pop();
  if (name === undefined) {
    // The root stays a directory, whatever an entry of that name claims to be.
    if (entry.type === 'directory') await filesystem.setRootAttributes(attributes);
    return;
  }
  // AUFS's own files at the root (".wh..wh.plnk", …) are not part of an image.
  const first = path[0] ?? name;
  if (first === AUFS_LINKS && path.length > 0 && entry.type === 'file') {
    const links = (await filesystem.directoryAt([AUFS_LINKS], entry.mtime)) as number;
    return put(filesystem, links, name, attributes, entry, reader, recipe);
  }
  if (first.startsWith(META) && !(path.length === 0 && first === OPAQUE)) return;
  const parent = (await filesystem.directoryAt(path, entry.mtime, true)) as number;
  if (name === OPAQUE) await filesystem.removeLower(parent);
  else if (name.startsWith(WHITEOUT)) {
    const hidden = name.slice(WHITEOUT.length);
    if (hidden === '' || hidden === '.' || hidden === '..') throw invalid('a whiteout in the layer names nothing');
    await filesystem.remove(parent, hidden);
  } else await put(filesystem, parent, name, attributes, entry, reader, recipe);
}

async function put(
  filesystem: WritableExt4,
  parent: number,
  name: string,
  attributes: Attributes,
  entry: TarEntry,
  reader: TarReader,
  recipe: RecipeWriter | null,
): Promise<void> {
  switch (entry.type) {
    case 'directory':
      return filesystem.putDirectory(parent, name, attributes);
    case 'file': {
      const inode = await filesystem.putFile(parent, name, attributes, (writer) => copyContent(entry, reader, writer));
      return recipe === null ? undefined : tellContent(recipe, inode, entry);
    }
    case 'symlink':
      return filesystem.putSpecial(parent, name, attributes, { type: 'symlink', target: entry.linkName });
    case 'fifo':
      return filesystem.putSpecial(parent, name, attributes, { type: 'fifo' });
    case 'char':
    case 'block': {
      const { type, major, minor } = entry;
      if (major < 0 || major >= 4096 || minor < 0 || minor >= 2 ** 20) {
        throw invalid(`the layer has a device node with impossible numbers ${major}:${minor}`);
      }
      return filesystem.putSpecial(parent, name, attributes, { type, major, minor });
    }
    case 'link': {
      const target = cleanPath(entry.linkName);
      const targetName = target.pop();
      // Looked up only by its last name, as it was kept.
      if (target[0] === AUFS_LINKS) target.splice(1);
      const targetParent = targetName === undefined ? null : await filesystem.directoryAt(target, null);
      if (targetName === undefined || targetParent === null) {
        throw invalid(`a hard link in the layer has no target: ${JSON.stringify(entry.linkName.slice(0, 200))}`);
      }
      return filesystem.putLink(parent, name, targetParent, targetName, attributes);
    }
  }
}

/** Tells what of a file was in the tar. */
function tellContent(recipe: RecipeWriter, inode: number, { parts, size }: TarEntry): Promise<void> | undefined {
  if (parts === null) return recipe.whole(inode, size);
  return recipe.parts(
    inode,
    parts.filter(({ length }) => length > 0),
  );
}

async function copyContent(entry: TarEntry, reader: TarReader, writer: FileWriter): Promise<void> {
  if (!entry.parts) {
    for (let data = await reader.data(); data; data = await reader.data()) await writer.write(data);
    return;
  }
  let position = 0;
  for (const { offset, length } of entry.parts) {
    await writer.skip(offset - position);
    position = offset + length;
    for (let left = length; left > 0; ) {
      const data = (await reader.data(left)) as Buffer;
      await writer.write(data);
      left -= data.length;
    }
  }
  await writer.skip(entry.size - position);
}

/** What {@link createFilesystem} needs. */
export interface FilesystemOptions {
  /** The local file to make; must not exist (`EEXIST`). */
  outPath: string;
  /** Bytes, a multiple of 64 KiB; at least 8 MiB. */
  capacity: number;
  /** UUID and hash seed are derived from it, so it must be unique. */
  seed: string;
  /** At most 16 bytes. */
  label: string;
  /** Called before the file grows. */
  grow?: GrowFile | undefined;
  /** Puts the first content into it. */
  fill?: ((filesystem: WritableExt4) => Promise<void>) | undefined;
}

/**
 * Creates a disk with an ext4 filesystem, for a volume. Takes milliseconds and at most a few MiB, unless it is to be filled.
 * @throws what `fill` throws; nothing is left then
 */
export async function createFilesystem(options: FilesystemOptions): Promise<{ bytesWritten: number; cid: string }> {
  const disk = await DeltaDisk.create(options.outPath, null, options.capacity, options.grow);
  try {
    await formatExt4(disk, options.seed, options.label);
    if (options.fill !== undefined) {
      const filesystem = await WritableExt4.open(disk);
      await options.fill(filesystem);
      await filesystem.flush();
    }
    const cid = newCid(options.seed);
    return { bytesWritten: await disk.finish({ cid, parentCid: null, parentHint: null }), cid };
  } catch (error) {
    await disk.discard();
    throw error;
  }
}
