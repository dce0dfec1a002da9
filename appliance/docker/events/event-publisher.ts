/** Publishes Docker's events about containers, and about their networks and volumes. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import { recordOf } from '../containers/container-record.js';
import type { DockerNetworks } from '../networks/docker-networks.js';
import { publishNetwork } from '../networks/network-events.js';
import { isOnNone, NONE } from '../networks/none-network.js';
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
    private readonly networks: Pick<DockerNetworks, 'find'>,
  ) {}

  readonly container: PublishContainerEvent = (container, action, attributes = {}, time = new Date()) => {
    const { id, name, imageName: image } = container.spec;
    const { Labels: labels } = recordOf(container).config;
    this.bus.publish('container', action, id, { ...labels, image, name, ...attributes }, time);
  };

  /** One event for each network of a container. */
  network(container: ContainerInfo, action: 'connect' | 'disconnect'): void {
    const names = isOnNone(container) ? [NONE] : container.spec.networks.map(({ network }) => network);
    for (const name of names) {
      const info = this.networks.find(name);
      // A container may name a network that does not exist; it cannot start then.
      if (info !== undefined) publishNetwork(this.bus, info, action, container.spec.id);
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
