/** Layers with programs of this machine's Debian (or Ubuntu) release, unpacked from its packages without running their scripts. */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const BIG = { maxBuffer: 1 << 30 };
/** Only the server's JIT compiler uses them, and it loads them when it is first used. */
const LEFT_OUT = /^lib(llvm|z3)/;
/** What packages bring along for people. */
const FOR_PEOPLE = ['usr/share/doc', 'usr/share/man', 'usr/share/locale', 'usr/share/info', 'usr/share/lintian'];

/**
 * A layer (tar) with the files of these packages and of the libraries that they depend on.
 * @throws Error when a package is not available
 */
export async function packagesLayer(packages: readonly string[]): Promise<Buffer> {
  const work = await mkdtemp(join(tmpdir(), 'caisson-packages-'));
  try {
    const root = join(work, 'root');
    await mkdir(root);
    // As root, apt downloads as a user who may not write here, and warns about it.
    const wanted = [...packages, ...(await librariesOf(packages))];
    await run('apt-get', ['-qq', '-o', 'APT::Sandbox::User=root', 'download', ...wanted], { cwd: work });
    for (const name of await readdir(work))
      if (name.endsWith('.deb')) await run('dpkg-deb', ['-x', name, root], { cwd: work });
    await Promise.all(FOR_PEOPLE.map((path) => rm(join(root, path), { recursive: true, force: true })));
    await run('sh', ['-c', MERGE, 'sh', root]);
    const { stdout } = await run('tar', ['-C', root, '--sort=name', '--numeric-owner', '-c', '.'], {
      ...BIG,
      encoding: 'buffer',
    });
    return stdout;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Packages of older releases have files in /lib and /bin; the image has links there. */
const MERGE = `set -e
cd "$1"
for name in bin sbin lib lib64; do
  [ -d "$name" ] && [ ! -L "$name" ] || continue
  mkdir -p "usr/$name"
  cp -a "$name/." "usr/$name/"
  rm -r "$name"
done`;

async function librariesOf(packages: readonly string[]): Promise<string[]> {
  const only = ['recommends', 'suggests', 'conflicts', 'breaks', 'replaces', 'enhances'].map((what) => `--no-${what}`);
  const { stdout } = await run('apt-cache', ['depends', '--recurse', ...only, ...packages], BIG);
  const names = new Set(stdout.split('\n').filter((line) => /^lib\S+$/.test(line) || line === 'zlib1g'));
  return [...names].filter((name) => !LEFT_OUT.test(name) && !name.includes(':') && !/perl/.test(name));
}
