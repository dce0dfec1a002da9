/** Files that QEMU opens itself, as an unprivileged user. Set-up may have run with a umask that keeps others from reading them. */
import { chmod, stat } from 'node:fs/promises';
import { errnoOf, messageOf, unavailable } from '../../common/errors.js';

const READABLE = 0o444;

/** Makes them readable for everybody. A missing file is reported by whoever needs it. @throws unavailable if that fails */
export async function makeReadable(paths: string[]): Promise<void> {
  for (const path of paths) {
    try {
      const { mode } = await stat(path);
      if ((mode & READABLE) !== READABLE) await chmod(path, (mode & 0o7777) | READABLE);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') continue;
      throw unavailable(`${path} has to be readable by all users (chmod a+r): ${messageOf(error)}`, error);
    }
  }
}
