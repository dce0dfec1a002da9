/**
 * Finds damage in an ext4 filesystem, and changes nothing. One with the features that this program gives a filesystem, which are those of
 * layers, containers and volumes, is looked at as thoroughly as `e2fsck` does it: groups, inodes, directories, link counts, bitmaps. Of any
 * other, the tree is walked.
 */
import { messageOf } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';
import * as c from '../ext4/constants.js';
import { Ext4Filesystem } from '../ext4/filesystem.js';
import { hasOurFeatures } from '../ext4/format.js';
import { decodeSuperblock } from '../ext4/superblock.js';
import { checkBitmaps } from './ext4-bitmaps.js';
import { checkDirectories } from './ext4-directories.js';
import { checkGroups } from './ext4-groups.js';
import { checkInodes } from './ext4-inodes.js';
import { Ext4State } from './ext4-state.js';
import { walkTree } from './ext4-walk.js';
import { Problems } from './problems.js';
import { RecoveredDisk } from './recovered-disk.js';

/** What was found. */
export interface Ext4Verdict {
  /** In words; none: the filesystem is sound. */
  problems: string[];
  /** It was not unmounted: what is judged is what a kernel makes of it when it mounts it. */
  dirty: boolean;
  /** The disk after that, and the blocks that differ from what is on it now; null if it cannot be told. */
  disk: (BlockReader & { changed: readonly number[] }) | null;
  /** Runs of blocks of 4 KiB that hold everything besides the content of files; null if that is not known. */
  metadata: { start: number; count: number }[] | null;
}

/** @throws only what reading the disk throws */
export async function checkExt4(disk: BlockReader): Promise<Ext4Verdict> {
  let filesystem: Ext4Filesystem;
  let recovered: RecoveredDisk;
  try {
    filesystem = await Ext4Filesystem.open(disk);
    recovered = await RecoveredDisk.of(disk, filesystem);
  } catch (error) {
    return { problems: [messageOf(error)], dirty: false, disk: null, metadata: null };
  }
  const dirty = filesystem.needsRecovery;
  const raw = Buffer.from(await recovered.read(c.SUPER_OFFSET, c.SUPER_SIZE));
  if (!hasOurFeatures(raw) || raw.readUInt16LE(88) !== c.INODE_SIZE) {
    const problems = new Problems();
    if (!(raw.readUInt32LE(92) & c.COMPAT_HAS_JOURNAL) && raw.readUInt32LE(224) !== 0)
      problems.add('there is a journal, and the superblock says that there is none');
    await walkTree(filesystem, problems);
    return { problems: problems.list(), dirty, disk: recovered, metadata: null };
  }
  const state = new Ext4State(recovered, decodeSuperblock(raw, disk.size), dirty);
  try {
    await checkGroups(state);
    await checkInodes(state);
    await checkDirectories(state);
    await checkBitmaps(state);
  } catch (error) {
    state.problems.add(messageOf(error));
  }
  return { problems: state.problems.list(), dirty, disk: recovered, metadata: state.metadata };
}
