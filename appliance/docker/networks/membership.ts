/**
 * Leaving and joining a network. A container has the network that it was made with. While it does not run it may leave that network and
 * join it again, as tools do when they make a container anew. Nothing more is implemented yet.
 */
import type { ContainerInfo, ExecService, NetworkService } from '../../../port-layer/index.js';
import { CaissonError, forbidden, invalid, unavailable, unsupported } from '../../../src/common/errors.js';
import type { ContainerLives } from '../containers/container-lives.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import type { EndpointRequest } from './endpoint-request.js';
import { checkEndpoint } from './network-endpoints.js';
import { noneId } from './none-network.js';

/** What membership depends on. */
export interface MembershipParts {
  exec: Pick<ExecService, 'resolve' | 'annotate'>;
  network: Pick<NetworkService, 'resolve'>;
  lives: Pick<ContainerLives, 'isUp'>;
  /** The virtual container host. */
  config: { id: string };
}

/** @param force a container that does not exist is reported as an endpoint that does not @throws in Docker's words */
export async function disconnect(
  parts: MembershipParts,
  network: string,
  reference: string,
  force: boolean,
): Promise<void> {
  const name = nameOf(parts, network);
  let container: ContainerInfo;
  try {
    container = containerOf(parts, reference);
  } catch (error) {
    if (!force) throw error;
    throw new CaissonError('notFound', `endpoint ${reference} not found`, { cause: error });
  }
  const { id } = container.spec;
  if (ownNetwork(container) !== name || recordOf(container).leftNetwork !== null)
    throw unavailable(`container ${id} is not connected to the network ${name}`);
  if (parts.lives.isUp(container) || container.state === 'starting')
    throw unsupported('disconnecting a running container from its network is not implemented');
  await parts.exec.annotate(id, annotationsOf({ leftNetwork: name }));
}

/** @param mac '': any @throws in Docker's words; unsupported */
export async function connect(
  parts: MembershipParts,
  network: string,
  reference: string,
  endpoint: EndpointRequest,
  mac: string,
): Promise<void> {
  const name = nameOf(parts, network);
  const container = containerOf(parts, reference);
  const { id, networks } = container.spec;
  checkEndpoint(name, endpoint);
  const own = ownNetwork(container);
  if (own !== name) {
    if (own === 'none' || name === 'none')
      throw invalid(
        'container cannot be connected to multiple networks with one of the networks in private (none) mode',
      );
    throw unsupported(`a further network ('${name}' besides '${own}') is not implemented`);
  }
  if (isUp(container)) throw forbidden(`endpoint with name ${container.spec.name} already exists in network ${name}`);
  if (mac !== '' && mac !== networks[0]?.mac)
    throw unsupported('connecting a container with another MAC address than it was made with is not implemented');
  if (recordOf(container).leftNetwork !== null) await parts.exec.annotate(id, annotationsOf({ leftNetwork: null }));
}

/** The name of a network that may be given by id too. @throws notFound */
function nameOf({ network, config }: MembershipParts, reference: string): string {
  return reference === 'none' || reference === noneId(config) ? 'none' : network.resolve(reference).name;
}

/** @throws invalid, notFound in Docker's words */
function containerOf({ exec }: MembershipParts, reference: string): ContainerInfo {
  if (reference === '') throw invalid('invalid name or ID supplied: ""');
  return exec.resolve(reference);
}

const ownNetwork = ({ spec }: ContainerInfo): string => spec.networks[0]?.network ?? 'none';
