/** Probes one container while it runs. The next probe is due an interval after the last one has ended, as Docker has it. */

import { dockerMessage } from '../words/docker-message.js';
import type { HealthCheck } from './health-check.js';
import { afterProbe, type HealthState, type ProbeResult } from './health-state.js';

/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Exit code of what SIGKILL has ended. */
const KILLED = 137;
/** After the end of a probe, the end of its container is heard of within this. */
const SETTLED_MS = 300;

/** A probe that was run to its end. */
export interface ProbeOutcome {
  exitCode: number;
  output: string;
}

/** What a monitor works with. */
export interface MonitorOptions {
  check: HealthCheck;
  startedAt: Date;
  /** When one that is taken over was probed last. */
  lastProbe?: Date | undefined;
  /** Runs the check's command once; a rejection is a failed probe. Ends it when the signal is aborted. */
  probe(signal: AbortSignal): Promise<ProbeOutcome>;
  state(): HealthState;
  /** Takes in what a probe has made of the state. */
  changed(state: HealthState): void;
}

/** Runs until it is stopped. */
export class HealthMonitor {
  private readonly stopping = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: MonitorOptions) {
    // An endpoint that takes over goes on with the schedule of the one before.
    const last = options.lastProbe?.getTime() ?? Number.NEGATIVE_INFINITY;
    this.schedule(last > options.startedAt.getTime() ? Math.max(0, Date.now() - last) : 0);
  }

  /** A probe under way is ended, and counts for nothing. */
  stop(): void {
    this.stopping.abort();
    clearTimeout(this.timer);
  }

  /** @param passed milliseconds since the probe before */
  private schedule(passed = 0): void {
    this.timer = setTimeout(() => void this.run(), Math.min(Math.max(0, this.interval() - passed), MAX_TIMER_MS));
  }

  /** Milliseconds to the next probe: other ones while the container starts up. */
  private interval(): number {
    const { check, startedAt, state } = this.options;
    const startsUp = Date.now() - startedAt.getTime() < check.startPeriodMs && state().status === 'starting';
    return startsUp ? check.startIntervalMs : check.intervalMs;
  }

  private async run(): Promise<void> {
    const { check, startedAt, probe, state, changed } = this.options;
    const { signal } = this.stopping;
    const start = new Date();
    let result: ProbeResult;
    try {
      result = { ...(await probe(signal)), start, end: new Date() };
    } catch (error) {
      result = { exitCode: -1, output: dockerMessage(error), start, end: new Date() };
    }
    // It may have ended with its container, of which the end is not heard of yet: that says nothing of the container's health.
    if (result.exitCode === -1 || result.exitCode === KILLED) {
      await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    }
    if (signal.aborted) return;
    changed(afterProbe(state(), result, check, startedAt));
    this.schedule();
  }
}
