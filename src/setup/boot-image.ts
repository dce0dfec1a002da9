/** The kernel and initramfs that container VMs boot: Debian's cloud kernel, unpacked into the cache and never installed. */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildInitramfs } from '../../tether/image/build.js';
import { unavailable } from '../common/errors.js';
import { bootImage, cacheDirectory, kernelVersionFile } from '../common/paths.js';
import { step } from './console.js';
import { prepareMemoryLibrary } from './memory-library.js';
import { refreshLists, run } from './packages.js';

/** Meta packages that depend on a small kernel: Debian's, then Ubuntu's. */
const KERNEL_PACKAGES = ['linux-image-cloud-amd64', 'linux-image-virtual', 'linux-image-generic'];

/**
 * Makes `boot/vmlinuz` and `boot/initramfs.cpio` in the cache if they are missing or out of date, and what QEMU needs to resume from
 * snapshots of them.
 * @param options.strict treats compiler warnings as errors
 */
export async function prepareBootImage(options: { strict: boolean }): Promise<void> {
  const cache = cacheDirectory();
  const kernelDir = join(cache, 'kernel');
  const marker = kernelVersionFile();
  let version = await readFile(marker, 'utf8').catch(() => '');
  if (version === '') {
    await refreshLists(false);
    version = await step('Fetching the kernel that container VMs boot', () => fetchKernel(kernelDir));
    await writeFile(marker, version);
  }
  if (!existsSync(bootImage().kernel)) await step('Unpacking the kernel', () => copyKernel(kernelDir, version));
  const outDir = join(cache, 'boot');
  const build = (): Promise<boolean> => buildInitramfs(join(kernelDir, 'modules', version), outDir, options);
  const current = await readFile(join(outDir, 'initramfs.key'), 'utf8').catch(() => '');
  if (current === '') await step('Building the boot image', build);
  else await build();
  await prepareMemoryLibrary(options);
}

/** Kernel compressions by their magic numbers, and what unpacks them. */
const COMPRESSIONS: { magic: Buffer; command: string[] }[] = [
  { magic: Buffer.from([0x02, 0x21, 0x4c, 0x18]), command: ['lz4', '-dc'] },
  { magic: Buffer.from([0x28, 0xb5, 0x2f, 0xfd]), command: ['zstd', '-dcq'] },
  { magic: Buffer.from([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]), command: ['xz', '-dcq', '--single-stream'] },
  { magic: Buffer.from([0x1f, 0x8b, 0x08]), command: ['gzip', '-dcq'] },
];

/**
 * Puts the kernel in its place, unpacked if that succeeds: QEMU starts an ELF kernel by its PVH entry, which spares every boot the firmware
 * and the decompression (0.2 s under emulation).
 */
async function copyKernel(kernelDir: string, version: string): Promise<void> {
  const { kernel } = bootImage();
  await mkdir(join(kernel, '..'), { recursive: true });
  const packed = await readFile(join(kernelDir, `vmlinuz-${version}`));
  await writeFile(kernel, unpackKernel(packed) ?? packed);
}

function unpackKernel(packed: Buffer): Buffer | null {
  for (const { magic, command } of COMPRESSIONS) {
    for (let at = packed.indexOf(magic); at >= 0; at = packed.indexOf(magic, at + 1)) {
      // Data after the compressed part makes the unpacker complain, so only its output counts.
      const { stdout } = spawnSync(command[0]!, command.slice(1), { input: packed.subarray(at), maxBuffer: 256 << 20 });
      if (stdout?.subarray(0, 4).equals(Buffer.from('\x7fELF')) === true) return stdout;
    }
  }
  return null;
}

/** Downloads and unpacks the newest kernel package; returns the kernel's version. */
async function fetchKernel(kernelDir: string): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), 'caisson-kernel-'));
  try {
    for (const meta of KERNEL_PACKAGES) {
      const image = await imagePackage(meta);
      if (image === undefined) continue;
      for (const name of kernelParts(image, await run('apt-cache', ['depends', image]))) await download(name, work);
      const found = await findKernel(join(work, 'root'));
      if (found === null) continue;
      const { version, path } = found;
      await rm(kernelDir, { recursive: true, force: true });
      await mkdir(join(kernelDir, 'modules'), { recursive: true });
      await copyFile(path, join(kernelDir, `vmlinuz-${version}`));
      const moduleDir = await firstExisting([
        join(work, 'root', 'lib', 'modules', version),
        join(work, 'root', 'usr', 'lib', 'modules', version),
      ]);
      await run('cp', ['-r', moduleDir, join(kernelDir, 'modules', version)]);
      return version;
    }
    throw unavailable(
      `None of the kernel packages ${KERNEL_PACKAGES.join(', ')} can be had from this machine's package archive. Check apt's sources and run 'apt-get update'.`,
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * The packages that make up a kernel: Ubuntu has the modules in a package of their own, and Debian from 7.x on has the kernel in one too.
 * @param depends what `apt-cache depends` says of the image's package
 */
export function kernelParts(image: string, depends: string): string[] {
  const parts = [...depends.matchAll(/Depends: (linux-(?:image|binary|modules)-[^\s<>]*\d[^\s<>]*)/g)];
  return [...new Set([image, ...parts.map((match) => match[1]!)])];
}

/** The kernel among unpacked packages: in /boot, or beside its modules. */
async function findKernel(root: string): Promise<{ version: string; path: string } | null> {
  const boot = await readdir(join(root, 'boot')).catch((): string[] => []);
  const name = boot.find((one) => one.startsWith('vmlinuz-'));
  if (name !== undefined) return { version: name.slice('vmlinuz-'.length), path: join(root, 'boot', name) };
  for (const modules of [join(root, 'usr/lib/modules'), join(root, 'lib/modules')])
    for (const version of await readdir(modules).catch((): string[] => []))
      if (existsSync(join(modules, version, 'vmlinuz'))) return { version, path: join(modules, version, 'vmlinuz') };
  return null;
}

/** The versioned kernel package that a meta package depends on. */
async function imagePackage(meta: string): Promise<string | undefined> {
  const depends = await run('apt-cache', ['depends', meta]).catch(() => '');
  return /Depends: (linux-image-\S+)/.exec(depends)?.[1];
}

async function download(name: string, work: string): Promise<void> {
  await run('apt-get', ['download', name], { cwd: work });
  for (const deb of (await readdir(work)).filter((file) => file.endsWith('.deb'))) {
    await run('dpkg', ['-x', join(work, deb), join(work, 'root')]);
    await rm(join(work, deb));
  }
}

async function firstExisting(paths: string[]): Promise<string> {
  for (const path of paths) if ((await readdir(path).catch(() => null)) !== null) return path;
  throw unavailable('the kernel package has no modules');
}
