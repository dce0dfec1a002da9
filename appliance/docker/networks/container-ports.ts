/**
 * Publishes the ports of containers, and keeps with each container which ports its current run has. As in Docker, they lead to the
 * container's main endpoint; a container that is on internal networks only publishes none. On a container network they are the
 * container's own (`own-ports.ts`).
 */
import {
  type ContainerInfo,
  type ExecService,
  mainEndpoint,
  type NetworkInfo,
  type NetworkService,
} from '../../../port-layer/index.js';
import { messageOf, unsupported } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { type PortMapper, type PortRequest, type PublishedPort, wantedPorts } from '../../gateway/index.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import { checkOwnPorts, ownPorts } from './own-ports.js';
import { outerNetwork, reachable } from './reachable.js';

const log = logger('docker');

export class ContainerPorts {
  /** Changes of running containers, one after the other. */
  private following: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly mapper: PortMapper,
    private readonly exec: Pick<ExecService, 'list' | 'resolve' | 'annotate'>,
    private readonly networks: Pick<NetworkService, 'list'>,
  ) {}

  /** What a container has published now. */
  of(container: ContainerInfo): PublishedPort[] {
    const listening = this.mapper.portsOf(container.spec.id);
    return listening.length > 0 ? listening : this.own(container);
  }

  private own(container: ContainerInfo): PublishedPort[] {
    const asked = asksFor(container, false);
    const endpoint = asked.length > 0 && isUp(container) ? reachable(container.endpoints) : undefined;
    if (endpoint === undefined) return [];
    const network = this.networks.list().find((one) => one.id === endpoint.networkId);
    return network?.kind === 'external' ? ownPorts(asked, endpoint.address || endpoint.address6) : [];
  }

  /** Listens for the ports that a container asks for. @returns the annotations that keep them @throws internal in Docker's words */
  async reserve(container: ContainerInfo): Promise<Record<string, string>> {
    const { id, name } = container.spec;
    const main = outerNetwork(container, this.networks.list());
    const ports = main === undefined ? [] : wanted(container, main);
    this.checkReached(ports, main);
    const reserved = await this.mapper.reserve(id, name, ports);
    return annotationsOf({ ports: reserved });
  }

  /** It runs: lets connections through to it. */
  activate({ spec, endpoints }: ContainerInfo): void {
    const main = reachable(endpoints);
    if (main !== undefined) this.mapper.activate(spec.id, main);
  }

  release(id: string): void {
    this.mapper.release(id);
  }

  /**
   * A container was connected to a network or disconnected from one: if it runs, its ports follow its main endpoint. Where it still has one,
   * they keep their numbers.
   * @throws internal in Docker's words when a port is taken
   */
  follow(id: string): Promise<void> {
    const result = this.following.then(() => this.followNow(id));
    this.following = result.catch(() => undefined);
    return result;
  }

  private async followNow(reference: string): Promise<void> {
    const container = this.exec.resolve(reference);
    if (!isUp(container)) return;
    const { id, name } = container.spec;
    const before = this.mapper.portsOf(id);
    const main = outerNetwork(container, this.networks.list());
    if (reachable(container.endpoints) === undefined || main?.kind === 'external') {
      this.release(id);
      if (before.length > 0) await this.exec.annotate(id, annotationsOf({ ports: [] }));
      return;
    }
    const fresh = before.length === 0 && main !== undefined ? wanted(container, main) : [];
    this.checkReached(fresh, main);
    if (fresh.length > 0) {
      const ports = await this.mapper.reserve(id, name, fresh, '');
      // It may have ended meanwhile, and been started again.
      if (!isUp(this.exec.resolve(id))) {
        this.release(id);
        return;
      }
      await this.exec.annotate(id, annotationsOf({ ports }));
    }
    this.activate(this.exec.resolve(id));
  }

  /** @throws unsupported for ports that would lead nowhere, as on a vCenter whose networks this endpoint is not on */
  private checkReached(ports: readonly PortRequest[], network: Pick<NetworkInfo, 'name' | 'pools'> | undefined): void {
    if (ports.length === 0 || network === undefined) return;
    const subnets = network.pools.map(({ subnet }) => subnet);
    if (this.mapper.reaches(subnets)) return;
    const gateways = network.pools.map(({ gateway }) => gateway).join(' and ');
    throw unsupported(
      `ports cannot be published on network ${network.name}: this endpoint has no address on it (it needs ${gateways})`,
    );
  }

  /** Publishes the ports of containers that were already running when this endpoint started. */
  async restore(): Promise<void> {
    for (const container of this.exec.list()) {
      const { ports } = recordOf(container);
      if (container.state !== 'running' || ports === null || mainEndpoint(container.endpoints) === undefined) continue;
      const { id, name } = container.spec;
      try {
        await this.mapper.reserve(id, name, ports);
        this.activate(container);
      } catch (error) {
        log.error(
          { container: id, err: messageOf(error) },
          'a port of a running container could not be published again',
        );
      }
    }
  }

  /** Publishes everything again that is published: the gateway was started again. */
  republish(): Promise<void> {
    return this.mapper.republish();
  }
}

/** Where ports that are published on no particular address go for the containers of a network. */
const HOST_BINDING = 'com.docker.network.bridge.host_binding_ipv4';

/** What a container asks for. @param all with those of `--publish-all` */
function asksFor(container: ContainerInfo, all: boolean): PortRequest[] {
  const { config, hostConfig: host } = recordOf(container);
  const exposed = Object.keys(config.ExposedPorts ?? {});
  return wantedPorts(host.PortBindings ?? {}, exposed, all && host.PublishAllPorts === true);
}

/** What is to be listened for. @throws invalid for what a container network cannot do */
function wanted(
  container: ContainerInfo,
  network: Pick<NetworkInfo, 'kind' | 'name' | 'options' | 'trust'>,
): PortRequest[] {
  if (network.kind === 'external') {
    // What --publish-all would open was not named, so it stays as the trust level has it.
    checkOwnPorts(asksFor(container, false), network);
    return [];
  }
  const address = network.options[HOST_BINDING] ?? '';
  const ports = asksFor(container, true);
  return address === '' || address === '0.0.0.0'
    ? ports
    : ports.map((port) => (port.hostIp === '' ? { ...port, hostIp: address } : port));
}
