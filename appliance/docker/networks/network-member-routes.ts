/**
 * Leaving and joining a network. A container has the network that it was made with: one that does not run may leave it and join it
 * again, as tools do that make a container anew. The rest is not done yet.
 */
import type { Router } from 'express';
import { z } from 'zod';
import type { ContainerInfo } from '../../../port-layer/index.js';
import { CaissonError, forbidden, invalid, unavailable, unsupported } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { endpointSchema } from '../containers/config/container-config.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { body, versionOf } from '../http/request.js';
import { checkEndpoint } from './network-endpoints.js';
import { noneId } from './none-network.js';

const connectSchema = goType(
  'network.ConnectOptions',
  z.object({ Container: z.string().nullish(), EndpointConfig: endpointSchema.nullish() }),
);
const disconnectSchema = goType(
  'network.DisconnectOptions',
  z.object({ Container: z.string().nullish(), Force: z.boolean().nullish() }),
);

/** Adds the routes. */
export function networkMemberRoutes(router: Router, engine: Engine): void {
  const { exec, network } = engine.portLayer;

  /** A network's name, by any name of it. @throws notFound */
  const nameOf = (reference: string): string =>
    reference === 'none' || reference === noneId(engine.config) ? 'none' : network.resolve(reference).name;
  const containerOf = (reference: string): ContainerInfo => {
    if (reference === '') throw invalid('invalid name or ID supplied: ""');
    return exec.resolve(reference);
  };
  const own = ({ spec }: ContainerInfo): string => spec.networks[0]?.network ?? 'none';

  router.post('/networks/:id/disconnect', async (request, response) => {
    const wanted = await body(request, disconnectSchema);
    const name = nameOf(request.params.id);
    let container: ContainerInfo;
    try {
      container = containerOf(wanted.Container ?? '');
    } catch (error) {
      if (wanted.Force !== true) throw error;
      throw new CaissonError('notFound', `endpoint ${wanted.Container ?? ''} not found`, { cause: error });
    }
    const { id } = container.spec;
    if (own(container) !== name || recordOf(container).leftNetwork !== null)
      throw unavailable(`container ${id} is not connected to the network ${name}`);
    if (engine.lives.isUp(container) || container.state === 'starting')
      throw unsupported('disconnecting a running container from its network is not implemented');
    await exec.annotate(id, annotationsOf({ leftNetwork: name }));
    response.status(200).end();
  });

  router.post('/networks/:id/connect', async (request, response) => {
    const wanted = await body(request, connectSchema);
    const name = nameOf(request.params.id);
    const container = containerOf(wanted.Container ?? '');
    const { id, networks } = container.spec;
    const endpoint = wanted.EndpointConfig ?? {};
    checkEndpoint(name, endpoint);
    if (own(container) !== name) {
      if (own(container) === 'none' || name === 'none')
        throw invalid(
          'container cannot be connected to multiple networks with one of the networks in private (none) mode',
        );
      throw unsupported(`a further network ('${name}' besides '${own(container)}') is not implemented`);
    }
    if (isUp(container)) throw forbidden(`endpoint with name ${container.spec.name} already exists in network ${name}`);
    // Heard of since 1.54.
    const mac = atLeast(versionOf(request), '1.54') ? (endpoint.MacAddress ?? '').toLowerCase() : '';
    if (mac !== '' && mac !== networks[0]?.mac)
      throw unsupported('connecting a container with another MAC address than it was made with is not implemented');
    if (recordOf(container).leftNetwork !== null) await exec.annotate(id, annotationsOf({ leftNetwork: null }));
    response.status(200).end();
  });
}
