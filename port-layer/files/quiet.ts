/** Bounds a walk through files: it may go on as long as something keeps arriving. */

import { PortLayerError } from '../errors.js';
import type { LookPatience } from '../interaction/patience.js';

const LOOK_MS = 250;

/** Aborts when nothing has arrived for too long. Its owner must {@link close} it. */
export class Quiet {
  private readonly abort = new AbortController();
  private began = performance.now();
  private seenAt = this.began;
  private readonly timer: NodeJS.Timeout;
  private readonly onAbort = (): void => this.abort.abort(this.outer?.reason);

  /**
   * @param what what is given up, for the error: "the size of container …"
   * @param heard when the side that reads (the guest, or a process of ours) was last heard from, as of `performance.now()`; also asks a
   *   guest for a sign of life. Infinity: its turn has not come yet, and the time does not count
   */
  constructor(
    private readonly what: string,
    private readonly patience: LookPatience,
    private readonly heard: () => number,
    private readonly outer?: AbortSignal,
  ) {
    this.timer = setInterval(() => this.look(), LOOK_MS);
    outer?.addEventListener('abort', this.onAbort, { once: true });
    if (outer?.aborted) this.onAbort();
  }

  get signal(): AbortSignal {
    return this.abort.signal;
  }

  /** Passes on what arrives, and notes when. */
  async *noting<T>(parts: AsyncIterable<T>): AsyncGenerator<T> {
    for await (const part of parts) {
      this.seenAt = performance.now();
      yield part;
    }
  }

  /** Runs the body. @throws timeout once it is given up, whatever the body is waiting for */
  async run<T>(body: () => Promise<T>): Promise<T> {
    let onAbort = (): void => undefined;
    const over = new Promise<never>((_, reject) => {
      onAbort = () => reject(this.signal.reason);
      if (this.signal.aborted) onAbort();
      else this.signal.addEventListener('abort', onAbort, { once: true });
    });
    over.catch(() => undefined);
    try {
      const result = body();
      result.catch(() => undefined);
      return await Promise.race([result, over]);
    } finally {
      this.signal.removeEventListener('abort', onAbort);
    }
  }

  close(): void {
    clearInterval(this.timer);
    this.outer?.removeEventListener('abort', this.onAbort);
  }

  private look(): void {
    const now = performance.now();
    if (this.heard() === Number.POSITIVE_INFINITY) {
      this.began = now;
      this.seenAt = now;
      return;
    }
    const quiet = now - this.seenAt;
    const { silenceMs, quietMs, mostMs } = this.patience;
    if (now - this.began < mostMs && quiet < silenceMs / 4) return;
    const silent = Math.min(quiet, now - this.heard());
    if (silent < silenceMs && quiet < quietMs && now - this.began < mostMs) return;
    this.abort.abort(
      new PortLayerError('files.tooLate', { what: this.what, seconds: Math.round((now - this.began) / 1000) }),
    );
  }
}
