/** One line of progress on a terminal; nothing elsewhere. */

/** So often that it moves, so rarely that it costs nothing. */
const PAUSE_MS = 100;

export class ProgressLine {
  private shown = 0;

  show(text: string): void {
    const now = Date.now();
    if (!process.stderr.isTTY || now - this.shown < PAUSE_MS) return;
    this.shown = now;
    process.stderr.write(`\r\x1b[K${text}`);
  }

  /** Takes the line away. */
  end(): void {
    if (this.shown > 0) process.stderr.write('\r\x1b[K');
    this.shown = 0;
  }
}
