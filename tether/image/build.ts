/** Builds the boot image: the tether, compiled, and the kernel modules it loads, as an initramfs. */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { unavailable } from '../../src/common/errors.js';
import { BOOT_MODULES, FILTER_MODULES, NFS_MODULES, SERVER_MODULES } from '../program/steps.js';
import { cHeader, writeCHeader } from './c-header.js';
import { CpioWriter } from './cpio.js';
import { LEAN, leanModule } from './lean-module.js';

const run = promisify(execFile);

/**
 * The drivers of QEMU's virtual devices, in the order in which they are loaded. Those that are built into the kernel have no file and
 * are skipped. Another hypervisor's guest has another list: see `tether/guest/platform.h`.
 */
const MODULES = [
  'virtio_ring',
  'virtio',
  'virtio_pci_modern_dev',
  'virtio_pci_legacy_dev',
  'virtio_pci',
  'virtio_console',
  'virtio_blk',
  'failover',
  'net_failover',
  'virtio_net',
  'virtio_balloon',
];

/** The packet filter of cards that are not trusted with everything. Loaded when a container has one. */
const FILTER = ['nf_tables', 'nft_ct', 'nft_chain_nat', 'nft_redir', 'nft_fib_inet'];

/** NFS. Loaded when a container has a volume of it. A kernel package without them mounts none. */
const NFS = ['nfs', 'nfsv3', 'nfsv4'];
/** Its server. Loaded when other machines are to mount a volume. */
const SERVER = ['nfsd'];

/** gcc's options for the tether. */
export const COMPILER = [
  '-static',
  '-Os',
  '-s',
  // gcc would copy with `rep movsb`, which QEMU's emulator carries out byte by byte.
  '-fno-builtin-memcpy',
  '-D_GNU_SOURCE',
  '-std=gnu11',
  '-Wall',
  '-Wextra',
];

/** The directory of the C sources: they stay in the source tree when this file is compiled to `dist`. */
export function guestSources(): string {
  const here = fileURLToPath(new URL('.', import.meta.url));
  return join(here.replace(/\/dist\/tether\/image\/$/, '/tether/image/'), '..', 'guest');
}

/**
 * Builds `initramfs.cpio` in `outDir`, unless it was built there from the same sources, constants and modules.
 * @param moduleRoot an unpacked kernel package's `lib/modules/<version>` directory
 * @param options.strict compiler warnings are failures: not for users, whose compiler may know more warnings than ours
 * @returns true when it was built anew
 * @throws unavailable when the compiler fails
 */
export async function buildInitramfs(moduleRoot: string, outDir: string, options = { strict: true }): Promise<boolean> {
  const sources = guestSources();
  const names = (await readdir(sources)).sort();
  const contents = await Promise.all(names.map((name) => readFile(join(sources, name), 'utf8')));
  const wanted = imageKey(moduleRoot, cHeader(), names, contents);
  const image = join(outDir, 'initramfs.cpio');
  const stamp = join(outDir, 'initramfs.key');
  if ((await readFile(stamp, 'utf8').catch(() => '')) === wanted) return false;
  await mkdir(outDir, { recursive: true });
  const archive = new CpioWriter().directory('modules').directory('dev').directory('proc').directory('sys');
  archive.file('init', await compile(sources, names, options.strict), 0o755);
  const found = await findModules(moduleRoot);
  const read = async (name: string): Promise<Buffer | null> => {
    const path = found.get(name);
    return path === undefined ? null : readModule(path);
  };
  const modules = await withDependencies(MODULES, read);
  const filter = await withDependencies(FILTER, read);
  const nfs = await withDependencies(NFS, read);
  const server = await withDependencies(SERVER, read);
  const whole = new Map([...modules, ...filter]);
  for (const [name, bytes] of whole) archive.file(`modules/${name}.ko`, bytes);
  for (const [name, bytes] of new Map([...nfs, ...server]))
    if (!whole.has(name)) archive.file(`modules/${name}.ko`, await leanModule(bytes));
  const list = (names: Iterable<string>): Buffer => Buffer.from([...names].map((name) => `${name}.ko\n`).join(''));
  archive.file(`modules/${BOOT_MODULES}`, list(modules.keys()));
  archive.file(`modules/${FILTER_MODULES}`, list(filter.keys()));
  archive.file(`modules/${NFS_MODULES}`, list(nfs.keys()));
  archive.file(`modules/${SERVER_MODULES}`, list(server.keys()));
  await writeFile(`${image}.new`, archive.bytes());
  await rename(`${image}.new`, image);
  await writeFile(stamp, wanted);
  return true;
}

/** What an image was built of: another key means that it is out of date. @param header the generated C header */
export function imageKey(moduleRoot: string, header: string, names: string[], contents: string[]): string {
  return createHash('sha256')
    .update(JSON.stringify([moduleRoot, MODULES, FILTER, NFS, SERVER, LEAN, COMPILER, header, names, contents]))
    .digest('hex');
}

async function compile(sources: string, names: string[], strict: boolean): Promise<Buffer> {
  const directory = await mkdtemp(join(tmpdir(), 'caisson-tether-'));
  try {
    const out = join(directory, 'tether');
    const files = names.filter((name) => name.endsWith('.c')).map((name) => join(sources, name));
    await writeCHeader(directory);
    await run('gcc', [...COMPILER, ...(strict ? ['-Werror'] : []), `-I${directory}`, '-o', out, ...files]);
    return await readFile(out);
  } catch (error) {
    throw unavailable(`compiling the tether failed: ${(error as { stderr?: string }).stderr ?? String(error)}`, error);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Module files by module name. */
async function findModules(root: string): Promise<Map<string, string>> {
  const files = await readdir(root, { recursive: true });
  const modules = files.filter((file) => /\.ko(\.xz|\.zst|\.gz)?$/.test(file));
  return new Map(
    modules.map((file) => [
      basename(file)
        .replace(/\.ko.*$/, '')
        .replaceAll('-', '_'),
      join(root, file),
    ]),
  );
}

/**
 * Adds the modules that the named ones depend on, in an order in which they can be loaded. Dependencies differ by kernel; each module
 * lists its own, as `depends=a,b` in its section `.modinfo`.
 * @param read a module's bytes; null for one that is built in
 */
export async function withDependencies(
  names: readonly string[],
  read: (name: string) => Promise<Buffer | null>,
): Promise<Map<string, Buffer>> {
  const seen = new Set<string>();
  const ordered = new Map<string, Buffer>();
  const add = async (name: string): Promise<void> => {
    if (seen.has(name)) return;
    seen.add(name);
    const bytes = await read(name);
    if (bytes === null) return;
    const [, needed = ''] = /(?:^|\0)depends=([\w,-]*)\0/.exec(bytes.toString('latin1')) ?? [];
    for (const one of needed.split(',').filter((part) => part !== '')) await add(one.replaceAll('-', '_'));
    ordered.set(name, bytes);
  };
  for (const name of names) await add(name);
  return ordered;
}

/** A module's bytes, decompressed: the guest hands them to the kernel as they are. */
async function readModule(path: string): Promise<Buffer> {
  if (path.endsWith('.ko')) return readFile(path);
  const tool = path.endsWith('.xz') ? 'xz' : path.endsWith('.gz') ? 'gzip' : 'zstd';
  const { stdout } = await run(tool, ['-dcq', path], { encoding: 'buffer', maxBuffer: 64 << 20 });
  return stdout;
}
