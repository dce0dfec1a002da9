/**
 * Where the time of an operation goes: spans and marks, written to the log at level `trace` with the operation's id, by the endpoint and
 * by hostd alike. `npm run timeline` shows those of one container's run.
 */
import { logger } from './log.js';

const log = logger('trace');

/** True when spans and marks are written at all. */
export function tracing(): boolean {
  return log.isLevelEnabled('trace');
}

/** Runs `body` and records how long it took. */
export async function span<T>(name: string, body: () => Promise<T>): Promise<T> {
  if (!tracing()) return body();
  const began = performance.now();
  try {
    return await body();
  } finally {
    log.trace({ span: name, ms: Math.round((performance.now() - began) * 10) / 10 }, 'span');
  }
}

/** Records that something happened. */
export function mark(name: string): void {
  log.trace({ span: name }, 'mark');
}
