/** The hooks of a VM that is being started or adopted: its end is held back until whoever waits for the VM has received it. */
import type { VmExit, VmHooks } from './runtime.js';

/**
 * A VM may end before the call that starts it has returned. If its end were reported at once, it would overtake the start: the VM would be
 * seen off, then on, and nothing would ever turn it off again. The end of a VM that is never handed over is not reported.
 */
export class HeldHooks implements VmHooks {
  private exit: VmExit | null = null;
  private handedOver = false;

  constructor(private readonly hooks: VmHooks) {}

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
    if (this.handedOver) this.hooks.exited(exit);
    else this.exit = exit;
  }

  /** Call this once whoever waited for the VM has it: reports an end that was held back, and from now on reports at once. */
  handOver(): void {
    this.handedOver = true;
    if (this.exit !== null) this.hooks.exited(this.exit);
    this.exit = null;
  }
}
