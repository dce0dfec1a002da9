/**
 * How long to wait before a process that has ended is started again: not at all once it has run for a while, since whoever uses it waits
 * too, nor the first times that it ends soon, which may be chance; longer and longer if it keeps ending soon, since it would do nothing
 * but start.
 */

/** A process that has run for so long did not end because of how it starts. */
const LASTING_MS = 2000;
/** So many early ends in a row may be chance. */
const CHANCE = 2;

export class RestartPause {
  private next: number;
  private early = 0;

  /**
   * @param firstMs after the first early end that is no chance; twice as long after the next one, and so on
   * @param mostMs and never longer than this
   */
  constructor(
    private readonly firstMs: number,
    private readonly mostMs: number,
    private readonly chance = CHANCE,
  ) {
    this.next = firstMs;
  }

  /** @param ranMs how long it has run @returns ms */
  after(ranMs: number): number {
    if (ranMs >= LASTING_MS) {
      this.next = this.firstMs;
      this.early = 0;
      return 0;
    }
    if (this.early++ < this.chance) return 0;
    const pause = this.next;
    this.next = Math.min(pause * 2, this.mostMs);
    return pause;
  }
}
