/** The health of a container as Docker counts it (moby `daemon/health.go`, `handleProbeResult`). */

/** Docker's words. */
export type HealthStatus = 'starting' | 'healthy' | 'unhealthy';

/** One probe, an entry of `State.Health.Log`. */
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

/** How many results Docker keeps. */
export const KEPT_RESULTS = 5;

/** The health of a container that has just been started. It keeps the log of earlier runs. */
export function startingHealth(before: HealthState | null): HealthState {
  return { status: 'starting', failingStreak: 0, log: before?.log ?? [] };
}

/** The health of a container that is no longer probed: nobody can say that it is well. */
export function unwatchedHealth(before: HealthState): HealthState {
  return { ...before, status: 'unhealthy' };
}

/**
 * The state after a probe. Failures in the start period do not count until the container has been healthy once.
 * @param startedAt when the container was started
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
