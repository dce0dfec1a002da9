/** Walks a filesystem's tree as a reader of its files does, and tells of what cannot be read. */
import { messageOf } from '../../common/errors.js';
import type { Ext4Filesystem } from '../ext4/filesystem.js';
import type { Problems } from './problems.js';

export async function walkTree(filesystem: Ext4Filesystem, problems: Problems): Promise<void> {
  const guard = filesystem.treeGuard();
  const open = [filesystem.root];
  const seen = new Set<number>();
  for (let directory = open.pop(); directory !== undefined; directory = open.pop())
    try {
      for await (const { ino, name, type } of filesystem.readdir(directory, guard)) {
        if (seen.has(ino)) continue;
        seen.add(ino);
        try {
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
      problems.add(`directory ${directory}: ${messageOf(error)}`);
    }
}
