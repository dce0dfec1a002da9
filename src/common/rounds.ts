/** Work that is asked for at any time and done by one at a time. */

/**
 * Does a round of work when it is asked to, and another one when it is asked meanwhile. Nothing asked for is lost, not even in the instant in which a
 * round ends: `working ??= work().finally(() => (working = null))` loses it, since its `finally` runs some microtasks after the last look for work.
 */
export class Rounds {
  private asked = false;
  private running: Promise<void> | null = null;

  /** @param round does whatever there is to do when it is called; an async function */
  constructor(private readonly round: () => Promise<void>) {}

  /** Resolves when there is nothing more to do: by then, a round has begun after this call and ended. @throws what a round throws */
  ask(): Promise<void> {
    this.asked = true;
    this.running ??= this.run();
    return this.running;
  }

  /** Resolves when no round is under way, however the last one ended. */
  async idle(): Promise<void> {
    await this.running?.catch(() => undefined);
  }

  private async run(): Promise<void> {
    try {
      while (this.asked) {
        this.asked = false;
        await this.round();
      }
    } finally {
      // Nothing comes between the last look at `asked` and this.
      this.running = null;
    }
  }
}
