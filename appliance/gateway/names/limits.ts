/** How much one asker may ask: what it does must not keep the others from being answered. */

/** Seconds' worth of questions that may come at once. */
const BURST = 2;
/** Askers that are remembered. One that is forgotten begins anew. */
const MAX_ASKERS = 4096;

export class RateLimit {
  private readonly askers = new Map<string, { left: number; at: number }>();

  /** @param perSecond how many each may ask, in the long run */
  constructor(private readonly perSecond: number) {}

  /** Whether this one may ask once more. @param now in ms */
  allows(asker: string, now: number): boolean {
    const most = this.perSecond * BURST;
    let one = this.askers.get(asker);
    if (one === undefined) {
      const oldest = this.askers.size < MAX_ASKERS ? undefined : this.askers.keys().next().value;
      if (oldest !== undefined) this.askers.delete(oldest);
      one = { left: most, at: now };
      this.askers.set(asker, one);
    }
    one.left = Math.min(most, one.left + (Math.max(0, now - one.at) * this.perSecond) / 1000);
    one.at = now;
    if (one.left < 1) return false;
    one.left--;
    return true;
  }
}

/** How much one asker, and all of them, may have under way. */
export class Shares {
  private readonly held = new Map<string, number>();
  private all = 0;

  constructor(
    private readonly each: number,
    private readonly total: number,
  ) {}

  /** Takes one. @returns gives it back, once; null: there is none left */
  take(asker: string): (() => void) | null {
    const own = this.held.get(asker) ?? 0;
    if (own >= this.each || this.all >= this.total) return null;
    this.held.set(asker, own + 1);
    this.all++;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.all--;
      const left = this.held.get(asker)! - 1;
      if (left === 0) this.held.delete(asker);
      else this.held.set(asker, left);
    };
  }
}
