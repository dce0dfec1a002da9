/** The ids of a container's user, looked up in its own /etc/passwd and /etc/group. */

import { PortLayerError } from '../errors.js';
import { followLinks } from './paths.js';
import { type FileEntry, FileError, isRegular, type RootFiles } from './root-files.js';

/** Account files are read no further than this. */
const MAX_ACCOUNTS = 1 << 20;
const MAX_ID = 0x7fffffff;

/**
 * User and group id of `user` (`name` or `uid`, each optionally with `:group`); null if none is given.
 * @throws invalid when there is no such user or group
 */
export async function userOf(files: RootFiles, user: string): Promise<{ uid: number; gid: number } | null> {
  if (user === '') return null;
  const [name = '', group] = user.split(':', 2);
  const passwd = await lines(files, '/etc/passwd');
  const account = passwd?.find((fields) => fields[0] === name || (isId(name) && fields[2] === name));
  if (account === undefined && !isId(name))
    throw new PortLayerError('files.unknownUser', {
      user,
      file: 'passwd',
      why: passwd === null ? 'notAFile' : 'noEntry',
    });
  const uid = account === undefined ? Number(name) : id(account[2]);
  if (group === undefined || group === '') return { uid, gid: account === undefined ? 0 : id(account[3]) };
  const groups = await lines(files, '/etc/group');
  const entry = groups?.find((fields) => fields[0] === group);
  if (entry === undefined && !isId(group))
    throw new PortLayerError('files.unknownUser', {
      user,
      file: 'group',
      why: groups === null ? 'notAFile' : 'noEntry',
    });
  return { uid, gid: entry === undefined ? Number(group) : id(entry[2]) };
}

const isId = (text: string): boolean => /^\d{1,10}$/.test(text) && Number(text) <= MAX_ID;
const id = (text: string | undefined): number => (text !== undefined && isId(text) ? Number(text) : 0);

/** A file's lines, split into fields. None if the file is missing; null if it is not a regular file. */
async function lines(files: RootFiles, path: string): Promise<string[][] | null> {
  try {
    let regular = true;
    const parts: Buffer[] = [];
    let size = 0;
    const place = await followLinks(files, path, 'error');
    for await (const part of files.tree(place, { content: true, alone: true })) {
      if (Buffer.isBuffer(part)) {
        size += part.length;
        if (size <= MAX_ACCOUNTS) parts.push(part);
      } else regular = isRegular(part as FileEntry);
    }
    if (!regular) return null;
    return Buffer.concat(parts)
      .toString()
      .split('\n')
      .map((line) => line.split(':'));
  } catch (error) {
    if (error instanceof FileError) return [];
    throw error;
  }
}
