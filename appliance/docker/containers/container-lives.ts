/** What the engine knows of containers beyond their VMs, and the checks that depend on it. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import { conflict } from '../../../src/common/errors.js';
import type { HealthService } from '../health/health-service.js';
import type { RestartSupervisor } from '../restart/restart-supervisor.js';
import { dockerMessageOf } from '../words/docker-message.js';
import type { ContainerLife } from './container-life.js';
import { isUp } from './container-state.js';

export class ContainerLives {
  constructor(
    private readonly restarts: Pick<RestartSupervisor, 'isRestarting' | 'restartCount'>,
    private readonly health: Pick<HealthService, 'state'>,
  ) {}

  of(container: ContainerInfo): ContainerLife {
    return {
      restarting: this.restarts.isRestarting(container.spec.id),
      restartCount: this.restarts.restartCount(container),
      health: this.health.state(container.spec.id),
    };
  }

  /** Whether Docker calls it running. A container that is about to be restarted counts as running. */
  isUp(container: ContainerInfo): boolean {
    return isUp(container) || this.restarts.isRestarting(container.spec.id);
  }

  /** @param named what the message calls it @throws conflict in Docker's words when it is about to be restarted */
  checkNotRestarting(container: ContainerInfo, named = `Container ${container.spec.id}`): void {
    if (this.restarts.isRestarting(container.spec.id))
      throw conflict(`${named} is restarting, wait until the container is running`);
  }
}

/** @throws conflict in Docker's words when it does not run. @param up by default, a container that is being restarted does not */
export function checkRunning(container: ContainerInfo, up = isUp(container)): void {
  if (!up) throw conflict(`container ${container.spec.id} is not running`);
}

/** @param named what the message calls it @param before what has to wait @throws conflict in Docker's words when it is paused */
export function checkNotPaused(container: ContainerInfo, named: string, before: string): void {
  if (!container.paused) return;
  // No user paused it: its disk ran out of room, so unpausing would not help.
  if (container.error !== null) throw conflict(`${named} is paused: ${dockerMessageOf(container.error)}`);
  throw conflict(`${named} is paused, unpause the container before ${before}`);
}
