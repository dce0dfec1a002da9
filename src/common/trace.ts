/**
 * Where the time of an operation goes: spans and marks, written to the log at level `trace` with the operation's id, by the endpoint and
 * by hostd alike. `npm run timeline` puts those of a container's run together.
 */
import { logger } from './log.js';

const log = logger('trace');

/** True when anybody will see what is noted. */
export function tracing(): boolean {
  return log.isLevelEnabled('trace');
}

/** Runs `body` and notes how long it took. */
export async function span<T>(name: string, body: () => Promise<T>): Promise<T> {
  if (!tracing()) return body();
  const began = performance.now();
  try {
    return await body();
  } finally {
    log.trace({ span: name, ms: Math.round((performance.now() - began) * 10) / 10 }, 'span');
  }
}

/** Notes that something happened. */
export function mark(name: string): void {
  log.trace({ span: name }, 'mark');
}
