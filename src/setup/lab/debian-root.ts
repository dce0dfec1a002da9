/** Roots of Debian releases, made by debootstrap and kept, to run Caisson on other releases than this machine's. */
import { existsSync, readFileSync } from 'node:fs';
import { copyFile, cp, mkdir, readdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { unavailable } from '../../common/errors.js';
import { step } from '../console.js';
import { RUN_PACKAGES, run } from '../packages.js';
import { archive } from './apt-archive.js';

/** What the tests also need there. The docker CLI and, if possible, Node.js come from this machine. */
const LAB_PACKAGES = [
  ...RUN_PACKAGES,
  'busybox-static',
  'ca-certificates',
  'docker-registry',
  'e2fsprogs',
  'libatomic1',
  'procps',
  'qemu-utils',
];
const PROJECT = '/opt/caisson';

/** Whether this machine runs Debian, since roots are made from its archive; see os-release(5). */
export function onDebian(): boolean {
  const about = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
  return /^ID="?debian"?$/m.test(about);
}

/** A root that exists. */
export interface DebianRoot {
  suite: string;
  path: string;
}

/**
 * Makes the root of a release, unless it already exists with all packages.
 * @param directory where roots are kept
 * @param more packages in addition to those that Caisson and its tests need
 * @throws unavailable with debootstrap's message
 */
export async function debianRoot(
  directory: string,
  suite: string,
  name = suite,
  more: string[] = [],
): Promise<DebianRoot> {
  const packages = [...LAB_PACKAGES, ...more, ...((await nodeStandsAlone()) ? [] : ['nodejs'])].sort();
  const path = join(directory, name);
  const stamp = join(directory, `${name}.packages`);
  const wanted = packages.join('\n');
  if (existsSync(path) && (await readFile(stamp, 'utf8').catch(() => '')) === wanted) return { suite, path };
  await mkdir(directory, { recursive: true });
  await rm(stamp, { force: true });
  await rm(path, { recursive: true, force: true });
  await step(`Making a root of Debian ${suite} (debootstrap)`, async () => {
    const aside = `${path}.new`;
    await rm(aside, { recursive: true, force: true });
    const what = ['--variant=minbase', `--include=${packages.join(',')}`, suite, aside, await archive()];
    // Its processes and mounts go away when it ends, or when this program does; leftover files are removed the next time.
    await run('setpriv', [
      ...['--pdeathsig', 'KILL', 'unshare', '-m', '-p', '-f', '--kill-child', '--mount-proc'],
      ...['debootstrap', ...what],
    ]);
    await rm(join(aside, 'var/cache/apt/archives'), { recursive: true, force: true });
    // The archive may be a frozen copy, whose files have expired.
    await writeFile(join(aside, 'etc/apt/apt.conf.d/99lab'), 'Acquire::Check-Valid-Until "false";\n');
    await rename(aside, path);
    await writeFile(stamp, wanted);
  });
  return { suite, path };
}

/** Puts Node.js, the docker CLI and this project (built, and with its dependencies) into a root. */
export async function furnish(root: DebianRoot, project: string): Promise<void> {
  const bin = join(root.path, 'usr/local/bin');
  await mkdir(bin, { recursive: true });
  const node = join(bin, 'node');
  if (await nodeStandsAlone()) await copyFile(await realpath(process.execPath), node);
  else await rm(node, { force: true });
  await copyFile(await realpath(findProgram('docker')), join(bin, 'docker'));
  const target = join(root.path, PROJECT);
  await rm(target, { recursive: true, force: true });
  await mkdir(target, { recursive: true });
  for (const name of await readdir(project))
    if (name !== '.git') await cp(join(project, name), join(target, name), { recursive: true, verbatimSymlinks: true });
}

/**
 * Whether this machine's Node.js runs on its own. Debian's package has most of it in libraries of that release; a root then gets its own
 * package.
 */
async function nodeStandsAlone(): Promise<boolean> {
  return !/\blibnode\./.test(await run('ldd', [process.execPath]));
}

/** Where the project is in a root. */
export const projectInRoot = PROJECT;

function findProgram(name: string): string {
  const found = (process.env.PATH ?? '')
    .split(delimiter)
    .map((directory) => join(directory, name))
    .find((path) => existsSync(path));
  if (found === undefined) throw unavailable(`${name} is not in PATH`);
  return found;
}

/** Where roots are kept. @param cacheDir the project's cache */
export function rootsDirectory(cacheDir: string): string {
  return join(cacheDir, 'releases');
}
