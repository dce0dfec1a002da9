/** Publishes Docker's events about containers, and about their networks and volumes. */
import type { ContainerInfo, NetworkService } from '../../../port-layer/index.js';
import { recordOf } from '../containers/container-record.js';
import type { EventBus } from './event-bus.js';

/** Publishes an event of a container, with its labels, image and name. */
export type PublishContainerEvent = (
  container: ContainerInfo,
  action: string,
  attributes?: Record<string, string>,
  time?: Date,
) => void;

export class EventPublisher {
  constructor(
    private readonly bus: Pick<EventBus, 'publish'>,
    private readonly networks: Pick<NetworkService, 'list'>,
  ) {}

  readonly container: PublishContainerEvent = (container, action, attributes = {}, time = new Date()) => {
    const { id, name, imageName: image } = container.spec;
    const { Labels: labels } = recordOf(container).config;
    this.bus.publish('container', action, id, { ...labels, image, name, ...attributes }, time);
  };

  /** One event for each network of a container. */
  network(container: ContainerInfo, action: 'connect' | 'disconnect'): void {
    for (const { network } of container.spec.networks) {
      const info = this.networks.list().find(({ name }) => name === network);
      // A container may name a network that does not exist; it cannot start then.
      if (info === undefined) continue;
      this.bus.publish('network', action, info.id, {
        container: container.spec.id,
        name: info.name,
        type: info.driver,
      });
    }
  }

  /** One event for each volume of a container. */
  mounts(container: ContainerInfo, action: 'mount' | 'unmount'): void {
    for (const { type, name, driver, destination, rw } of recordOf(container).mounts) {
      if (type !== 'volume') continue;
      this.bus.publish('volume', action, name, {
        container: container.spec.id,
        ...(action === 'mount' ? { destination, propagation: '', 'read/write': String(rw) } : {}),
        driver,
      });
    }
  }
}
