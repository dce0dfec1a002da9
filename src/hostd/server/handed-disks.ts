/**
 * Disks that an endpoint of this machine hands over: it has written one to its spool directory, and the host copies it into the datastore.
 * That is for the kernel to do, without each byte going through two programs and a socket between them.
 *
 * The host is root and the file is the endpoint's, so what is copied is the file that was opened and looked at, whatever its path leads to
 * later. Whoever names a file must know its name, which is random; only its owner can list it.
 */
import { constants } from 'node:fs';
import { chmod, copyFile, lstat, open, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';
import { forbidden, invalid } from '../../common/errors.js';
import { spoolDirectory } from '../../common/paths.js';
import { putWhole } from './uploads.js';

/** `<id of the virtual container host>/disks/<name>`. The name has at least 64 bits that nobody can guess. */
const HANDED = /^([0-9a-f]{1,64})\/(disks\/[a-z0-9-]*[0-9a-f]{16}\.vmdk)$/;
/** No link, and no waiting for the other end of a pipe. */
const AS_IT_IS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/**
 * Puts a copy of a handed disk at `path`, as a whole or not at all.
 * @param source see {@link HANDED}
 * @returns whether there was a file at that place
 * @throws invalid, forbidden for a file that is not an endpoint's; system errors
 */
export async function takeDisk(path: string, source: string): Promise<boolean> {
  const [, id, name] = HANDED.exec(source) ?? [];
  if (id === undefined || name === undefined) throw invalid('no disk of an endpoint is named');
  const directory = spoolDirectory(id);
  const file = await open(join(directory, name), AS_IT_IS);
  try {
    const opened = `/proc/self/fd/${file.fd}`;
    const [found, owner] = [await file.stat(), await lstat(directory)];
    // A directory on the way may have been a link.
    const inside = (await readlink(opened)) === join(await realpath(directory), name);
    if (!inside || !found.isFile() || owner.uid === 0 || found.uid !== owner.uid)
      throw forbidden('the file is not a disk of an endpoint');
    return await putWhole(path, async (partial) => {
      await copyFile(opened, partial, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
      await chmod(partial, 0o644);
    });
  } finally {
    await file.close();
  }
}
