/** What a boot snapshot depends on besides the VM's shape. */
import { readFile, realpath, stat } from 'node:fs/promises';
import { cpus } from 'node:os';
import { delimiter, join } from 'node:path';
import { internal } from '../../common/errors.js';
import type { BootImage } from '../../common/paths.js';
import { QEMU } from './capabilities.js';
import type { Acceleration } from './command-line.js';

/** Increase this when the tether's ready point or the meaning of a snapshot's files changes. */
const FORMAT = 3;

/**
 * One string that identifies QEMU's binary, the accelerator (under KVM with the machine's CPU, whose features become the guest's), the
 * kernel and the initramfs.
 * @throws internal if one is missing
 */
export async function snapshotHost(boot: BootImage, acceleration: Acceleration): Promise<string> {
  const files = await Promise.all([await findQemu(), boot.kernel, boot.initramfs].map(describe));
  const cpu = acceleration === 'kvm' ? [cpus()[0]?.model ?? '', await microcode()] : [];
  return JSON.stringify([FORMAT, acceleration, ...cpu, ...files]);
}

async function describe(path: string): Promise<string> {
  const real = await realpath(path);
  const { size, mtimeMs, ino } = await stat(real);
  return `${real} ${size} ${mtimeMs} ${ino}`;
}

async function findQemu(): Promise<string> {
  for (const directory of (process.env.PATH ?? '').split(delimiter)) {
    const path = join(directory, QEMU);
    if (
      await stat(path).then(
        () => true,
        () => false,
      )
    )
      return path;
  }
  throw internal(`${QEMU} is not in PATH`);
}

async function microcode(): Promise<string> {
  const text = await readFile('/proc/cpuinfo', 'utf8').catch(() => '');
  return /^microcode\s*:\s*(.*)$/m.exec(text)?.[1] ?? '';
}
