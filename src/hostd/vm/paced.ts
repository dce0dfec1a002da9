/** Carries out an action that a guest triggers, but only so often. */

/**
 * This many may come without a pause, which is enough for what a guest reports when it starts or ends. After that they are {@link EVERY_MS}
 * apart.
 */
const BURST = 10;
const EVERY_MS = 500;

/** Carries out an action at once, or else soon, and then once for everybody who asked meanwhile. */
export class Paced {
  private left = BURST;
  private at = performance.now();
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly act: () => void) {}

  /** Asks for the action: it is carried out within {@link EVERY_MS}. */
  ask(): void {
    if (this.timer !== null) return;
    const now = performance.now();
    this.left = Math.min(BURST, this.left + (now - this.at) / EVERY_MS);
    this.at = now;
    if (this.left >= 1) {
      this.left--;
      this.act();
      return;
    }
    this.timer = setTimeout(() => this.flush(), EVERY_MS * (1 - this.left));
  }

  /** Carries out now whatever is pending. */
  flush(): void {
    if (this.timer === null) return;
    clearTimeout(this.timer);
    this.timer = null;
    const now = performance.now();
    this.left = Math.max(0, Math.min(BURST, this.left + (now - this.at) / EVERY_MS) - 1);
    this.at = now;
    this.act();
  }
}
