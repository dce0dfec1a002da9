/** Bounds the time of work on what a client sent, such as a regular expression, so that it cannot keep the endpoint busy. */
import { createContext, Script } from 'node:vm';
import { errnoOf } from '../../../src/common/errors.js';

const context = createContext({ work: () => undefined });
const script = new Script('work()');

/**
 * What `work` returns, or undefined when it took longer than `ms` of processor time and was interrupted. It may be started several times:
 * on a busy machine its time may be over before it gets the processor.
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

/** Processor time is measured less exactly than elapsed time. */
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
