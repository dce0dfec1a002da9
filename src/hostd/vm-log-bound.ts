/** Bounds the log that a VM's process writes while the VM is on, since a guest can make QEMU write to it. */
import { join } from 'node:path';
import { messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import { ENGINE_LOG, keepBounded, QEMU_LOG } from '../common/log-bound.js';
import type { VmDefinition, VmHooks } from './runtime.js';

const log = logger('vm');

/** @returns hooks to use instead, and a way to end it if the VM does not come up */
export function boundVmLog(
  vm: VmDefinition,
  hooks: VmHooks,
  kind: 'qemu' | 'endpoint',
): { hooks: VmHooks; stop(): void } {
  const path = join(vm.directory, `${kind}.log`);
  const bound = keepBounded(path, kind === 'qemu' ? QEMU_LOG : ENGINE_LOG, (error) =>
    log.warn({ vm: vm.name, err: messageOf(error) }, `${kind}.log cannot be kept small`),
  );
  return {
    stop: () => bound.stop(),
    hooks: {
      infoGet: (key) => hooks.infoGet(key),
      infoSet: (key, value) => hooks.infoSet(key, value),
      stalled: () => hooks.stalled(),
      exited: (exit) => {
        bound.stop();
        hooks.exited(exit);
      },
    },
  };
}
