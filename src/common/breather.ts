/** Keeps long work on the event loop from holding up everything else. */
import { setImmediate as turn } from 'node:timers/promises';

/** Longest time without a turn of the event loop, in ms. */
const BREATH_MS = 10;

/**
 * For loops whose awaits are mostly answered from memory. Such a loop never leaves the microtask queue, and no timer, request or signal
 * is served until it ends. `if (breather.due) await breather.breathe()` in each round lets them in.
 */
export class Breather {
  private since = performance.now();

  /** The loop has run for long enough. */
  get due(): boolean {
    return performance.now() - this.since >= BREATH_MS;
  }

  /** Lets the event loop turn once. */
  async breathe(): Promise<void> {
    await turn();
    this.since = performance.now();
  }
}
