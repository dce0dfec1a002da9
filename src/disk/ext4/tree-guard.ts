/** Remembers what a walk through a filesystem's directories has seen, since a hostile filesystem may have far more paths than inodes. */
import { invalid } from '../../common/errors.js';
import { BitSet } from './bit-set.js';

/**
 * Refuses what no tree can have: a directory in two places (a hard link to a directory), and blocks that belong to two directories. With it
 * the time of a walk is proportional to the filesystem's directory blocks, whatever they contain. Make one for each walk.
 */
export class TreeGuard {
  private readonly directories = new BitSet();
  private readonly blocks = new BitSet();

  /** Enters the directory `ino`. @throws invalid if the walk has been there already */
  enter(ino: number): void {
    if (this.directories.has(ino)) throw invalid(`damaged ext4: directory ${ino} is in two places`);
    this.directories.add(ino);
  }

  /** Takes a block of a directory, or of its map. @throws invalid if another directory has it */
  take(block: number): void {
    if (this.blocks.has(block)) throw invalid(`damaged ext4: block ${block} belongs to two directories`);
    this.blocks.add(block);
  }
}
