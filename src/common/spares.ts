/**
 * Keeps a process ready that can replace one when that dies: it has loaded its program and waits (`src/common/standby.ts`). Only the process
 * that starts a spare can give it its turn, and does so after the one before has ended.
 */
import { messageOf } from './errors.js';
import { RestartPause } from './restart-pause.js';

const FIRST_PAUSE_MS = 1000;
const MOST_PAUSE_MS = 60_000;

/** A process, or several that belong together, that stands by. */
export interface Spare {
  /** What it was started with: it can only stand in for what would be started in the same way. */
  readonly key: string;
  /** Called once when it ends, also long after its turn. */
  onEnd(listener: () => void): void;
  /** Ends it. Resolves when it has ended. */
  end(): Promise<void>;
}

/** One spare of a kind. */
export class Spares<S extends Spare> {
  private spare: S | null = null;
  private starting: Promise<void> | null = null;
  private timer: NodeJS.Timeout | null = null;
  private startedAt = 0;
  private closed = false;
  private readonly pause: RestartPause;

  /**
   * @param start starts one; rejects if that is not possible, and is asked again later
   * @param failed told why there is none, for a log
   */
  constructor(
    private readonly start: () => Promise<S>,
    private readonly failed: (why: string) => void,
    firstPauseMs = FIRST_PAUSE_MS,
  ) {
    this.pause = new RestartPause(firstPauseMs, MOST_PAUSE_MS, 0);
  }

  /** The one that stands by. */
  get present(): S | null {
    return this.spare;
  }

  /** Starts one if there is none. @param delayMs when somebody else needs the processor first */
  provide(delayMs = 0): void {
    if (this.closed || this.spare !== null || this.starting !== null || this.timer !== null) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.starting = this.begin().finally(() => {
        this.starting = null;
      });
    }, delayMs);
    this.timer.unref();
  }

  /** None is being started when this resolves, and none will be until {@link provide} is called. */
  async settle(): Promise<void> {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = null;
    await this.starting;
  }

  /**
   * Takes the spare, which is then no longer looked after here.
   * @returns null if there is none, or it was started otherwise: then it has ended when this resolves
   */
  async take(key: string): Promise<S | null> {
    await this.settle();
    const { spare } = this;
    this.spare = null;
    if (spare === null || spare.key === key) return spare;
    await spare.end();
    return null;
  }

  /** Ends the spare, and starts none any more. */
  async close(): Promise<void> {
    this.closed = true;
    const { spare } = this;
    this.spare = null;
    // Told at once: whoever calls this may be about to end.
    await Promise.all([spare?.end(), this.settle()]);
  }

  private async begin(): Promise<void> {
    this.startedAt = performance.now();
    try {
      const spare = await this.start();
      if (this.closed) {
        await spare.end();
        return;
      }
      this.spare = spare;
      spare.onEnd(() => this.ended(spare));
    } catch (error) {
      this.again(messageOf(error));
    }
  }

  private ended(spare: S): void {
    if (this.spare !== spare) return;
    this.spare = null;
    this.again('it has ended');
  }

  private again(why: string): void {
    if (this.closed) return;
    const pause = this.pause.after(performance.now() - this.startedAt);
    this.failed(why);
    // Also after one that lasted: whoever ends spares ends them again.
    this.timer = setTimeout(
      () => {
        this.timer = null;
        this.provide();
      },
      pause > 0 ? pause : FIRST_PAUSE_MS,
    );
    this.timer.unref();
  }
}
