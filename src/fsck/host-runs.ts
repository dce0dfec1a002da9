/** Whether the embedded host of a state directory runs. */
import { readFileSync } from 'node:fs';
import type { InstancePaths } from '../common/paths.js';
import { isRunning, type ProcessIdentity } from '../common/process-id.js';
import { jsonOf, textOf } from './store-map.js';

export function hostRuns(paths: InstancePaths): boolean {
  const supervisor = jsonOf(textOf(paths.supervisorFile)) as ProcessIdentity | undefined;
  if (supervisor !== undefined && isRunning(supervisor)) return true;
  const { pid } = (jsonOf(textOf(paths.hostdFile)) ?? {}) as { pid?: unknown };
  if (typeof pid !== 'number') return false;
  try {
    const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
    return args.includes(paths.stateDir) && args.some((arg) => arg.includes('hostd'));
  } catch {
    return false;
  }
}
