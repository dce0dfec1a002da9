/** Puts the Docker engine together over a port layer. What each part does stands in the part. */
import type { VchConfig } from '../../port-layer/config.js';
import type { HostInfo, PortLayer } from '../../port-layer/index.js';
import type { GatewayNetworks, PortMapper } from '../gateway/index.js';
import type { ImageService } from '../image/index.js';
import { ContainerLives } from './containers/container-lives.js';
import { ContainerObserver } from './containers/container-observer.js';
import { ContainerSizes } from './containers/container-size.js';
import { Launcher } from './containers/launch.js';
import { Lifecycle } from './containers/lifecycle.js';
import type { ViewSources } from './containers/view-sources.js';
import { EventBus } from './events/event-bus.js';
import { EventPublisher, type PublishContainerEvent } from './events/event-publisher.js';
import { Execs } from './execs/exec-service.js';
import { HealthService } from './health/health-service.js';
import { ContainerImages } from './images/container-images.js';
import { LogForwarding } from './logging/log-forwarding.js';
import { ContainerPorts } from './networks/container-ports.js';
import { DockerNetworks } from './networks/docker-networks.js';
import { type Names, NO_NAMES } from './networks/names-feed.js';
import { publishNetworkChange } from './networks/network-events.js';
import type { UsageParts } from './networks/usage.js';
import type { PolicyParts } from './policy/policy-routes.js';
import { RestartSupervisor } from './restart/restart-supervisor.js';
import { VolumeService } from './volumes/volume-service.js';

/** The gateway is somebody else's. */
const NO_GATEWAY = { follow: async () => undefined, again: async () => undefined };

export class Engine {
  readonly exec: PortLayer['exec'];
  readonly interaction: PortLayer['interaction'];
  readonly observe: PortLayer['observe'];
  readonly files: PortLayer['files'];
  readonly network: PortLayer['network'];
  readonly dockerNetworks: DockerNetworks;
  readonly volumeStore: PortLayer['volumes'];
  readonly volumeLife: PortLayer['volumeLife'];
  readonly volumeArchives: PortLayer['volumeArchives'];
  readonly volumeBackups: PortLayer['volumeBackups'];
  readonly events = new EventBus();
  readonly publish: PublishContainerEvent;
  readonly lives: ContainerLives;
  readonly lifecycle: Lifecycle;
  readonly execs: Execs;
  readonly restarts: RestartSupervisor;
  readonly volumes: VolumeService;
  readonly sizes: ContainerSizes;
  readonly containerImages: ContainerImages;
  readonly views: ViewSources;
  /** Null: nothing here can enforce any. */
  policies: PolicyParts | null = null;
  /** Null: nothing is carried here. */
  usageParts: UsageParts | null = null;
  readonly ports: ContainerPorts;
  private readonly health: HealthService;
  private readonly forwarding: LogForwarding;
  private readonly observer: ContainerObserver;
  private readonly stopListening: (() => void)[];

  constructor(
    private readonly portLayer: PortLayer,
    readonly images: ImageService,
    mapper: PortMapper,
    readonly config: VchConfig,
    readonly gatewayNetworks: Pick<GatewayNetworks, 'follow' | 'again'> = NO_GATEWAY,
    readonly names: Names = NO_NAMES,
  ) {
    const {
      exec,
      interaction,
      observe,
      kv,
      files,
      network,
      volumes: volumeStore,
      volumeLife,
      volumeArchives,
      volumeBackups,
    } = portLayer;
    this.exec = exec;
    this.interaction = interaction;
    this.observe = observe;
    this.files = files;
    this.network = network;
    this.volumeStore = volumeStore;
    this.volumeLife = volumeLife;
    this.volumeArchives = volumeArchives;
    this.volumeBackups = volumeBackups;
    this.dockerNetworks = new DockerNetworks(network, exec, config);
    const publisher = new EventPublisher(this.events, this.dockerNetworks);
    const publish = publisher.container;
    this.publish = publish;
    this.volumes = new VolumeService(volumeStore, exec, this.events, config, volumeLife);
    this.sizes = new ContainerSizes(files);
    this.containerImages = new ContainerImages(images, exec);
    this.ports = new ContainerPorts(mapper, exec, network);
    this.forwarding = new LogForwarding(interaction, kv, config.syslog);
    this.health = new HealthService({ interaction, kv, publish, resolve: (id) => exec.resolve(id) });
    const launcher = new Launcher(exec, this.ports, this.forwarding, network, names);
    this.restarts = new RestartSupervisor({
      list: () => exec.list(),
      start: (id, annotations) => launcher.launch(id, annotations),
      annotate: (id, annotations) => exec.annotate(id, annotations),
    });
    this.lives = new ContainerLives(this.restarts, this.health);
    this.lifecycle = new Lifecycle({
      exec,
      launcher,
      lives: this.lives,
      publish,
      restarts: this.restarts,
      volumes: this.volumes,
      names,
    });
    this.execs = new Execs({ exec, interaction, lives: this.lives, publish });
    this.observer = new ContainerObserver({
      exec,
      publisher,
      ports: this.ports,
      restarts: this.restarts,
      health: this.health,
      forwarding: this.forwarding,
      volumes: this.volumes,
      lifecycle: this.lifecycle,
      names,
    });
    this.views = {
      containers: () => exec.list(),
      lifeOf: (container) => this.lives.of(container),
      imageName: (container) => this.containerImages.nameOf(container),
      execIds: (id) => interaction.execIds(id),
      portsOf: (container) => this.ports.of(container),
      sourceOf: this.volumes.sourceOf,
      networkId: (name) => this.dockerNetworks.find(name)?.id ?? '',
      noneEndpointOf: (container) => this.dockerNetworks.noneEndpointOf(container),
    };
    this.stopListening = [
      portLayer.onEvent((event) => this.observer.on(event)),
      network.onChange((change) => {
        const { type } = change;
        publishNetworkChange(this.events, change);
        if (type === 'made' || type === 'gone') void this.gatewayNetworks.follow();
        void this.names.follow();
      }),
      images.onEvent(({ action, id, name, labels }) =>
        this.events.publish('image', action, action === 'pull' ? name : id, { ...labels, name }),
      ),
    ];
  }

  get room(): PortLayer['room'] {
    return this.portLayer.room;
  }

  readonly hostInfo = (): Promise<HostInfo> => this.portLayer.hostInfo();

  /** Before the API is served: publishes the ports of containers that run already. */
  restorePorts(): Promise<void> {
    return this.ports.restore();
  }

  /** The gateway was started again and serves nothing yet. */
  async serveAgain(): Promise<void> {
    await Promise.all([
      this.gatewayNetworks.again(),
      this.ports.republish(),
      this.names.forwardAgain(),
      this.policies?.policies.again(),
    ]);
  }

  /** Before the API is served: reads what the endpoint before this one knew of its containers. */
  recall(): Promise<void> {
    return this.health.recall(this.portLayer.exec.list());
  }

  /** Once the API is served: looks after containers that run, and starts those that their restart policies want started. */
  restore(): Promise<void> {
    this.observer.adopt();
    return this.restarts.restore();
  }

  async close(): Promise<void> {
    this.restarts.close();
    this.forwarding.close();
    this.policies?.policies.close();
    for (const stop of this.stopListening) stop();
    await this.health.close();
  }
}
