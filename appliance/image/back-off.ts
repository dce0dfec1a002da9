/** Waiting before another attempt at a layer, told as Docker does: a line for each second. */
import { setTimeout as sleep } from 'node:timers/promises';
import { layerStatus } from './progress.js';
import { RegistryFailure } from './registry-errors.js';
import type { ProgressMessage } from './types.js';

export interface BackOff {
  /** Of the layer that the lines are about. */
  digest: string;
  /** The wait after the first attempt, in milliseconds; each further one is longer by the same amount. */
  retryDelayMs: number;
  emit(message: ProgressMessage): void;
  signal: AbortSignal;
}

/** @param attempt the one that failed, from 1 @param error what it failed with, perhaps with the time that the server asked for */
export async function backOff(
  { digest, retryDelayMs, emit, signal }: BackOff,
  attempt: number,
  error: unknown,
): Promise<void> {
  const asked = error instanceof RegistryFailure ? error.details.retryAfterMs : undefined;
  let left = asked ?? attempt * retryDelayMs;
  while (left > 0) {
    const seconds = Math.ceil(left / 1000);
    emit(layerStatus(digest, `Retrying in ${seconds} second${seconds === 1 ? '' : 's'}`));
    const step = Math.min(left, 1000);
    await sleep(step, undefined, { signal });
    left -= step;
  }
}
