/**
 * Keeps a VM's output file from growing without bound: extraConfig `caisson.log.keep` says how many bytes at its end to keep. What comes
 * before them becomes a hole in the file. Its size and all offsets stay the same, so the VM can keep writing and notices nothing.
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
/** How much more than that is kept, and how much the file may grow before anything is done. */
const SLACK = 1 << 20;
/** The unit of `stat.blocks`, in bytes. */
const BLOCK = 512;

/** Turns the beginning of a file into a hole. Needs a filesystem with holes. */
export async function letGo(path: string, keep: number): Promise<void> {
  const { size, blocks } = await stat(path);
  const from = size - keep - SLACK;
  if (from <= 0 || blocks * BLOCK <= keep + 2 * SLACK) return;
  await promisify(execFile)('fallocate', ['--punch-hole', '--offset', '0', '--length', String(from), path]);
}

/** Watches the file of a VM that is about to run, if it has a bound, until the VM has exited. @returns hooks to use instead */
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
