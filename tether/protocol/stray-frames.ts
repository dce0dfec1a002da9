/** Frames that nobody has asked for: a few are an older or newer tether's, or of sessions of an endpoint before this one. */

/** A frame counts as one, and one more for each so many bytes. */
const BYTES = 256;

/** Counts those of one connection. */
export class StrayFrames {
  private left: number;
  private at = performance.now();

  /** @param burst what may come at once @param perSecond what is granted again in a second */
  constructor(
    private readonly burst = 1000,
    private readonly perSecond = 100,
  ) {
    this.left = burst;
  }

  /** Another one. @param length of its payload @returns why the guest is not listened to any more; null: it is */
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
