/** Putting a container on a further network, and taking it off one: running or not. In Docker's words (moby `daemon/container_operations.go`). */
import {
  type ContainerInfo,
  type ExecService,
  type NetworkService,
  PortLayerError,
} from '../../../port-layer/index.js';
import { invalid, notFound, unavailable } from '../../../src/common/errors.js';
import type { ContainerLives } from '../containers/container-lives.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';
import type { ContainerPorts } from './container-ports.js';
import type { DockerNetworks } from './docker-networks.js';
import { refuseRate } from './egress-rate.js';
import type { EndpointRequest } from './endpoint-request.js';
import { checkEndpoint, checkMac, wishOf } from './endpoint-settings.js';
import { HOST } from './host-network.js';
import type { Names } from './names-feed.js';
import { isOnNone, NONE } from './none-network.js';

/** What membership depends on. */
export interface MembershipParts {
  exec: Pick<ExecService, 'resolve' | 'annotate'>;
  network: Pick<NetworkService, 'connect' | 'disconnect'>;
  dockerNetworks: DockerNetworks;
  lives: Pick<ContainerLives, 'isUp'>;
  ports: Pick<ContainerPorts, 'follow'>;
  names: Pick<Names, 'follow'>;
}

const WITH_NONE = 'container cannot be connected to multiple networks with one of the networks in private (none) mode';

/** @param mac of the card; '': any @throws in Docker's words; unsupported */
export async function connect(
  parts: MembershipParts,
  reference: string,
  container: string,
  endpoint: EndpointRequest,
  mac: string,
): Promise<void> {
  const { network, dockerNetworks, exec } = parts;
  const info = containerOf(parts, container);
  checkStays(info);
  const { id } = info.spec;
  const wanted = dockerNetworks.resolve(reference);
  checkEndpoint(wanted.name, wanted, endpoint);
  if (!dockerNetworks.ownHost) refuseRate(endpoint.DriverOpts);
  if (wanted.name === HOST)
    throw invalid('cannot connect container to host network - container must be created in host network mode');
  const own = memberships(info);
  if (own.includes(wanted.name)) {
    // One that does not run keeps what it has, as in Docker.
    if (!parts.lives.isUp(info)) return;
    throw new PortLayerError('network.alreadyOn', { container: info.spec.name, network: wanted.name });
  }
  const { leftNetwork } = recordOf(info);
  if (leftNetwork === wanted.name) return exec.annotate(id, annotationsOf({ leftNetwork: null }));
  if (own.length > 0 && (wanted.name === NONE || own.includes(NONE))) throw invalid(WITH_NONE);
  if (wanted.name === NONE) return exec.annotate(id, annotationsOf({ onNone: true }));
  const { network: _, ...options } = wishOf(wanted.name, endpoint, mac === '' ? '' : checkMac(mac), true);
  await network.connect(id, wanted.id, options);
  try {
    await Promise.all([parts.ports.follow(id), parts.names.follow()]);
  } catch (error) {
    // A port that it publishes there is taken.
    await network.disconnect(id, wanted.id);
    throw error;
  }
}

/** @param force a container that does not exist is reported as an endpoint that does not @throws in Docker's words */
export async function disconnect(
  parts: MembershipParts,
  reference: string,
  container: string,
  force: boolean,
): Promise<void> {
  const { exec, network, dockerNetworks } = parts;
  let info: ContainerInfo;
  try {
    info = containerOf(parts, container);
  } catch (error) {
    if (!force) throw error;
    dockerNetworks.resolve(reference);
    throw notFound(`endpoint ${container} not found`, error);
  }
  const { id } = info.spec;
  const up = parts.lives.isUp(info);
  const wanted = dockerNetworks.find(reference);
  // While a container does not run, a network that is gone can still be taken from it.
  if (wanted === undefined && up && !force) dockerNetworks.resolve(reference);
  const name = wanted?.name ?? reference;
  checkStays(info);
  if (!memberships(info).includes(name))
    throw unavailable(
      up && wanted !== undefined
        ? `container ${id} is not connected to network ${name}`
        : `container ${id} is not connected to the network ${name}`,
    );
  if (name === NONE) return exec.annotate(id, annotationsOf({ onNone: false }));
  await network.disconnect(id, wanted?.id ?? name);
  await Promise.all([parts.ports.follow(id), parts.names.follow()]);
}

/** The names of a container's networks. An earlier version only noted that a container had left its network. */
function memberships(container: ContainerInfo): string[] {
  if (isOnNone(container)) return [NONE];
  const { leftNetwork } = recordOf(container);
  return container.spec.networks.map(({ network }) => network).filter((name) => name !== leftNetwork);
}

/** @throws invalid, notFound in Docker's words */
function containerOf({ exec }: MembershipParts, reference: string): ContainerInfo {
  if (reference === '') throw invalid('invalid name or ID supplied: ""');
  return exec.resolve(reference);
}

/** @throws unavailable in Docker's words */
function checkStays({ spec, state }: ContainerInfo): void {
  if (state === 'removing' || state === 'dead')
    throw unavailable(
      `Container ${spec.id} is marked for removal and cannot be connected or disconnected to the network`,
    );
}
