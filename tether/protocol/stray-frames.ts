/** Frames that nobody asked for. A few are normal: a tether of another version sends some, and so do sessions of an earlier endpoint. */

/** A frame costs 1, plus 1 for each time this many bytes. */
const BYTES = 256;

/** Counts the stray frames of one connection. */
export class StrayFrames {
  private left: number;
  private at = performance.now();

  /** @param burst the cost allowed at once @param perSecond the cost that is allowed again each second */
  constructor(
    private readonly burst = 1000,
    private readonly perSecond = 100,
  ) {
    this.left = burst;
  }

  /** Counts one. @param length of its payload @returns why to hang up on the guest; null: no reason to */
  take(length: number): string | null {
    const now = performance.now();
    this.left = Math.min(this.burst, this.left + ((now - this.at) / 1000) * this.perSecond);
    this.at = now;
    const cost = 1 + length / BYTES;
    if (this.left < cost) return 'it sent too much that nobody had asked for';
    this.left -= cost;
    return null;
  }
}
