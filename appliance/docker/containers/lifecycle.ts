/** Starts, stops, restarts, kills and removes containers for users. */
import type { ContainerInfo, ExecService, StopOptions } from '../../../port-layer/index.js';
import { conflict, isKind, notModified } from '../../../src/common/errors.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { hasNames, type Names } from '../networks/names-feed.js';
import type { RestartSupervisor } from '../restart/restart-supervisor.js';
import { MAX_TIMER_MS } from '../values/timers.js';
import type { VolumeService } from '../volumes/volume-service.js';
import { signalOr } from './config/signals.js';
import { type ContainerLives, checkRunning } from './container-lives.js';
import { recordOf } from './container-record.js';
import { dockerState, isUp } from './container-state.js';
import type { Launcher } from './launch.js';

const SIGKILL = 9;

/** What the life of containers depends on. */
export interface LifecycleParts {
  exec: Pick<ExecService, 'resolve' | 'stop' | 'kill' | 'unpause' | 'remove'>;
  launcher: Launcher;
  lives: ContainerLives;
  publish: PublishContainerEvent;
  restarts: RestartSupervisor;
  volumes: Pick<VolumeService, 'removed'>;
  names: Pick<Names, 'follow'>;
}

export class Lifecycle {
  /** Containers that a user is removing, each with whether its anonymous volumes go too. */
  private readonly removals = new Map<string, boolean>();

  constructor(private readonly parts: LifecycleParts) {}

  /** @throws notModified when it runs or is about to be restarted */
  async start(id: string): Promise<void> {
    const { exec, launcher, restarts } = this.parts;
    const container = exec.resolve(id);
    if (restarts.isRestarting(container.spec.id))
      throw notModified(`container ${container.spec.id} is already running`);
    if (container.paused) throw conflict('cannot start a paused container, try unpause instead');
    await launcher.launch(container.spec.id, () => restarts.startedByUser(container));
  }

  /**
   * Stops a container, and publishes an event for each signal that it gets.
   * @param options.keep it is about to be started again, so `--rm` does not apply
   * @throws notModified when it does not run
   */
  async stop(id: string, options: StopOptions): Promise<void> {
    const { exec, lives, publish, restarts } = this.parts;
    const container = exec.resolve(id);
    const { spec } = container;
    const seconds = options.timeoutSeconds ?? spec.stopTimeoutSeconds;
    const waited = lives.isUp(container) && restarts.signalled(container, true);
    if (waited !== false && !isUp(container) && (await waited)) {
      publish(container, 'stop');
      return;
    }
    if (lives.isUp(container)) publish(container, 'kill', { signal: String(options.signal ?? spec.stopSignal) });
    const killing = setTimeout(
      () => publish(container, 'kill', { signal: String(SIGKILL) }),
      seconds < 0 ? MAX_TIMER_MS : Math.min(seconds * 1000, MAX_TIMER_MS),
    );
    try {
      await Promise.all([exec.stop(spec.id, options), waited]);
    } finally {
      clearTimeout(killing);
    }
    await this.forgotten(container);
    publish(container, 'stop');
  }

  /** Stops a container if it runs, then starts it. */
  async restart(id: string, options: StopOptions): Promise<void> {
    const { exec, lives, publish } = this.parts;
    const { spec } = exec.resolve(id);
    if (lives.isUp(exec.resolve(spec.id))) {
      await this.stop(spec.id, { ...options, keep: true }).catch((error: unknown) => {
        if (!isKind(error, 'notModified')) throw error;
      });
    }
    await this.start(spec.id);
    publish(exec.resolve(spec.id), 'restart');
  }

  /** Sends a signal. @throws conflict when it does not run */
  async kill(id: string, signal: number): Promise<void> {
    const { exec, lives, publish, restarts } = this.parts;
    const container = exec.resolve(id);
    const { spec } = container;
    checkRunning(container, lives.isUp(container));
    // Where a container has no stop signal of its own, Docker takes any signal as a wish that it ends.
    const own = recordOf(container).config.StopSignal;
    const final = own === undefined || signal === SIGKILL || signal === signalOr(own, -1);
    const kept = restarts.signalled(container, final);
    // Between two runs there is no process to signal, unless the next run is already being started.
    if (!isUp(container) && ((await kept) || restarts.isWaiting(spec.id))) return;
    publish(container, 'kill', { signal: String(signal) });
    await Promise.all([exec.kill(spec.id, signal), kept]);
    // A paused container must run to handle the signal. For SIGKILL the port layer sees to that.
    if (final && signal !== SIGKILL && exec.resolve(spec.id).paused) await exec.unpause(spec.id);
  }

  /**
   * Removes a container, and with `volumes` its anonymous volumes too.
   * @throws conflict in Docker's words when it runs and `force` is not given
   */
  async remove(reference: string, force: boolean, volumes = false): Promise<void> {
    const { exec, lives, publish, restarts, volumes: volumeService } = this.parts;
    const container = exec.resolve(reference);
    if (lives.isUp(container)) {
      if (!force && container.paused)
        throw conflict(`cannot remove container "${reference}": container is paused and must be unpaused first`);
      if (!force)
        throw conflict(
          `cannot remove container "${reference}": container is ${dockerState(container, lives.of(container))}: stop the container before removing or force remove`,
        );
      if (isUp(container)) publish(container, 'kill', { signal: String(SIGKILL) });
    }
    restarts.removing(container);
    const { id } = container.spec;
    const first = !this.removals.has(id);
    if (first) this.removals.set(id, volumes);
    try {
      await exec.remove(id, { force, volumes });
    } finally {
      if (first) this.removals.delete(id);
    }
    await this.forgotten(container);
    await volumeService.removed(id);
  }

  /** Whoever is told that a container has ended does not find it any more. */
  private async forgotten(container: ContainerInfo): Promise<void> {
    if (hasNames(container)) await this.parts.names.follow();
  }

  /** Whether the anonymous volumes of a container that has just been removed go with it. */
  takesVolumes({ spec }: ContainerInfo): boolean {
    return this.removals.get(spec.id) ?? spec.autoRemove;
  }
}
