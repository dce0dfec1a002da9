/** Follows what the port layer tells of containers: publishes Docker's events and keeps ports, health, restarts and volumes in step. */
import type { ContainerEvent, ContainerInfo, ExecService } from '../../../port-layer/index.js';
import type { EventPublisher } from '../events/event-publisher.js';
import type { HealthService } from '../health/health-service.js';
import type { LogForwarding } from '../logging/log-forwarding.js';
import type { ContainerPorts } from '../networks/container-ports.js';
import type { Names } from '../networks/names-feed.js';
import type { RestartSupervisor } from '../restart/restart-supervisor.js';
import type { VolumeService } from '../volumes/volume-service.js';
import { dockerMessageOf } from '../words/docker-message.js';
import { isUp } from './container-state.js';
import type { Lifecycle } from './lifecycle.js';

/** What follows from the events of containers. */
export interface ObserverParts {
  exec: Pick<ExecService, 'list'>;
  publisher: EventPublisher;
  ports: Pick<ContainerPorts, 'activate' | 'release'>;
  restarts: RestartSupervisor;
  health: HealthService;
  forwarding: Pick<LogForwarding, 'resume'>;
  volumes: Pick<VolumeService, 'removeWith'>;
  lifecycle: Pick<Lifecycle, 'takesVolumes'>;
  names: Pick<Names, 'follow'>;
}

/**
 * A container that was only made has no addresses yet. One that is starting has them, and is known by the time that it runs: nobody has to wait
 * for that then.
 */
const CHANGES_NAMES: ReadonlySet<ContainerEvent['type']> = new Set([
  'starting',
  'started',
  'exited',
  'startFailed',
  'removed',
]);

export class ContainerObserver {
  constructor(private readonly parts: ObserverParts) {}

  /** When the engine starts: looks after the containers that already run. */
  adopt(): void {
    const { exec, health, forwarding } = this.parts;
    for (const container of exec.list().filter(isUp)) {
      health.found(container);
      // Its probes begin when it is unpaused.
      if (container.paused) health.paused(container.spec.id);
      void forwarding.resume(container);
    }
  }

  /** Takes an event in. */
  on(event: ContainerEvent): void {
    const { publisher, ports, health, restarts, names } = this.parts;
    const { container, time } = event;
    const { id } = container.spec;
    const publish = (action: string, attributes: Record<string, string> = {}): void =>
      publisher.container(container, action, attributes, time);
    if (CHANGES_NAMES.has(event.type)) void names.follow();
    switch (event.type) {
      case 'created':
        publish('create');
        break;
      case 'started':
        ports.activate(container);
        publisher.mounts(container, 'mount');
        publisher.network(container, 'connect');
        restarts.started(id);
        health.started(container);
        publish('start');
        break;
      case 'exited':
        ports.release(id);
        publisher.network(container, 'disconnect');
        publisher.mounts(container, 'unmount');
        restarts.ended(container);
        health.stopped(id);
        publish('die', { execDuration: ranSeconds(container, time), exitCode: String(event.exitCode) });
        break;
      case 'paused':
        health.paused(id);
        publish('pause', container.error === null ? {} : { reason: dockerMessageOf(container.error) });
        break;
      case 'unpaused':
        health.resumed(container);
        publish('unpause');
        break;
      case 'oom':
        publish('oom');
        break;
      case 'guestBroken':
        // Docker has no such event: its containers have no guest that could break.
        publish('guest_error', { error: dockerMessageOf(event.error) });
        break;
      case 'startFailed':
        ports.release(id);
        publisher.network(container, 'disconnect');
        break;
      case 'removed':
        restarts.removed(id);
        health.removed(id);
        ports.release(id);
        if (this.parts.lifecycle.takesVolumes(container)) void this.parts.volumes.removeWith(container);
        publish('destroy');
        break;
    }
  }
}

function ranSeconds({ startedAt }: ContainerInfo, endedAt: Date): string {
  return String(Math.max(0, Math.floor((endedAt.getTime() - (startedAt ?? endedAt).getTime()) / 1000)));
}
