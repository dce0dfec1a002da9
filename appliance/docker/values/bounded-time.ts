/** Work on what a client gave us, a regular expression for instance, that must not keep the endpoint for longer than it may. */
import { createContext, Script } from 'node:vm';
import { errnoOf } from '../../../src/common/errors.js';

const context = createContext({ work: () => undefined });
const script = new Script('work()');

/**
 * What `work` gives, or undefined when it took longer than `ms` of processor time: then it was broken off in the middle. It may be begun
 * several times, as on a machine that is busy with other things the time that it is given may be over before it gets to anything.
 * @throws what `work` throws
 */
export function withinTime<T>(ms: number, work: () => T): { value: T } | undefined {
  let value: T | undefined;
  context.work = () => {
    value = work();
  };
  try {
    for (let wallMs = ms; ; wallMs *= 2) {
      const before = process.cpuUsage();
      if (run(wallMs)) return { value: value as T };
      const { user, system } = process.cpuUsage(before);
      if (user + system >= ms * 1000 * MEASURED) return undefined;
    }
  } finally {
    context.work = () => undefined;
  }
}

/** Processor time is measured less exactly than time is. */
const MEASURED = 0.9;

/** @returns false when it took too long */
function run(wallMs: number): boolean {
  try {
    script.runInContext(context, { timeout: wallMs });
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return false;
    throw error;
  }
}
