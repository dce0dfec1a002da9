/** Probes one container while it runs. As in Docker, the next probe is due an interval after the end of the last one. */

import { MAX_TIMER_MS } from '../values/timers.js';
import { dockerMessage } from '../words/docker-message.js';
import type { HealthCheck } from './health-check.js';
import { afterProbe, type HealthState, type ProbeResult } from './health-state.js';

/** The exit code of a process that SIGKILL ended. */
const KILLED = 137;
/** When a container ends, its end is known this soon after the end of a probe in it. */
const SETTLED_MS = 300;

/** How a probe ended. */
export interface ProbeOutcome {
  exitCode: number;
  output: string;
}

/** What a monitor needs. */
export interface MonitorOptions {
  check: HealthCheck;
  startedAt: Date;
  /** When the endpoint before this one last probed it. */
  lastProbe?: Date | undefined;
  /** Runs the check's command once, and ends it when the signal is aborted. A rejection counts as a failed probe. */
  probe(signal: AbortSignal): Promise<ProbeOutcome>;
  state(): HealthState;
  /** Called with the state after each probe. */
  changed(state: HealthState): void;
}

/** Probes until it is stopped. */
export class HealthMonitor {
  private readonly stopping = new AbortController();
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly options: MonitorOptions) {
    // Keeps to the schedule of the endpoint before this one.
    const last = options.lastProbe?.getTime() ?? Number.NEGATIVE_INFINITY;
    this.schedule(last > options.startedAt.getTime() ? Math.max(0, Date.now() - last) : 0);
  }

  /** Also ends a probe that is under way; its result does not count. */
  stop(): void {
    this.stopping.abort();
    clearTimeout(this.timer);
  }

  /** @param passed milliseconds since the last probe */
  private schedule(passed = 0): void {
    this.timer = setTimeout(() => void this.run(), Math.min(Math.max(0, this.interval() - passed), MAX_TIMER_MS));
  }

  /** Milliseconds to the next probe. While the container starts up, the check's start interval applies. */
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
    // The probe may have ended with its container, whose end is not known here yet. That would say nothing of its health.
    if (result.exitCode === -1 || result.exitCode === KILLED) {
      await new Promise((resolve) => setTimeout(resolve, SETTLED_MS));
    }
    if (signal.aborted) return;
    changed(afterProbe(state(), result, check, startedAt));
    this.schedule();
  }
}
