/** Keeps a file up to date with changing state. */

/** One write at a time; requests that come while one is waiting share it. A failed write does not hinder later ones. */
export class Saver {
  private running: Promise<void> = Promise.resolve();
  private next: Promise<void> | null = null;

  /** @param write writes the state as it is at the time of the call */
  constructor(private readonly write: () => Promise<void>) {}

  /** Resolves when the state as it is now is written. */
  save(): Promise<void> {
    this.next ??= this.queue();
    return this.next;
  }

  /** Resolves when nothing is being written any more, however that ended. */
  async idle(): Promise<void> {
    await this.running;
  }

  private queue(): Promise<void> {
    const turn = this.running.then(() => {
      this.next = null;
      return this.write();
    });
    this.running = turn.catch(() => undefined);
    return turn;
  }
}
