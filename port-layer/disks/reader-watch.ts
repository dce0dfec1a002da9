/** Watches that a disk-reading process makes progress and stays within its limits. */
import { type ProcessFacts, processFacts } from './process-facts.js';

/** Times in ms. Processor time is the process's own, so that a busy machine makes no disk look hostile. */
export interface ReaderLimits {
  /** Processor time without a sign of life. */
  silentCpuMs: number;
  silentMs: number;
  /** Processor time for one answer, or one batch of a tree. */
  stepCpuMs: number;
  stepMs: number;
  /** Resident memory, in bytes. */
  memory: number;
  /** Heap size, in MiB. */
  heapMiB: number;
  /** An idle process is ended after this time; the last one is kept longer. */
  idleMs: number;
  lastIdleMs: number;
  /** The call is given up if its client takes or sends no byte for this long. */
  clientMs: number;
  /** A call that has waited for its client this long in total loses its place to others. */
  slowClientMs: number;
}

export const READER_LIMITS: ReaderLimits = {
  silentCpuMs: 5_000,
  silentMs: 60_000,
  stepCpuMs: 30_000,
  stepMs: 300_000,
  memory: 512 << 20,
  heapMiB: 192,
  idleMs: 15_000,
  lastIdleMs: 600_000,
  clientMs: 300_000,
  slowClientMs: 3_000,
};

const LOOK_MS = 500;

interface Mark {
  at: number;
  cpuMs: number;
}

export class ReaderWatch {
  private timer: NodeJS.Timeout | null = null;
  private facts: ProcessFacts = { cpuMs: 0, memory: 0 };
  private heard: Mark = { at: 0, cpuMs: 0 };
  private progressed: Mark = { at: 0, cpuMs: 0 };

  /**
   * @param owes whether the process owes an answer. @param served whether it is waiting for the endpoint
   * @param gaveUp called once, with the reason
   */
  constructor(
    private readonly pid: number,
    private readonly limits: ReaderLimits,
    private readonly owes: () => boolean,
    private readonly served: () => boolean,
    private readonly gaveUp: (reason: string) => void,
  ) {}

  /** The process was given a request. */
  start(): void {
    if (this.timer !== null) return;
    this.timer = setInterval(() => void this.look(), LOOK_MS);
    this.timer.unref();
    this.progress();
  }

  stop(): void {
    if (this.timer !== null) clearInterval(this.timer);
    this.timer = null;
  }

  /** The process gave a sign of life. */
  hear(): void {
    this.heard = { at: performance.now(), cpuMs: this.facts.cpuMs };
  }

  /** The process answered something. */
  progress(): void {
    this.hear();
    this.progressed = this.heard;
  }

  private async look(): Promise<void> {
    const facts = await processFacts(this.pid);
    if (facts === null || this.timer === null) return;
    this.facts = facts;
    const { limits } = this;
    if (facts.memory > limits.memory) return this.giveUp('reading it takes too much memory');
    if (!this.owes()) return this.progress();
    if (this.served()) this.hear();
    const passed = (mark: Mark, cpuMs: number, ms: number): boolean =>
      facts.cpuMs - mark.cpuMs > cpuMs || performance.now() - mark.at > ms;
    if (passed(this.heard, limits.silentCpuMs, limits.silentMs)) this.giveUp('its reader does not answer');
    else if (passed(this.progressed, limits.stepCpuMs, limits.stepMs)) this.giveUp('reading it takes too long');
  }

  private giveUp(reason: string): void {
    this.stop();
    this.gaveUp(reason);
  }
}
