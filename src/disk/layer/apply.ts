import type { Readable } from 'node:stream';
import { unsupported } from '../../common/errors.js';
import type { VmdkChain } from '../vmdk/chain.js';

/** The virtual capacity of the disks of an image store when nothing else is configured: 32 GiB. */
export const DEFAULT_CAPACITY = 32 * 2 ** 30;

/** What {@link applyLayer} needs. */
export interface LayerOptions {
  /** The parent layer's disk, or null for the first layer. Stays open; the caller closes it. */
  parent: VmdkChain | null;
  /** The layer, an uncompressed tar. Read to its very end, also past the end mark, so that a digest over it is complete. */
  tar: Readable;
  /** The local file to make; must not exist. Removed again on failure. */
  outPath: string;
  /** How the new disk names its parent: a path relative to the place where the new disk will finally lie. Null without parent. */
  parentHint: string | null;
  /** Capacity in bytes for the first layer (later ones have their parent's): a multiple of 64 KiB. Default 32 GiB. */
  capacity?: number;
  /** The chain id: everything that would otherwise be random (UUID, hash seed, content id) comes from it. */
  seed: string;
  signal?: AbortSignal;
}

/** What came of a layer. */
export interface LayerResult {
  /** Sum of the sizes of the tar's regular files, in bytes: what Docker calls the size of a layer. */
  size: number;
  /** Number of tar entries, whiteouts included. */
  entries: number;
  /** Length of the file at `outPath` in bytes. */
  bytesWritten: number;
  /** Content id of the new disk, which a child must name. */
  cid: string;
  /** Extended attributes in namespaces ext4 does not store (`system.nfs4_acl`, …), left out as Docker does. */
  skippedAttributes: number;
}

/**
 * Applies one image layer: writes to `outPath` a VMDK that holds what the layer changes in the filesystem of `parent`.
 * The same layer over the same parent gives the same bytes. Errors: `invalid` (a broken or hostile tar),
 * `insufficientResources` (the filesystem is full), `cancelled`.
 */
export async function applyLayer(_options: LayerOptions): Promise<LayerResult> {
  throw unsupported('applyLayer is not there yet');
}

/** Creates at `outPath`, which must not exist, a disk of `capacity` bytes with an empty ext4 filesystem called `label`. */
export async function createFilesystem(_options: {
  outPath: string;
  capacity: number;
  seed: string;
  label: string;
}): Promise<void> {
  throw unsupported('createFilesystem is not there yet');
}
