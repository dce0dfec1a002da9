/** Bounds the memory for output that readers have not read yet: per container, and for all of them together. */

/** For one container, in bytes: as much as 40 sessions can have in transit. */
const OF_ONE = 16 << 20;
const OF_ALL = 96 << 20;
/** A container that holds less is never paused, however much the others hold. */
const FAIR = 512 * 1024;

/** Something that holds output: a container's channel. */
export interface OutputKeeper {
  /** Stops reading from its guest. */
  pause(): void;
  resume(): void;
}

/** One keeper's share. */
export class OutputShare {
  held = 0;
  paused = false;

  constructor(
    private readonly budget: OutputBudget,
    readonly keeper: OutputKeeper,
  ) {}

  /** So many more bytes are waiting, or fewer if negative. */
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

/** The budget of this process. */
export const outputBudget = new OutputBudget();
