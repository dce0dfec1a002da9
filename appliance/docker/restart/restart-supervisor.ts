/**
 * Restarts containers by their restart policies, and remembers which of them a user stopped. The number of restarts and a user's stop must
 * outlast this process, so they are kept with the container.
 */
import type { ContainerInfo } from '../../../port-layer/index.js';
import { isKind, messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { Semaphore } from '../../../src/common/semaphore.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';
import { RestartBackoff, restartPolicy } from './restart-policy.js';

const log = logger('docker');
/** How many containers are started at the same time when the engine starts. */
const STARTS_AT_ONCE = 2;

/** The pause before another attempt when vSphere could not be reached. */
const UNREACHED_MS = 1000;

/** What the supervisor needs of containers. */
export interface Supervised {
  list(): ContainerInfo[];
  /** Starts a container, and keeps the annotations with it in the same step. */
  start(id: string, annotations: () => Record<string, string>): Promise<void>;
  annotate(id: string, annotations: Record<string, string>): Promise<void>;
}

interface Life {
  backoff: RestartBackoff;
  manuallyStopped: boolean;
  /** A user has sent the signal that ends this run, so no other follows it, whatever the policy says. */
  cancelled: boolean;
  /** It has ended and is to be started again; the timer is null once the start is under way. */
  pending: { timer: NodeJS.Timeout | null } | null;
  /** Called when its restart is given up. */
  readonly waiting: Set<() => void>;
}

/** There is one for an engine. */
export class RestartSupervisor {
  private readonly lives = new Map<string, Life>();
  private closed = false;

  constructor(private readonly containers: Supervised) {}

  /** Stops restarting anything. */
  close(): void {
    this.closed = true;
    for (const { pending } of this.lives.values()) if (pending?.timer) clearTimeout(pending.timer);
  }

  isRestarting(id: string): boolean {
    return (this.lives.get(id)?.pending ?? null) !== null;
  }

  /** Whether it is restarting, and its next start has not begun. */
  isWaiting(id: string): boolean {
    return (this.lives.get(id)?.pending?.timer ?? null) !== null;
  }

  restartCount(container: ContainerInfo): number {
    return this.lives.get(container.spec.id)?.backoff.count ?? recordOf(container).restart?.count ?? 0;
  }

  /** A run has ended by itself or by a signal. */
  ended(container: ContainerInfo): void {
    const life = this.of(container);
    if (this.closed || life.cancelled || life.pending !== null) return;
    const { id } = container.spec;
    const pauseMs = life.backoff.next(
      restartPolicy(recordOf(container).hostConfig.RestartPolicy),
      runOf(container, life),
    );
    if (pauseMs === null) return;
    log.info({ container: id, pauseMs, count: life.backoff.count }, 'a container has ended and will be restarted');
    life.pending = { timer: setTimeout(() => void this.restart(id, life), pauseMs) };
  }

  /** A run has begun. It may end before the call that started it returns. */
  started(id: string): void {
    const life = this.lives.get(id);
    if (life === undefined || life.pending === null) return;
    if (life.pending.timer !== null) clearTimeout(life.pending.timer);
    life.pending = null;
  }

  private async restart(id: string, life: Life): Promise<void> {
    const { pending } = life;
    if (pending === null) return;
    pending.timer = null;
    try {
      await this.containers.start(id, () => this.record(life));
      if (life.pending === pending) life.pending = null;
    } catch (error) {
      log.warn({ container: id, err: messageOf(error) }, 'a container could not be started again');
      if (life.pending !== pending) return;
      // That vSphere cannot be reached says nothing about the container.
      if (isKind(error, 'unavailable') && !life.cancelled && !this.closed)
        pending.timer = setTimeout(() => void this.restart(id, life), UNREACHED_MS);
      else this.giveUp(life);
    }
  }

  private giveUp(life: Life): void {
    if (life.pending?.timer) clearTimeout(life.pending.timer);
    life.pending = null;
    for (const told of [...life.waiting]) told();
  }

  /**
   * A user sends a signal. Resolves when the stop is kept.
   * @param final the signal is meant to end the container
   * @returns true when a restart was pending and has been given up: there is no process to signal
   */
  async signalled(container: ContainerInfo, final: boolean): Promise<boolean> {
    const life = this.of(container);
    const before = life.manuallyStopped;
    life.manuallyStopped = true;
    if (final) life.cancelled = true;
    const waits = final && life.pending !== null && life.pending.timer !== null;
    if (waits) this.giveUp(life);
    if (!before && restartPolicy(recordOf(container).hostConfig.RestartPolicy).name !== 'no')
      await this.containers.annotate(container.spec.id, this.record(life));
    return waits;
  }

  /** A container is being removed, so nothing is kept. @returns as {@link signalled} */
  removing(container: ContainerInfo): boolean {
    const life = this.of(container);
    life.cancelled = true;
    const waits = life.pending !== null && life.pending.timer !== null;
    if (waits) this.giveUp(life);
    return waits;
  }

  /** A user starts it: begins anew. @returns the annotations to keep with it */
  startedByUser(container: ContainerInfo): Record<string, string> {
    const life = this.of(container);
    life.backoff.reset();
    life.manuallyStopped = false;
    life.cancelled = false;
    return recordOf(container).restart === null ? {} : this.record(life);
  }

  /** A user gives it another policy, which applies from its next end on (moby `UpdateMonitor`). @returns the annotations to keep with it */
  policyChanged(container: ContainerInfo): Record<string, string> {
    return this.record(this.of(container));
  }

  /** Resolves when the pending restart of a container is given up; at once if there is none. */
  async notRestarted(id: string, signal: AbortSignal): Promise<void> {
    const life = this.lives.get(id);
    if (life === undefined || life.pending === null) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        life.waiting.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      life.waiting.add(done);
      if (signal.aborted) done();
      else signal.addEventListener('abort', done);
    });
  }

  removed(id: string): void {
    const life = this.lives.get(id);
    if (life !== undefined) this.giveUp(life);
    this.lives.delete(id);
  }

  /** When the engine starts: starts the containers that should be running. Resolves when all were tried. */
  async restore(): Promise<void> {
    const wanted = this.containers.list().filter((container) => {
      const life = this.of(container);
      if (container.state !== 'exited' || life.pending !== null) return false;
      const policy = restartPolicy(recordOf(container).hostConfig.RestartPolicy);
      return life.backoff.next(policy, runOf(container, life)) !== null;
    });
    const atOnce = new Semaphore(STARTS_AT_ONCE);
    await Promise.all(wanted.map((container) => atOnce.run(() => this.restoreOne(container))));
  }

  private async restoreOne(container: ContainerInfo): Promise<void> {
    if (this.closed) return;
    const { id, name } = container.spec;
    try {
      await this.containers.start(id, () => this.startedByUser(container));
      log.info({ container: id, name }, 'started by its restart policy');
    } catch (error) {
      log.error({ container: id, err: messageOf(error) }, 'could not be started by its restart policy');
    }
  }

  private of(container: ContainerInfo): Life {
    const { id } = container.spec;
    let life = this.lives.get(id);
    if (life === undefined) {
      const kept = recordOf(container).restart;
      life = {
        backoff: new RestartBackoff(kept?.count ?? 0),
        manuallyStopped: kept?.stopped ?? false,
        cancelled: false,
        pending: null,
        waiting: new Set(),
      };
      this.lives.set(id, life);
    }
    return life;
  }

  private record({ backoff, manuallyStopped }: Life): Record<string, string> {
    return annotationsOf({ restart: { count: backoff.count, stopped: manuallyStopped } });
  }
}

function runOf(container: ContainerInfo, life: Life): Parameters<RestartBackoff['next']>[1] {
  const { startedAt, finishedAt, exitCode } = container;
  const durationMs = startedAt === null || finishedAt === null ? 0 : finishedAt.getTime() - startedAt.getTime();
  return { exitCode, durationMs, manuallyStopped: life.manuallyStopped };
}
