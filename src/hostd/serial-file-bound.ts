/**
 * Keeps a VM's output file from growing without bound: extraConfig `caisson.log.keep` says how many bytes of its end are to stay. What
 * is before them is taken out of the file as a hole; the file's size and the places of what it has stay as they are, and the VM, which
 * goes on writing, notices nothing.
 */
import { execFile } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { messageOf } from '../common/errors.js';
import { logger } from '../common/log.js';
import type { VmDefinition, VmHooks } from './runtime.js';

const log = logger('serial');
const KEEP = 'caisson.log.keep';
const EVERY_MS = 2000;
/** Kept besides, and let grow before anything is done. */
const SLACK = 1 << 20;
/** What stat counts in. */
const BLOCK = 512;

/** Takes the beginning out of a file. Needs a filesystem with holes. */
export async function letGo(path: string, keep: number): Promise<void> {
  const { size, blocks } = await stat(path);
  const from = size - keep - SLACK;
  if (from <= 0 || blocks * BLOCK <= keep + 2 * SLACK) return;
  await promisify(execFile)('fallocate', ['--punch-hole', '--offset', '0', '--length', String(from), path]);
}

/** Watches the file of a VM that is about to run, if there is a bound to it, until the VM has exited. @returns hooks to use instead */
export function boundSerialFile(vm: VmDefinition, hooks: VmHooks): { hooks: VmHooks; stop(): void } {
  const keep = Number(vm.extraConfig.get(KEEP) ?? '');
  const backing = vm.serials.map((serial) => serial.backing).find(({ kind }) => kind === 'file');
  if (!(keep > 0) || backing === undefined) return { hooks, stop: () => undefined };
  const { path } = backing;
  let busy = false;
  const timer = setInterval(() => {
    if (busy) return;
    busy = true;
    letGo(path, keep)
      .catch((error: unknown) => {
        clearInterval(timer);
        log.warn({ vm: vm.name, err: messageOf(error) }, 'the output file of a VM cannot be kept small');
      })
      .finally(() => {
        busy = false;
      });
  }, EVERY_MS);
  timer.unref();
  const stop = (): void => clearInterval(timer);
  return {
    stop,
    hooks: {
      infoGet: (key) => hooks.infoGet(key),
      infoSet: (key, value) => hooks.infoSet(key, value),
      stalled: () => hooks.stalled(),
      exited: (exit) => {
        stop();
        hooks.exited(exit);
      },
    },
  };
}
