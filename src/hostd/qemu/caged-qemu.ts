/** What the cage of each kind of QEMU contains. */
import type { FileHandle } from 'node:fs/promises';
import { dirname, normalize } from 'node:path';
import { invalid } from '../../common/errors.js';
import { type BootImage, memoryLibrary } from '../../common/paths.js';
import type { VmDefinition } from '../runtime.js';
import type { Caged, Cages } from './cage.js';
import { QEMU } from './capabilities.js';
import { type Acceleration, madeDescriptors, type VmSockets, type VmTap } from './command-line.js';
import { isForeign, socketPorts } from './serial-ports.js';

/** A QEMU to be started. */
export interface QemuStart {
  vm: Pick<VmDefinition, 'moid' | 'cpus' | 'memoryMiB' | 'serials'>;
  /** `boot` and `resume`: a VM of the inventory. The others: see boot snapshots. */
  use: 'boot' | 'resume' | 'spare' | 'make';
  args: string[];
  sockets: VmSockets;
  taps: readonly Pick<VmTap, 'tap'>[];
  logFile: string;
  inherited: readonly FileHandle[];
}

/** Starts QEMUs. */
export type LaunchQemu = (start: QemuStart) => Promise<Caged>;

/**
 * Makes a function that starts QEMUs.
 * @param netns path of the network namespace that they run in, or null for this process's
 * @param runDir contains the endpoints' sockets
 */
export function qemuLauncher(
  cages: Cages,
  {
    boot,
    acceleration,
    netns,
    runDir,
  }: { boot: BootImage; acceleration: Acceleration; netns: string | null; runDir: string },
): LaunchQemu {
  return ({ vm, use, args, sockets, taps, logFile, inherited }) =>
    cages.start([QEMU, ...args], netns, logFile, {
      name: vm.moid,
      cpus: vm.cpus,
      memoryMiB: vm.memoryMiB,
      ...madeDescriptors(sockets, taps),
      files: use === 'boot' || use === 'make' ? [boot.kernel, boot.initramfs] : [],
      connects: use === 'make' || use === 'spare' ? [] : foreignDirectories(vm, runDir),
      inherited,
      sharesMemory: use === 'resume' || use === 'spare',
      ...(use === 'boot' ? {} : { preload: memoryLibrary() }),
      spare: use === 'spare',
      kvm: acceleration === 'kvm',
    });
}

/** Directories of sockets that QEMU connects to itself, with its own rights. */
function foreignDirectories({ serials }: Pick<VmDefinition, 'serials'>, runDir: string): string[] {
  const elsewhere = socketPorts(serials).filter(({ backing }) => isForeign(backing.path, runDir));
  const inRoot = elsewhere.find(({ backing }) => dirname(normalize(backing.path)) === '/');
  // With the root directory visible, QEMU would see the whole machine.
  if (inRoot !== undefined) throw invalid(`the socket ${inRoot.backing.path} is not in a directory of its own`);
  // Everything below the run directory belongs to hostd and the endpoints; no QEMU may see it.
  return [...new Set(elsewhere.map(({ backing }) => dirname(normalize(backing.path))))].filter(
    (path) => !isBelow(path, runDir),
  );
}

/** Whether hostd connects all of the VM's sockets: a spare VM cannot connect to any itself. */
export function connectsBelow({ serials }: Pick<VmDefinition, 'serials'>, runDir: string): boolean {
  return socketPorts(serials).every(({ backing }) => !isForeign(backing.path, runDir));
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}
