/** A VM with working hardware virtualization: a Debian root as its disk, under QEMU's emulation of a CPU with AMD-V (nested SVM). */
import { spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { chmod, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { unavailable } from '../../common/errors.js';
import { QEMU } from '../../hostd/qemu/capabilities.js';
import { step } from '../console.js';
import { run } from '../packages.js';
import { type DebianRoot, projectInRoot } from './debian-root.js';

const MEMORY_MIB = 5120;
const DISK_BYTES = '8G';
const BEGINS = '=== begins';
const ENDS = '=== ends';

/** The machine's first process: sets the machine up, runs the command, and switches it off. */
const INIT = (command: string): string => `#!/bin/bash
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8
mount -t proc proc /proc; mount -t sysfs sys /sys 2>/dev/null; mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm; mount -t devpts devpts /dev/pts; mount -t tmpfs shm /dev/shm; mount -t tmpfs run /run
mount -t cgroup2 cg /sys/fs/cgroup; mount -o remount,rw /
exec >/dev/console 2>&1 </dev/null
for module in kvm_amd tun bridge veth; do modprobe $module; done
dmesg -n 1; ip link set lo up; hostname kvm; cd ${projectInRoot}
echo '${BEGINS}'; ${command}; echo '${ENDS}' $?
sync; echo o >/proc/sysrq-trigger; sleep 60
`;

/**
 * Boots a machine from a root that has its own kernel, runs a command there and prints its output.
 * @param limitSeconds after which the machine is ended
 * @returns the command's status; 124 if the machine was ended or crashed
 */
export async function runMachine(root: DebianRoot, command: string, limitSeconds: number): Promise<number> {
  const kernel = (await readdir(join(root.path, 'boot')))
    .filter((name) => name.startsWith('vmlinuz-'))
    .sort()
    .at(-1);
  if (kernel === undefined) throw unavailable(`${root.path} has no kernel`);
  const work = await mkdtemp(join(tmpdir(), 'caisson-kvm-machine-'));
  // The disk is large, so it is removed even when interrupted.
  const interrupted = (): void => {
    rmSync(work, { recursive: true, force: true });
    process.exit(124);
  };
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, interrupted);
  const disk = join(work, 'disk');
  try {
    const init = join(root.path, 'init.sh');
    await writeFile(init, INIT(command));
    await chmod(init, 0o755);
    await step("Making the machine's disk", () =>
      run('mke2fs', ['-q', '-t', 'ext4', '-d', root.path, disk, DISK_BYTES]),
    );
    return await boot(root, kernel, disk, limitSeconds);
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, interrupted);
    await rm(work, { recursive: true, force: true });
  }
}

/**
 * Boots the machine. The kernel's check of its timer is off, since it fails on a busy host. A kernel that gives up ends the machine
 * (`-no-reboot`).
 */
async function boot(root: DebianRoot, kernel: string, disk: string, limitSeconds: number): Promise<number> {
  const args = [
    ['-machine', 'q35', '-accel', 'tcg,thread=multi,tb-size=512', '-cpu', 'max,+svm', '-smp', '2'],
    ['-m', `${MEMORY_MIB}M`, '-display', 'none', '-nodefaults', '-no-reboot', '-serial', 'stdio'],
    [
      '-kernel',
      join(root.path, 'boot', kernel),
      '-initrd',
      join(root.path, 'boot', kernel.replace('vmlinuz', 'initrd.img')),
    ],
    [
      '-append',
      'root=/dev/vda rw console=ttyS0 init=/init.sh mitigations=off no_timer_check panic=-1 quiet loglevel=1',
    ],
    ['-drive', `file=${disk},format=raw,if=virtio,cache=unsafe`],
  ];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', QEMU, ...args.flat()], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), limitSeconds * 1000);
  let begun = false;
  let status: number | null = null;
  const before: string[] = [];
  createInterface({ input: child.stdout }).on('line', (text) => {
    const line = text.replaceAll('\r', '');
    const end = line.startsWith(`${ENDS} `) ? Number(line.slice(ENDS.length)) : null;
    if (end !== null) status = end;
    else if (line.includes(BEGINS)) begun = true;
    else if (begun && status === null) process.stdout.write(`${line}\n`);
    else if (!begun) before.push(line);
  });
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('error', reject);
      child.once('close', () => resolve());
    });
  } finally {
    clearTimeout(timer);
  }
  if (!begun) process.stderr.write(`The machine did not boot:\n${before.slice(-20).join('\n')}\n`);
  return status ?? 124;
}
