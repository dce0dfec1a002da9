/** What of guests' output may wait in memory for readers that do not read: for each container, and for all of them together. */

/** Bytes of one container; as much as 40 sessions have on the way at most. */
const OF_ONE = 16 << 20;
const OF_ALL = 96 << 20;
/** A container with less is left in peace, however much the others have. */
const FAIR = 512 * 1024;

/** Whoever keeps output: a container's channel. */
export interface OutputKeeper {
  /** Reads no more from its guest. */
  pause(): void;
  resume(): void;
}

/** The part of one keeper. */
export class OutputShare {
  held = 0;
  paused = false;

  constructor(
    private readonly budget: OutputBudget,
    readonly keeper: OutputKeeper,
  ) {}

  /** So many bytes more, or less, wait. */
  add(bytes: number): void {
    this.held += bytes;
    this.budget.changed(this, bytes);
  }
}

/** The budget that keepers share. */
export class OutputBudget {
  total = 0;
  private readonly paused = new Set<OutputShare>();

  constructor(
    private readonly ofAll = OF_ALL,
    private readonly ofOne = OF_ONE,
    private readonly fair = FAIR,
  ) {}

  changed(share: OutputShare, bytes: number): void {
    this.total += bytes;
    if (bytes > 0) {
      if (!share.paused && share.held > this.fair && (share.held > this.ofOne || this.total > this.ofAll)) {
        share.paused = true;
        this.paused.add(share);
        share.keeper.pause();
      }
      return;
    }
    if (share.paused && this.fits(share)) this.resume(share);
    if (this.paused.size > 0 && this.total <= this.ofAll * 0.75)
      for (const one of this.paused) if (this.fits(one)) this.resume(one);
  }

  private fits({ held }: OutputShare): boolean {
    return held <= this.fair / 2 || (held <= this.ofOne * 0.75 && this.total <= this.ofAll * 0.75);
  }

  private resume(share: OutputShare): void {
    share.paused = false;
    this.paused.delete(share);
    share.keeper.resume();
  }
}

/** Of this process. */
export const outputBudget = new OutputBudget();
