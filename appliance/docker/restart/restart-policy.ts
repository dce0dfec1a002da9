/** Restart policies: whether a container that has ended is started again, and after which pause (moby `restartmanager`). */

/** `HostConfig.RestartPolicy` with all fields. */
export interface RestartPolicy {
  name: 'no' | 'always' | 'unless-stopped' | 'on-failure';
  /** With `on-failure`: how many restarts before giving up; 0: no limit. */
  maximumRetryCount: number;
}

const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 60_000;
/** After a run this long, pauses begin with the first again. */
const GOOD_RUN_MS = 10_000;

/** Reads the policy of a request or of a kept configuration. Anything that is not one of Docker's policies counts as `no`. */
export function restartPolicy(
  given: { Name?: string | undefined; MaximumRetryCount?: number | undefined } | null | undefined,
): RestartPolicy {
  const name = given?.Name;
  return {
    name: name === 'always' || name === 'unless-stopped' || name === 'on-failure' ? name : 'no',
    maximumRetryCount: given?.MaximumRetryCount ?? 0,
  };
}

/** How a run ended. */
export interface EndedRun {
  exitCode: number;
  durationMs: number;
  /** A user stopped or killed it. */
  manuallyStopped: boolean;
}

/** Counts the restarts of one container, and decides on the pauses before them. */
export class RestartBackoff {
  private pauseMs = 0;

  /** @param count restarts so far */
  constructor(public count = 0) {}

  /** Milliseconds until the next start, which it counts; null: there is none. */
  next(policy: RestartPolicy, run: EndedRun): number | null {
    if (policy.name === 'no') return null;
    if (run.durationMs >= GOOD_RUN_MS) this.pauseMs = 0;
    this.pauseMs = this.pauseMs === 0 ? FIRST_PAUSE_MS : Math.min(this.pauseMs * 2, LONGEST_PAUSE_MS);
    if (!isWanted(policy, run, this.count)) return null;
    this.count++;
    return this.pauseMs;
  }

  /** A user has started it: begins anew. */
  reset(): void {
    this.count = 0;
    this.pauseMs = 0;
  }
}

function isWanted(policy: RestartPolicy, { exitCode, manuallyStopped }: EndedRun, count: number): boolean {
  switch (policy.name) {
    case 'always':
      return true;
    case 'unless-stopped':
      return !manuallyStopped;
    case 'on-failure':
      return exitCode !== 0 && (policy.maximumRetryCount === 0 || count < policy.maximumRetryCount);
    case 'no':
      return false;
  }
}
