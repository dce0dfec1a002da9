/** One line of progress on a terminal; nothing elsewhere. */
import type { Step } from '../fsck/index.js';

/** So often that it moves, so rarely that it costs nothing. */
const PAUSE_MS = 100;

export class FsckProgress {
  private shown = 0;

  show({ what, done, all }: Step): void {
    const now = Date.now();
    if (!process.stderr.isTTY || now - this.shown < PAUSE_MS) return;
    this.shown = now;
    process.stderr.write(`\r\x1b[KChecking ${what}: ${done} of ${all}`);
  }

  end(): void {
    if (this.shown > 0) process.stderr.write('\r\x1b[K');
  }
}
