/**
 * Disks as bytes: VMDK files with parent chains, and the ext4 filesystem inside them.
 *
 * An image layer is a delta VMDK over its parent layer's; the chain holds one ext4 filesystem that grows layer by layer. {@link applyLayer}
 * writes such a delta in user space straight from the layer's tar: no mount, no loop device, no root, no unpacked copy. {@link
 * Ext4Filesystem} reads the result back, including a crashed guest's journal.
 *
 * Relies on: {@link BlockReader} for all reading (a local file, or the port layer's HTTP range requests), one local spool file
 * for writing. Never: opens a network connection, looks at a clock or a random source while writing a layer,
 * or trusts an offset, size or name it was given. {@link ChangedDisk} changes a container's disk while its VM is off.
 */
export {
  type BlockReader,
  CachedBlocks,
  checkRange,
  FileBlocks,
  MemoryBlocks,
  PageCache,
} from './blocks.js';
export { checkExt4, type Ext4Verdict } from './check/ext4-check.js';
export { checkVmdk, type VmdkVerdict } from './check/vmdk-check.js';
export type { FileWriter } from './ext4/file-writer.js';
export {
  type ContentPiece,
  type DirectoryEntry,
  Ext4Filesystem,
  type FileStat,
  type FileType,
} from './ext4/filesystem.js';
export type { TreeGuard } from './ext4/tree-guard.js';
export {
  applyLayer,
  createFilesystem,
  DEFAULT_CAPACITY,
  type FilesystemOptions,
  IMAGE_LABEL,
  type LayerOptions,
  type LayerResult,
} from './layer/apply.js';
export { ChangedDisk } from './layer/changed-disk.js';
export { copyTree } from './layer/copy-tree.js';
export { type FileRange, freedGrains } from './layer/freed-grains.js';
export { RECIPE_VERSION, type RecipeFiles, type RecipeSize, type RecipeSource, tarFromRecipe } from './recipe/index.js';
export { type TarEntry, TarReader } from './tar/reader.js';
export { TAR_END, type TarFields, tarHeader, tarPadding } from './tar/writer.js';
export { type ChainRun, MAX_CHAIN, type OpenFile, VmdkChain } from './vmdk/chain.js';
export { commitDisk } from './vmdk/commit.js';
export { createChild, createEmpty, emptyDiskBytes, newCid } from './vmdk/create.js';
export { decodeDescriptor } from './vmdk/descriptor.js';
export { extendDisk } from './vmdk/extend.js';
export { readVmdkInfo, VmdkExtent, type VmdkInfo } from './vmdk/extent.js';
export { diskGrains, writeDisk } from './vmdk/from-grains.js';
export { writeContentId, writeDescriptor } from './vmdk/head.js';
export { DESCRIPTOR_SECTORS, decodeHeader, GRAIN_BYTES, SECTOR } from './vmdk/header.js';
export { readVmdkIdentity, type VmdkIdentity, vmdkDifference } from './vmdk/identity.js';
export { type DiskGrain, readVmdkStream, VMDK_HEAD, vmdkKind, writeVmdkStream } from './vmdk/stream.js';
export { checkTablesFit } from './vmdk/tables.js';
