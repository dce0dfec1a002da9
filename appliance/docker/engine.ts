/** What all routes share: the port layer, images, published ports, events, and what ties them together. */

import type { VchConfig } from '../../port-layer/config.js';
import type { ContainerEvent, ContainerInfo, PortLayer } from '../../port-layer/types.js';
import { conflict, messageOf } from '../../src/common/errors.js';
import { shortId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import type { PortMapper, PublishedPort } from '../gateway/published-ports.js';
import { wantedPorts } from '../gateway/published-ports.js';
import type { Image, ImageService } from '../image/types.js';
import { dockerConfig, hostConfig, isUp } from './container-view.js';
import { EventBus } from './event-bus.js';

const log = logger('docker');
/** The ports of the current run, so that an endpoint that restarts publishes the same ones. */
const PORTS_KEY = 'docker.ports';
const SIGKILL = 9;
/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The Docker engine over a port layer. */
export class Engine {
  readonly events = new EventBus();
  private readonly stopListening: (() => void)[];

  constructor(
    readonly portLayer: PortLayer,
    readonly images: ImageService,
    readonly ports: PortMapper,
    readonly config: VchConfig,
  ) {
    this.stopListening = [
      portLayer.onEvent((event) => this.onContainer(event)),
      images.onEvent(({ action, id, name, labels }) =>
        this.events.publish('image', action, action === 'pull' ? name : id, { ...labels, name }),
      ),
    ];
  }

  close(): void {
    for (const stop of this.stopListening) stop();
  }

  /** Publishes an event of a container, with its labels, image and name. */
  publish(container: ContainerInfo, action: string, attributes: Record<string, string> = {}, time = new Date()): void {
    const { labels, image } = { labels: dockerConfig(container).Labels, image: container.spec.imageName };
    this.events.publish(
      'container',
      action,
      container.spec.id,
      { ...labels, image, name: container.spec.name, ...attributes },
      time,
    );
  }

  private network(container: ContainerInfo, action: 'connect' | 'disconnect'): void {
    for (const { network } of container.spec.networks) {
      const info = this.portLayer.network.resolve(network);
      this.events.publish('network', action, info.id, {
        container: container.spec.id,
        name: info.name,
        type: info.driver,
      });
    }
  }

  private onContainer(event: ContainerEvent): void {
    const { container, time } = event;
    switch (event.type) {
      case 'created':
        this.publish(container, 'create', {}, time);
        break;
      case 'started': {
        const first = container.endpoints[0];
        if (first !== undefined) this.ports.activate(container.spec.id, first.address);
        this.network(container, 'connect');
        this.publish(container, 'start', {}, time);
        break;
      }
      case 'exited': {
        this.ports.release(container.spec.id);
        this.network(container, 'disconnect');
        const seconds = Math.max(0, Math.floor((time.getTime() - (container.startedAt ?? time).getTime()) / 1000));
        this.publish(container, 'die', { execDuration: String(seconds), exitCode: String(event.exitCode) }, time);
        break;
      }
      case 'startFailed':
        this.ports.release(container.spec.id);
        this.network(container, 'disconnect');
        break;
      case 'removed':
        this.ports.release(container.spec.id);
        this.publish(container, 'destroy', {}, time);
        break;
    }
  }

  /** Starts a container with its published ports. */
  async start(id: string): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    await this.portLayer.exec.start(container.spec.id, async () => {
      const host = hostConfig(container);
      const exposed = Object.keys(dockerConfig(container).ExposedPorts ?? {});
      const wanted =
        container.spec.networks.length === 0
          ? []
          : wantedPorts(host.PortBindings ?? {}, exposed, host.PublishAllPorts === true);
      return { [PORTS_KEY]: JSON.stringify(await this.ports.reserve(container.spec.id, container.spec.name, wanted)) };
    });
  }

  /** Stops a container, with the events of the signals that it is sent. @throws notModified when it does not run */
  async stop(id: string, options: { signal?: number; timeoutSeconds?: number }): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    const { spec } = container;
    const seconds = options.timeoutSeconds ?? spec.stopTimeoutSeconds;
    if (isUp(container)) this.publish(container, 'kill', { signal: String(options.signal ?? spec.stopSignal) });
    const killing = setTimeout(
      () => this.publish(container, 'kill', { signal: String(SIGKILL) }),
      seconds < 0 ? MAX_TIMER_MS : Math.min(seconds * 1000, MAX_TIMER_MS),
    );
    try {
      await this.portLayer.exec.stop(spec.id, options);
    } finally {
      clearTimeout(killing);
    }
    this.publish(container, 'stop');
  }

  /** Removes a container. @throws conflict in Docker's words when it runs and may not be killed */
  async remove(reference: string, force: boolean): Promise<void> {
    const container = this.portLayer.exec.resolve(reference);
    if (isUp(container)) {
      if (!force)
        throw conflict(
          `cannot remove container "${reference}": container is running: stop the container before removing or force remove`,
        );
      this.publish(container, 'kill', { signal: String(SIGKILL) });
    }
    await this.portLayer.exec.remove(container.spec.id, { force });
  }

  /** Publishes the ports of containers that were running before this endpoint was started. */
  async restorePorts(): Promise<void> {
    for (const container of this.portLayer.exec.list()) {
      const text = container.spec.annotations[PORTS_KEY];
      const address = container.endpoints[0]?.address;
      if (container.state !== 'running' || text === undefined || address === undefined) continue;
      this.ports.release(container.spec.id);
      try {
        await this.ports.reserve(container.spec.id, container.spec.name, JSON.parse(text) as PublishedPort[]);
        this.ports.activate(container.spec.id, address);
      } catch (error) {
        log.error(
          { container: container.spec.id, err: messageOf(error) },
          'a port of a running container could not be published again',
        );
      }
    }
  }

  /** The image of a container's `ps` row: its name while that still means this image, else its short id. */
  imageName(container: ContainerInfo): string {
    try {
      return this.images.resolve(container.spec.imageName).id === container.spec.imageId
        ? container.spec.imageName
        : shortId(container.spec.imageId);
    } catch {
      return shortId(container.spec.imageId);
    }
  }

  /** Containers of an image. */
  usersOf(imageId: string): { id: string; running: boolean }[] {
    return this.portLayer.exec
      .list()
      .filter((container) => container.spec.imageId === imageId)
      .map((container) => ({
        id: container.spec.id,
        running: container.state === 'running' || container.state === 'stopping',
      }));
  }

  imageOf(container: ContainerInfo): Image | undefined {
    return this.images.list().find((image) => image.id === container.spec.imageId);
  }
}
