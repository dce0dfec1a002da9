/**
 * How long to wait before a process that has ended is started again: not at all once it has run for a while, since whoever uses it waits
 * too; longer and longer if it keeps ending soon, since it would do nothing but start.
 */

/** A process that has run for so long did not end because of how it starts. */
const LASTING_MS = 2000;

export class RestartPause {
  private next: number;

  /** @param firstMs after the first early end; twice as long after the next one, and so on @param mostMs and never longer than this */
  constructor(
    private readonly firstMs: number,
    private readonly mostMs: number,
  ) {
    this.next = firstMs;
  }

  /** @param ranMs how long it has run @returns ms */
  after(ranMs: number): number {
    if (ranMs >= LASTING_MS) {
      this.next = this.firstMs;
      return 0;
    }
    const pause = this.next;
    this.next = Math.min(pause * 2, this.mostMs);
    return pause;
  }
}
