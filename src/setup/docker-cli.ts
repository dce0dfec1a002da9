/** A docker CLI for the tests, on machines that have none: unpacked from Debian's package, without ever installing a daemon. */
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { unavailable } from '../common/errors.js';
import { step } from './console.js';
import { refreshLists, run } from './packages.js';

/**
 * Makes sure that `docker` is on the PATH of this process and its children.
 * @param cacheDir where an unpacked CLI is kept
 */
export async function provideDockerCli(cacheDir: string): Promise<void> {
  const path = (process.env.PATH ?? '').split(delimiter);
  if (path.some((directory) => existsSync(join(directory, 'docker')))) return;
  const directory = join(cacheDir, 'docker-cli');
  if (!existsSync(join(directory, 'docker'))) {
    await refreshLists(false);
    await step('Unpacking a docker CLI for the tests', () => unpack(directory));
  }
  process.env.PATH = [directory, ...path].join(delimiter);
}

async function unpack(directory: string): Promise<void> {
  const work = await mkdtemp(join(tmpdir(), 'caisson-docker-cli-'));
  try {
    // Debian 13 and Ubuntu have the CLI in a package of its own; in Debian 12 it is part of docker.io.
    for (const name of ['docker-cli', 'docker.io']) {
      await run('apt-get', ['download', name], { cwd: work }).catch(() => '');
      for (const deb of (await readdir(work)).filter((file) => file.endsWith('.deb'))) {
        await run('dpkg', ['-x', join(work, deb), join(work, 'root')]);
      }
      const binary = join(work, 'root', 'usr', 'bin', 'docker');
      if (!existsSync(binary)) continue;
      await mkdir(directory, { recursive: true });
      await copyFile(binary, join(directory, 'docker'));
      return;
    }
    throw unavailable('No docker CLI was found: install one (for instance: apt-get install docker.io) and run again.');
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}
