/** Saves what changes often: at once after a quiet time, and otherwise once in a while. */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';

const log = logger('policy');
const EVERY_MS = 1000;

export class Savings {
  private timer: NodeJS.Timeout | undefined;
  private last = -Infinity;
  private saving = false;
  private again = false;

  constructor(private readonly save: () => Promise<void>) {}

  /** Something has changed. */
  soon(): void {
    if (this.saving) this.again = true;
    else
      this.timer ??= setTimeout(() => void this.now(), Math.max(0, this.last + EVERY_MS - performance.now())).unref();
  }

  private async now(): Promise<void> {
    this.timer = undefined;
    this.saving = true;
    this.last = performance.now();
    await this.save().catch((error: unknown) => log.warn({ err: messageOf(error) }, 'learned names could not be kept'));
    this.saving = false;
    if (!this.again) return;
    this.again = false;
    this.soon();
  }
}
