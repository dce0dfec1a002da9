/** The docker CLI of this machine's Debian (or Ubuntu) release: 20.10 in Debian 12. Unpacked, not installed. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { testCacheDirectory } from '../go.js';

const run = promisify(execFile);

/** Its path. @throws Error when the package is not available */
export async function oldDocker(): Promise<string> {
  const directory = join(testCacheDirectory(), 'old-docker');
  const program = join(directory, 'usr/bin/docker');
  if (existsSync(program)) return program;
  const aside = `${directory}.${randomBytes(4).toString('hex')}`;
  await mkdir(aside, { recursive: true });
  try {
    // As root, apt downloads as a user who may not write here, and warns about it.
    await run('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', 'docker.io'], { cwd: aside });
    const archive = (await readdir(aside)).find((name) => name.endsWith('.deb'));
    if (archive === undefined) throw new Error('apt-get download docker.io gave nothing');
    await run('dpkg-deb', ['-x', archive, '.'], { cwd: aside });
    await rm(join(aside, archive));
    await rename(aside, directory).catch((error: unknown) => {
      // Another test run has created it meanwhile.
      if (!existsSync(program)) throw error;
    });
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
  return program;
}
