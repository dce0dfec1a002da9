/** Limits how many things happen at once. First come, first served. */
import { unlessAborted } from './unless-aborted.js';

export class Semaphore {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(count: number) {
    this.#free = count;
  }

  /** True when {@link run} would not have to wait. */
  get available(): boolean {
    return this.#free > 0;
  }

  /** How many wait for a place. */
  get waiting(): number {
    return this.#waiting.length;
  }

  /** Runs `body` when there is room. @throws what `body` throws, or the signal's reason if it fires while waiting */
  async run<T>(body: () => Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.acquire(signal);
    try {
      return await body();
    } finally {
      this.release();
    }
  }

  /** Takes a place, to be given back by {@link release}. @throws the signal's reason if it fires while waiting */
  async acquire(signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    if (this.#free > 0) {
      this.#free--;
      return;
    }
    let grant!: () => void;
    const granted = new Promise<void>((resolve) => {
      grant = resolve;
    });
    this.#waiting.push(grant);
    if (!signal) return granted;
    try {
      await unlessAborted(granted, signal);
    } catch (error) {
      const index = this.#waiting.indexOf(grant);
      // No longer in the queue: the place was granted in the same turn and must be passed on.
      if (index < 0) this.release();
      else this.#waiting.splice(index, 1);
      throw error;
    }
  }

  /** Gives a place back. */
  release(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#free++;
  }
}
