/** Limits how much one call may look up, since hostd does one thing at a time and holds each answer in memory as a whole. */
import { currentCaller } from './caller.js';
import { sizeOf, tooMuch } from './holdings.js';

/** Most objects and properties looked at. Listing a thousand VMs with ten properties each takes 11,000. */
const MAX_STEPS = 100_000;
const MAKING_STEPS = 3;
/** Largest answer. */
const MAX_BYTES = 64 * 2 ** 20;

/** Counts for one call. Administrators and hostd itself are not counted. */
export class Effort {
  private steps = 0;
  private bytes = 0;
  private readonly counts = currentCaller()?.restricted === true;

  /** @throws LimitExceeded */
  step(count = 1): void {
    this.steps += count;
    if (this.counts && this.steps > MAX_STEPS) throw tooMuch(MAX_STEPS, 'what one call looks up');
  }

  /** Counts a property that is about to be computed, which may mean reading files. @throws LimitExceeded */
  make(): void {
    this.step(MAKING_STEPS);
  }

  /** Counts a value that goes into the answer, and returns it. @throws LimitExceeded */
  answer<T>(value: T): T {
    if (!this.counts || value === undefined) return value;
    this.bytes += sizeOf(value, MAX_BYTES);
    if (this.bytes > MAX_BYTES) throw tooMuch(MAX_BYTES, 'what one call answers');
    return value;
  }
}
