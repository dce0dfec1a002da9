/** What all routes share: the port layer, images, published ports, events, and what ties them together. */

import { isIP } from 'node:net';
import type { VchConfig } from '../../port-layer/config.js';
import {
  type ContainerEvent,
  type ContainerInfo,
  type ExitStatus,
  mainEndpoint,
  type PortLayer,
  type StopOptions,
  type WaitCondition,
} from '../../port-layer/index.js';
import {
  cancelled,
  conflict,
  isKind,
  messageOf,
  notModified,
  unavailable,
  unsupported,
} from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { type PortMapper, type PublishedPort, wantedPorts } from '../gateway/published-ports.js';
import type { Image, ImageService } from '../image/types.js';
import { HOST_CONFIG_KEY } from './containers/config/container-spec.js';
import { signalOr } from './containers/config/signals.js';
import type { ContainerLife } from './containers/container-life.js';
import { ContainerSizes } from './containers/container-size.js';
import { dockerConfig, dockerState, hostConfig, isUp, leftNetwork } from './containers/container-view.js';
import { resolveLinks } from './containers/links.js';
import { EventBus } from './events/event-bus.js';
import { HealthService } from './health/health-service.js';
import { LogForwarding } from './logging/log-forwarding.js';
import { RestartSupervisor } from './restart/restart-supervisor.js';
import { mountPoints } from './volumes/mount-points.js';
import { VolumeService } from './volumes/volume-service.js';

const log = logger('docker');
/** The ports of the current run, so that an endpoint that restarts publishes the same ones. */
const PORTS_KEY = 'docker.ports';
const SIGKILL = 9;
/** The longest that a timer can be set to. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** The Docker engine over a port layer. */
export class Engine {
  readonly events = new EventBus();
  readonly volumes: VolumeService;
  readonly sizes: ContainerSizes;
  /** Containers that are being removed by request: whether their anonymous volumes go too. */
  private readonly removals = new Map<string, boolean>();
  private readonly restarts: RestartSupervisor;
  private readonly health: HealthService;
  private readonly forwarding: LogForwarding;
  private readonly stopListening: (() => void)[];

  constructor(
    readonly portLayer: PortLayer,
    readonly images: ImageService,
    readonly ports: PortMapper,
    readonly config: VchConfig,
  ) {
    this.volumes = new VolumeService(portLayer, this.events, config);
    this.sizes = new ContainerSizes(portLayer.files);
    this.restarts = new RestartSupervisor({
      list: () => portLayer.exec.list(),
      start: (id, annotations) => this.launch(id, annotations),
      annotate: (id, annotations) => portLayer.exec.annotate(id, annotations),
    });
    this.health = new HealthService({
      interaction: portLayer.interaction,
      kv: portLayer.kv,
      publish: (container, action, attributes) => this.publish(container, action, attributes),
      resolve: (id) => portLayer.exec.resolve(id),
    });
    this.forwarding = new LogForwarding(portLayer.interaction, portLayer.kv, config.syslog);
    this.stopListening = [
      portLayer.onEvent((event) => this.onContainer(event)),
      images.onEvent(({ action, id, name, labels }) =>
        this.events.publish('image', action, action === 'pull' ? name : id, { ...labels, name }),
      ),
    ];
  }

  async close(): Promise<void> {
    this.restarts.close();
    this.forwarding.close();
    for (const stop of this.stopListening) stop();
    await this.health.close();
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
      const info = this.portLayer.network.list().find(({ name }) => name === network);
      // A container may name a network that is not there; it does not start then.
      if (info === undefined) continue;
      this.events.publish('network', action, info.id, {
        container: container.spec.id,
        name: info.name,
        type: info.driver,
      });
    }
  }

  private mounts(container: ContainerInfo, action: 'mount' | 'unmount'): void {
    for (const { type, name, driver, destination, rw } of mountPoints(container)) {
      if (type !== 'volume') continue;
      this.events.publish('volume', action, name, {
        container: container.spec.id,
        ...(action === 'mount' ? { destination, propagation: '', 'read/write': String(rw) } : {}),
        driver,
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
        const main = mainEndpoint(container.endpoints);
        if (main !== undefined) this.ports.activate(container.spec.id, main.address);
        this.mounts(container, 'mount');
        this.network(container, 'connect');
        this.restarts.started(container.spec.id);
        this.health.started(container);
        this.publish(container, 'start', {}, time);
        break;
      }
      case 'exited': {
        this.ports.release(container.spec.id);
        this.network(container, 'disconnect');
        this.mounts(container, 'unmount');
        const seconds = Math.max(0, Math.floor((time.getTime() - (container.startedAt ?? time).getTime()) / 1000));
        this.restarts.ended(container);
        this.health.stopped(container.spec.id);
        this.publish(container, 'die', { execDuration: String(seconds), exitCode: String(event.exitCode) }, time);
        break;
      }
      case 'paused':
        this.health.paused(container.spec.id);
        this.publish(container, 'pause', container.error === '' ? {} : { reason: container.error }, time);
        break;
      case 'unpaused':
        this.health.resumed(container);
        this.publish(container, 'unpause', {}, time);
        break;
      case 'oom':
        this.publish(container, 'oom', {}, time);
        break;
      case 'guestBroken':
        // Docker has no such event: its guests are no machines.
        this.publish(container, 'guest_error', { error: event.error }, time);
        break;
      case 'startFailed':
        this.ports.release(container.spec.id);
        this.network(container, 'disconnect');
        break;
      case 'removed':
        this.restarts.removed(container.spec.id);
        this.health.removed(container.spec.id);
        this.ports.release(container.spec.id);
        if (this.removals.get(container.spec.id) ?? container.spec.autoRemove) void this.volumes.removeWith(container);
        this.publish(container, 'destroy', {}, time);
        break;
    }
  }

  /** What the engine knows of a container besides its virtual machine. */
  life(container: ContainerInfo): ContainerLife {
    return {
      restarting: this.restarts.isRestarting(container.spec.id),
      restartCount: this.restarts.restartCount(container),
      health: this.health.state(container.spec.id),
    };
  }

  /** True for what Docker calls running: also a container that is about to be restarted. */
  isUp(container: ContainerInfo): boolean {
    return isUp(container) || this.restarts.isRestarting(container.spec.id);
  }

  /** @throws conflict in Docker's words for a container that is about to be restarted. @param named what to call it */
  checkNotRestarting(container: ContainerInfo, named = `Container ${container.spec.id}`): void {
    if (this.restarts.isRestarting(container.spec.id))
      throw conflict(`${named} is restarting, wait until the container is running`);
  }

  /** @throws conflict in Docker's words for a paused container. @param named what to call it @param before what has to wait */
  checkNotPaused(container: ContainerInfo, named: string, before: string): void {
    if (!container.paused) return;
    // Nobody paused it: its disk has no room.
    if (container.error !== '') throw conflict(`${named} is paused: ${container.error}`);
    throw conflict(`${named} is paused, unpause the container before ${before}`);
  }

  /** Starts a container as a user does. @throws notModified when it runs, or is about to be restarted */
  async start(id: string): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    if (this.restarts.isRestarting(container.spec.id))
      throw notModified(`container ${container.spec.id} is already running`);
    if (container.paused) throw conflict('cannot start a paused container, try unpause instead');
    await this.launch(container.spec.id, () => this.restarts.startedByUser(container));
  }

  /** Starts a container with its published ports. @param annotations to be kept with it, asked for when it may be started */
  private async launch(id: string, annotations: () => Record<string, string>): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    const left = leftNetwork(container);
    if (left !== null)
      throw unsupported(`starting a container that was disconnected from its network ('${left}') is not implemented`);
    await this.portLayer.exec.start(container.spec.id, async () => {
      const links = resolveLinks(container, this.portLayer.exec.list());
      const host = hostConfig(container);
      for (const server of host.Dns ?? [])
        if (isIP(server) === 0)
          throw unavailable(
            `bad nameserver address ${server}: ParseAddr(${JSON.stringify(server)}): ${whyNoIp(server)}`,
          );
      const exposed = Object.keys(dockerConfig(container).ExposedPorts ?? {});
      const wanted =
        container.spec.networks.length === 0
          ? []
          : wantedPorts(host.PortBindings ?? {}, exposed, host.PublishAllPorts === true);
      const reserved = await this.ports.reserve(container.spec.id, container.spec.name, wanted);
      await this.forwarding.prepare(container);
      return {
        annotations: { [PORTS_KEY]: JSON.stringify(reserved), ...annotations() },
        links,
      };
    });
  }

  /**
   * Stops a container, with the events of the signals that it is sent.
   * @param options `keep`: it is started again at once, so it is not removed even if that is to be done when it ends
   * @throws notModified when it does not run
   */
  async stop(id: string, options: StopOptions): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    const { spec } = container;
    const seconds = options.timeoutSeconds ?? spec.stopTimeoutSeconds;
    const waited = this.isUp(container) && this.restarts.signalled(container, true);
    if (waited !== false && !isUp(container) && (await waited)) {
      this.publish(container, 'stop');
      return;
    }
    if (this.isUp(container)) this.publish(container, 'kill', { signal: String(options.signal ?? spec.stopSignal) });
    const killing = setTimeout(
      () => this.publish(container, 'kill', { signal: String(SIGKILL) }),
      seconds < 0 ? MAX_TIMER_MS : Math.min(seconds * 1000, MAX_TIMER_MS),
    );
    try {
      await Promise.all([this.portLayer.exec.stop(spec.id, options), waited]);
    } finally {
      clearTimeout(killing);
    }
    this.publish(container, 'stop');
  }

  /** Stops a container if it runs, and starts it. */
  async restart(id: string, options: StopOptions): Promise<void> {
    const { spec } = this.portLayer.exec.resolve(id);
    if (this.isUp(this.portLayer.exec.resolve(spec.id))) {
      await this.stop(spec.id, { ...options, keep: true }).catch((error: unknown) => {
        if (!isKind(error, 'notModified')) throw error;
      });
    }
    await this.start(spec.id);
    this.publish(this.portLayer.exec.resolve(spec.id), 'restart');
  }

  /** Sends a signal. @throws conflict when it does not run */
  async kill(id: string, signal: number): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    const { spec } = container;
    if (!this.isUp(container)) throw conflict(`container ${spec.id} is not running`);
    // Without a stop signal of its own, Docker takes any signal for a wish that it ends.
    const own = dockerConfig(container).StopSignal;
    const final = own === undefined || signal === SIGKILL || signal === signalOr(own, -1);
    const kept = this.restarts.signalled(container, final);
    // There is no process between two runs, unless the next one is being started.
    if (!isUp(container) && ((await kept) || this.restarts.isWaiting(spec.id))) return;
    this.publish(container, 'kill', { signal: String(signal) });
    await Promise.all([this.portLayer.exec.kill(spec.id, signal), kept]);
    // A paused one is to end, so it has to go on; the port layer sees to that when it is killed.
    if (final && signal !== SIGKILL && this.portLayer.exec.resolve(spec.id).paused)
      await this.portLayer.exec.unpause(spec.id);
  }

  /**
   * Removes a container; with `volumes` also those of its volumes that nobody has named.
   * @throws conflict in Docker's words when it runs and may not be killed
   */
  async remove(reference: string, force: boolean, volumes = false): Promise<void> {
    const container = this.portLayer.exec.resolve(reference);
    if (this.isUp(container)) {
      if (!force && container.paused)
        throw conflict(`cannot remove container "${reference}": container is paused and must be unpaused first`);
      if (!force)
        throw conflict(
          `cannot remove container "${reference}": container is ${dockerState(container, this.life(container))}: stop the container before removing or force remove`,
        );
      if (isUp(container)) this.publish(container, 'kill', { signal: String(SIGKILL) });
    }
    this.restarts.removing(container);
    const { id } = container.spec;
    const first = !this.removals.has(id);
    if (first) this.removals.set(id, volumes);
    try {
      await this.portLayer.exec.remove(id, { force, volumes });
    } finally {
      if (first) this.removals.delete(id);
    }
    await this.volumes.removed(id);
  }

  /** Waits as Docker does: a container that is about to be restarted runs. */
  async wait(id: string, condition: WaitCondition, signal: AbortSignal): Promise<ExitStatus> {
    const container = this.portLayer.exec.resolve(id);
    const { exec } = this.portLayer;
    if (condition === 'removed' || !this.restarts.isRestarting(container.spec.id))
      return exec.wait(container.spec.id, condition, signal);
    const over = new AbortController();
    const either = AbortSignal.any([signal, over.signal]);
    const givenUp = this.restarts.notRestarted(container.spec.id, either).then(() => {
      if (either.aborted) throw cancelled('the wait was cancelled');
      const { exitCode, oomKilled, error } = container;
      return { exitCode, oomKilled, error };
    });
    try {
      return await Promise.race([exec.wait(container.spec.id, 'next-exit', either), givenUp]);
    } finally {
      over.abort();
      givenUp.catch(() => undefined);
    }
  }

  /**
   * Gives a container another restart policy, of which it has been checked that it is one. It counts from the container's next end on.
   * @throws conflict in Docker's words for a container that is removed when it ends
   */
  async setRestartPolicy(id: string, policy: { Name: string; MaximumRetryCount: number }): Promise<void> {
    const container = this.portLayer.exec.resolve(id);
    const host = hostConfig(container);
    if (host.AutoRemove === true && policy.Name !== 'no' && policy.Name !== '')
      throw conflict('Restart policy cannot be updated because AutoRemove is enabled for the container');
    await this.portLayer.exec.annotate(container.spec.id, {
      [HOST_CONFIG_KEY]: JSON.stringify({ ...host, RestartPolicy: policy }),
      ...this.restarts.policyChanged(container),
    });
  }

  /** Before the API is served: what an engine before this one knew of its containers. */
  recall(): Promise<void> {
    return this.health.recall(this.portLayer.exec.list());
  }

  /** When the engine has been started: looks after the health of what runs, starts what the restart policies want started. */
  restore(): Promise<void> {
    for (const container of this.portLayer.exec.list().filter(isUp)) {
      this.health.found(container);
      // It is probed when it goes on.
      if (container.paused) this.health.paused(container.spec.id);
      void this.forwarding.resume(container);
    }
    return this.restarts.restore();
  }

  /** Publishes the ports of containers that were running before this endpoint was started. */
  async restorePorts(): Promise<void> {
    for (const container of this.portLayer.exec.list()) {
      const text = container.spec.annotations[PORTS_KEY];
      const address = mainEndpoint(container.endpoints)?.address;
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

  /** The image of a container's `ps` row: its name while that still means this image, else its id. */
  imageName(container: ContainerInfo): string {
    try {
      return this.images.resolve(container.spec.imageName).id === container.spec.imageId
        ? container.spec.imageName
        : container.spec.imageId;
    } catch {
      return container.spec.imageId;
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

/** Go's words (net/netip) for a text that is no address. */
function whyNoIp(text: string): string {
  return /^\d+(\.\d+){1,2}$/.test(text) ? 'IPv4 address too short' : 'unable to parse IP';
}
