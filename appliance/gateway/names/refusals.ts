/** Counts questions that their askers may not ask, and tells of them: the first at once, then what has come together in a while. */
import type { RefusedLookups } from '../../../src/porter/names-table.js';

const TOLD_EVERY_MS = 1000;

export class Refusals {
  private told = -Infinity;
  private open: RefusedLookups | null = null;
  private timer: NodeJS.Timeout | undefined;

  /** @param now in ms */
  constructor(
    private readonly tell: (lookups: RefusedLookups) => void,
    private readonly now: () => number,
  ) {}

  add(asker: string, name: string | null): void {
    this.open = { asker, name: name ?? '', count: (this.open?.count ?? 0) + 1 };
    const left = this.told + TOLD_EVERY_MS - this.now();
    if (left <= 0) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), left);
  }

  private flush(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.told = this.now();
    if (this.open !== null) this.tell(this.open);
    this.open = null;
  }
}
