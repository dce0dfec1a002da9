/** Work on what a client gave us, a regular expression for instance, that must not keep the endpoint for longer than it may. */
import { createContext, Script } from 'node:vm';
import { errnoOf } from '../../src/common/errors.js';

const context = createContext({ work: () => undefined });
const script = new Script('work()');

/** What `work` gives, or undefined when it took longer than `ms`: then it was broken off in the middle. @throws what `work` throws */
export function withinTime<T>(ms: number, work: () => T): { value: T } | undefined {
  let value: T | undefined;
  context.work = () => {
    value = work();
  };
  try {
    script.runInContext(context, { timeout: ms });
    return { value: value as T };
  } catch (error) {
    if (errnoOf(error) === 'ERR_SCRIPT_EXECUTION_TIMEOUT') return undefined;
    throw error;
  } finally {
    context.work = () => undefined;
  }
}
