/** Routes of the engine itself: ping, version, info; and what there is of networks. */
import type { RequestHandler, Router } from 'express';
import type { NetworkInfo } from '../../../port-layer/index.js';
import { notFound } from '../../../src/common/errors.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { checkFilters, filters, versionOf } from '../http/request.js';
import { infoView, versionView } from './info.js';

/** Adds the routes. */
export function systemRoutes(router: Router, engine: Engine): void {
  const ping: RequestHandler = (_request, response) => {
    response.set({
      'Builder-Version': '1',
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      Swarm: 'inactive',
    });
    // For HEAD express leaves the body out.
    response.type('text/plain').send('OK');
  };
  router.get('/_ping', ping);
  router.head('/_ping', ping);

  router.get('/version', async (_request, response) => {
    response.json(await versionView(engine));
  });

  router.get('/info', async (request, response) => {
    response.json(await infoView(engine, versionOf(request)));
  });

  router.get('/networks', (request, response) => {
    const given = filters(request);
    checkFilters(given, ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type']);
    const names = given.get('name');
    const ids = given.get('id');
    const wanted = engine.portLayer.network
      .list()
      .filter(
        (network) =>
          (names?.some((name) => network.name.includes(name)) ?? true) &&
          (ids?.some((id) => network.id.startsWith(id)) ?? true),
      );
    // Until 1.28 the list told of containers too.
    const whole = !atLeast(versionOf(request), '1.28');
    response.json(wanted.map((network) => networkView(network, whole)));
  });

  router.get('/networks/:id', (request, response) => {
    response.json(networkView(engine.portLayer.network.resolve(request.params.id), true));
  });

  // There are no plugins; `docker inspect` looks for names among them too.
  router.get('/plugins', (_request, response) => {
    response.json([]);
  });

  router.get('/plugins/*name/json', (request) => {
    const name: unknown = request.params.name;
    throw notFound(`plugin "${Array.isArray(name) ? name.join('/') : String(name)}" not found`);
  });
}

function networkView(network: NetworkInfo, whole: boolean): object {
  const containers = Object.fromEntries(
    network.endpoints.map((endpoint) => [
      endpoint.containerId,
      {
        Name: endpoint.containerName,
        EndpointID: endpoint.endpointId,
        MacAddress: endpoint.mac,
        IPv4Address: `${endpoint.address}/${endpoint.prefixLength}`,
        IPv6Address: '',
      },
    ]),
  );
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt.toISOString(),
    Scope: 'local',
    Driver: network.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: network.subnet, Gateway: network.gateway }] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: whole ? containers : {},
    Options: { 'com.caisson.portgroup': network.portGroup },
    Labels: {},
  };
}
