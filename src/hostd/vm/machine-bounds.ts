/** How much of machines one user may have hostd keep: their configuration is in its memory, and is written anew with each change. */

import { restrictedCaller } from '../access/caller.js';
import { tooMuch } from '../access/holdings.js';
import type { VmConfig } from './vm-config.js';
import type { MachineList } from './vm-host.js';

/** A container's program alone may have 8 MiB, its specification as much. */
const MAX_MACHINE_BYTES = 24 * 2 ** 20;
/** Of all machines in one pool together; a container's takes some 10 KiB. */
const MAX_POOL_BYTES = 128 * 2 ** 20;
/** The most machines in one pool. */
const MAX_MACHINES = 5000;
/** What a key takes besides its text. */
const KEY_BYTES = 128;
const MACHINE_BYTES = 2048;
const MAX_ANNOTATION = 64 * 1024;

/** Of configurations that are not changed any more, but for what their guests set, which is little. */
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
 * Refuses a configuration that is too large for a user who is no administrator, or one machine too many.
 * @param machines of the host @param pool of the machine @param before what is replaced by it @throws LimitExceeded
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
