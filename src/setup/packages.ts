/** The Debian packages that Caisson needs: finds out which are missing, and installs them with apt. */
import { spawn } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { unavailable } from '../common/errors.js';
import { step } from './console.js';

/** Needed to run: QEMU and its firmware, the network tools, a C compiler for the tether, an unpacker for the kernel. */
export const RUN_PACKAGES = ['qemu-system-x86', 'iproute2', 'nftables', 'gcc', 'libc6-dev', 'xz-utils', 'zstd', 'lz4'];

/**
 * Needed to test: independent checkers for disks, image sources, a registry, a vSphere server, and Docker clients that we did not write.
 */
export const TEST_PACKAGES = [
  'qemu-utils',
  'e2fsprogs',
  'busybox-static',
  'docker-registry',
  'golang-go',
  'golang-github-vmware-govmomi-dev',
  'expect',
  'docker-compose',
  'python3-docker',
  'python3-pyvmomi',
  'debootstrap',
];

/** The output of a command. @throws unavailable with its last lines if it fails */
export async function run(
  command: string,
  args: string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...options.env },
      cwd: options.cwd,
    });
    let out = '';
    let all = '';
    child.stdout.on('data', (data: Buffer) => {
      out += data.toString();
      all = (all + data.toString()).slice(-20_000);
    });
    child.stderr.on('data', (data: Buffer) => {
      all = (all + data.toString()).slice(-20_000);
    });
    child.on('error', (error) => reject(unavailable(`cannot run ${command}: ${error.message}`, error)));
    child.on('close', (code) => {
      if (code === 0) resolve(out);
      else
        reject(unavailable(`'${command} ${args.join(' ')}' failed:\n${all.trim().split('\n').slice(-15).join('\n')}`));
    });
  });
}

/** The packages among `names` that are not installed. */
export async function missingPackages(names: string[]): Promise<string[]> {
  // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg's own placeholders
  const listed = await run('dpkg-query', ['-W', '-f', '${Package} ${db:Status-Status}\n']).catch(() => '');
  const installed = new Set(
    listed
      .split('\n')
      .filter((line) => line.endsWith(' installed'))
      .map((line) => line.split(' ')[0]),
  );
  return names.filter((name) => !installed.has(name));
}

/** Refreshes apt's lists if there are none, or always with `force`. */
export async function refreshLists(force: boolean): Promise<void> {
  const lists = '/var/lib/apt/lists';
  const have =
    existsSync(lists) && readdirSync(lists).some((name) => name.endsWith('_Packages') || name.includes('_Packages.'));
  if (have && !force) return;
  await step("Refreshing apt's package lists", () => run('apt-get', ['update', '-o', 'DPkg::Lock::Timeout=120']));
}

/**
 * Installs the packages among `names` that are missing.
 * @throws unavailable, without root or apt, naming the packages and what to do
 */
export async function installPackages(names: string[]): Promise<void> {
  const missing = await missingPackages(names);
  if (missing.length === 0) return;
  const byHand = `apt-get install ${missing.join(' ')}`;
  if (!existsSync('/usr/bin/apt-get')) {
    throw unavailable(
      `Caisson needs these packages: ${missing.join(', ')}. This machine has no apt-get; install them with its own package manager.`,
    );
  }
  if (process.getuid?.() !== 0) {
    throw unavailable(
      `Caisson needs these Debian packages: ${missing.join(', ')}.\nRun this command again as root, or install them first: sudo ${byHand}`,
    );
  }
  await refreshLists(false);
  const install = (): Promise<string> =>
    run('apt-get', ['install', '-y', '--no-install-recommends', '-o', 'DPkg::Lock::Timeout=300', ...missing], {
      env: { DEBIAN_FRONTEND: 'noninteractive' },
    });
  await step(`Installing Debian packages: ${missing.join(', ')}`, async () => {
    try {
      await install();
    } catch {
      // Lists that are older than the archive name files that are gone: refresh them once.
      await run('apt-get', ['update', '-o', 'DPkg::Lock::Timeout=120']);
      await install();
    }
  });
}
