/** Limits how much VM configuration one user may have, since hostd keeps it in memory and writes all of it with each change. */

import { restrictedCaller } from '../access/caller.js';
import { tooMuch } from '../access/holdings.js';
import type { VmConfig } from './vm-config.js';
import type { MachineList } from './vm-host.js';

/** Of one VM: a container's program may take 8 MiB, and its specification as much again. */
const MAX_MACHINE_BYTES = 24 * 2 ** 20;
/** Of all VMs in one pool together; a container normally takes about 10 KiB. */
const MAX_POOL_BYTES = 128 * 2 ** 20;
/** VMs in one pool. */
const MAX_MACHINES = 5000;
/** What a key takes in addition to its text. */
const KEY_BYTES = 128;
const MACHINE_BYTES = 2048;
const MAX_ANNOTATION = 64 * 1024;

/** Sizes of configurations. A configuration never changes, except for what its guest sets, which is little. */
const sizes = new WeakMap<VmConfig, number>();

function sizeOf(config: VmConfig): number {
  let size = sizes.get(config);
  if (size === undefined) {
    size = MACHINE_BYTES + config.annotation.length;
    for (const [key, value] of config.extraConfig) size += KEY_BYTES + key.length + value.length;
    sizes.set(config, size);
  }
  return size;
}

/**
 * Refuses a configuration that is too large, or one VM too many, to users who are not administrators.
 * @param machines of the host @param pool of the machine @param before the configuration it replaces @throws LimitExceeded
 */
export function checkBounds(
  machines: Pick<MachineList, 'withUnfinished'>,
  pool: string,
  before: VmConfig,
  next: VmConfig,
): void {
  if (restrictedCaller() === undefined) return;
  if (next.annotation.length > MAX_ANNOTATION) throw tooMuch(MAX_ANNOTATION, 'an annotation');
  if (sizeOf(next) > MAX_MACHINE_BYTES) throw tooMuch(MAX_MACHINE_BYTES, "a machine's configuration");
  let [count, bytes] = [1, sizeOf(next)];
  for (const vm of machines.withUnfinished()) {
    if (vm.pool.value !== pool || vm.config === before) continue;
    count++;
    bytes += sizeOf(vm.config);
  }
  if (count > MAX_MACHINES) throw tooMuch(MAX_MACHINES, 'the number of machines');
  if (bytes > MAX_POOL_BYTES) throw tooMuch(MAX_POOL_BYTES, 'the configuration of all machines');
}
