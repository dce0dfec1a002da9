/**
 * Admission control: a VM is powered on only if the machine can carry it. VM memory is backed only once it is touched, and given back when
 * freed, so the machine may be overcommitted; what counts is the memory that is really free.
 */
import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { insufficientResources } from '../common/errors.js';

/** What a VM takes before its container does anything: the kernel, the tether, and QEMU's own memory. */
const START_MIB = 160;
/** Kept free for the machine itself. */
const RESERVE_MIB = 512;

/** The machine's memory in MiB. */
export interface MachineMemory {
  totalMiB: number;
  availableMiB: number;
}

/** Reads /proc/meminfo. */
export function machineMemory(): MachineMemory {
  const text = readFileSync('/proc/meminfo', 'utf8');
  const read = (name: string): number =>
    Math.floor(Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1024);
  return { totalMiB: read('MemTotal'), availableMiB: read('MemAvailable') };
}

/**
 * @param startingMiB what VMs that are just being started have not taken yet
 * @throws insufficientResources with the numbers and what to do
 */
export function admit(
  vm: { name: string; cpus: number; memoryMiB: number },
  startingMiB: number,
  memory = machineMemory(),
  processors = cpus().length,
): void {
  if (vm.memoryMiB > memory.totalMiB) {
    throw insufficientResources(
      `VM ${vm.name} wants ${vm.memoryMiB} MiB of memory and this machine has ${memory.totalMiB} MiB: give it less (docker run -m)`,
    );
  }
  const most = Math.max(8, processors * 8);
  if (vm.cpus > most) {
    throw insufficientResources(
      `VM ${vm.name} wants ${vm.cpus} CPUs; this machine with ${processors} carries VMs of at most ${most}: give it fewer (docker run --cpus)`,
    );
  }
  const free = memory.availableMiB - startingMiB - RESERVE_MIB;
  if (free < START_MIB) {
    throw insufficientResources(
      `not enough memory to start VM ${vm.name}: ${memory.availableMiB} MiB are free, of which ${RESERVE_MIB + startingMiB} MiB are kept for the machine and VMs being started, and a VM needs ${START_MIB} MiB to start. Stop some containers, or add memory`,
    );
  }
}

/** Memory to count for a VM that is being started. */
export const STARTING_VM_MIB = START_MIB;
/** With less than this free, no spare VM is kept: the rest is for VMs that somebody wants. */
export const SPARE_RESERVE_MIB = RESERVE_MIB + 4 * START_MIB;
