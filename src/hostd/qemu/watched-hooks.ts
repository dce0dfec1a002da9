/** A VM that is being started, watched before the inventory has it. */
import type { VmExit, VmHooks } from '../runtime.js';

/** Keeps the inventory from hearing of the end of a VM that it was not given: one that could not be resumed. */
export class WatchedHooks implements VmHooks {
  private exit: VmExit | null = null;

  constructor(
    private readonly hooks: VmHooks,
    private passing: boolean,
  ) {}

  infoGet(key: string): string | undefined {
    return this.hooks.infoGet(key);
  }

  infoSet(key: string, value: string): void {
    this.hooks.infoSet(key, value);
  }

  stalled(): void {
    this.hooks.stalled();
  }

  exited(exit: VmExit): void {
    if (this.passing) this.hooks.exited(exit);
    else this.exit = exit;
  }

  /** From now on, and of what was. */
  pass(): void {
    this.passing = true;
    // Not before the inventory has the VM.
    const { exit } = this;
    if (exit !== null) setImmediate(() => this.hooks.exited(exit));
  }
}
