/** How far `fsck` is. */
import type { Step } from '../fsck/index.js';
import { ProgressLine } from './progress-line.js';

export class FsckProgress {
  private readonly line = new ProgressLine();

  show({ what, done, all }: Step): void {
    this.line.show(`Checking ${what}: ${done} of ${all}`);
  }

  end(): void {
    this.line.end();
  }
}
