/** Finds damage in an ext4 filesystem. */
import { messageOf } from '../../common/errors.js';
import type { BlockReader } from '../blocks.js';
import { Ext4Filesystem } from '../ext4/filesystem.js';
import { Problems } from './problems.js';

/** What is wrong with the filesystem on `disk`, in words; nothing if it is sound. @throws only what reading the disk throws */
export async function checkExt4(disk: BlockReader): Promise<string[]> {
  const problems = new Problems();
  try {
    const filesystem = await Ext4Filesystem.open(disk);
    const guard = filesystem.treeGuard();
    const open = [filesystem.root];
    const seen = new Set<number>();
    for (let directory = open.pop(); directory !== undefined; directory = open.pop())
      for await (const { ino, name, type } of filesystem.readdir(directory, guard)) {
        try {
          if (seen.has(ino)) continue;
          seen.add(ino);
          const stat = await filesystem.statInode(ino);
          if (stat.type !== type) problems.add(`'${name}' is a ${stat.type}, and its directory says ${type}`);
          await filesystem.xattrs(ino);
          if (stat.type === 'directory') open.push(ino);
          else if (stat.type === 'symlink') await filesystem.readlink(ino);
          else if (stat.type === 'file') for await (const _ of filesystem.layout(ino));
        } catch (error) {
          problems.add(`'${name}' (inode ${ino}): ${messageOf(error)}`);
        }
      }
  } catch (error) {
    problems.add(messageOf(error));
  }
  return problems.list();
}
