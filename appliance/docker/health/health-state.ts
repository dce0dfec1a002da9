/** The health of a container as Docker counts it (moby `daemon/health.go`, `handleProbeResult`). */

/** Docker's words. */
export type HealthStatus = 'starting' | 'healthy' | 'unhealthy';

/** One probe, as it stands in `State.Health.Log`. */
export interface ProbeResult {
  start: Date;
  end: Date;
  /** -1: it could not be run, or took too long. */
  exitCode: number;
  output: string;
}

/** `State.Health`. */
export interface HealthState {
  status: HealthStatus;
  failingStreak: number;
  /** The last {@link KEPT_RESULTS}, oldest first. */
  log: readonly ProbeResult[];
}

/** As many as Docker keeps. */
export const KEPT_RESULTS = 5;

/** Of a container that has just been started. The log of earlier runs is kept. */
export function startingHealth(before: HealthState | null): HealthState {
  return { status: 'starting', failingStreak: 0, log: before?.log ?? [] };
}

/** Nobody looks any more: without probes there is no saying that it is well. */
export function unwatchedHealth(before: HealthState): HealthState {
  return { ...before, status: 'unhealthy' };
}

/**
 * What a probe makes of a state. Failures during the start period of a container that has never been healthy do not count.
 * @param startedAt of the container
 */
export function afterProbe(
  before: HealthState,
  result: ProbeResult,
  check: { retries: number; startPeriodMs: number },
  startedAt: Date,
): HealthState {
  const log = [...before.log, result].slice(-KEPT_RESULTS);
  if (result.exitCode === 0) return { status: 'healthy', failingStreak: 0, log };
  const mayFail = before.status === 'starting' && result.start.getTime() - startedAt.getTime() < check.startPeriodMs;
  if (mayFail) return { ...before, log };
  const failingStreak = before.failingStreak + 1;
  return { status: failingStreak >= check.retries ? 'unhealthy' : before.status, failingStreak, log };
}
