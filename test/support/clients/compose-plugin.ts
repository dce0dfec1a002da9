/** Docker Compose v2, the CLI's plugin: from Debian's newest release, or this machine's on Ubuntu. Unpacked, not installed. */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { archive } from '../../../src/setup/lab/apt-archive.js';
import { onDebian } from '../../../src/setup/lab/debian-root.js';
import { testCacheDirectory } from '../go.js';

const run = promisify(execFile);
const SUITE = 'sid';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const PLACES = ['usr/libexec/docker/cli-plugins', 'usr/lib/docker/cli-plugins'];

/** Adds the plugin to a CLI's configuration directory (`DOCKER_CONFIG`). @throws Error when the package is not available */
export async function addComposePlugin(dockerConfig: string): Promise<void> {
  const plugins = join(dockerConfig, 'cli-plugins');
  await mkdir(plugins, { recursive: true });
  await symlink(await composePlugin(), join(plugins, 'docker-compose'));
}

async function composePlugin(): Promise<string> {
  const directory = join(testCacheDirectory(), 'compose-plugin');
  if (!existsSync(directory)) {
    const aside = `${directory}.${randomBytes(4).toString('hex')}`;
    await mkdir(aside, { recursive: true });
    try {
      const [options, name] = onDebian() ? [await newestRelease(aside), 'docker-compose'] : [[], 'docker-compose-v2'];
      // As root, apt downloads as a user who may not write here, and warns about it.
      const apt = ['-qq', '-o', 'APT::Sandbox::User=root', ...options];
      if (options.length > 0) await run('apt-get', [...apt, 'update'], { cwd: aside });
      await run('apt-get', [...apt, 'download', name], { cwd: aside });
      const deb = (await readdir(aside)).find((file) => file.endsWith('.deb'));
      if (deb === undefined) throw new Error(`apt-get download ${name} gave nothing`);
      await run('dpkg-deb', ['-x', deb, '.'], { cwd: aside });
      await Promise.all([deb, 'apt'].map((left) => rm(join(aside, left), { recursive: true, force: true })));
      await rename(aside, directory).catch((error: unknown) => {
        // Another test run has made it meanwhile.
        if (!existsSync(directory)) throw error;
      });
    } finally {
      await rm(aside, { recursive: true, force: true });
    }
  }
  const found = PLACES.map((place) => join(directory, place, 'docker-compose')).find((path) => existsSync(path));
  if (found === undefined) throw new Error('the package of Docker Compose has no plugin');
  return found;
}

/** apt's options for the newest release, with lists of its own: this machine's stay as they are. */
async function newestRelease(work: string): Promise<string[]> {
  const apt = join(work, 'apt');
  for (const name of ['state', 'lists/partial', 'cache/archives/partial'])
    await mkdir(join(apt, name), { recursive: true });
  await writeFile(join(apt, 'status'), '');
  await writeFile(join(apt, 'sources.list'), `deb [signed-by=${KEYRING}] ${await archive()} ${SUITE} main\n`);
  return [
    `Dir::Etc::SourceList=${apt}/sources.list`,
    'Dir::Etc::SourceParts=/dev/null',
    `Dir::State=${apt}/state`,
    `Dir::State::Lists=${apt}/lists`,
    `Dir::State::status=${apt}/status`,
    `Dir::Cache=${apt}/cache`,
    'Acquire::Languages=none',
  ].flatMap((option) => ['-o', option]);
}
