/** Routes of networks. */
import type { Router } from 'express';
import { z } from 'zod';
import type { NetworkService } from '../../../port-layer/index.js';
import { goType } from '../../../src/common/go-json.js';
import { atLeast } from '../http/api-version.js';
import { body, filters, versionOf } from '../http/request.js';
import { checkFilters } from '../values/filters.js';
import { endpointSchema } from './endpoint-request.js';
import { connect, disconnect, type MembershipParts } from './membership.js';
import { networkView } from './network-view.js';

const connectSchema = goType(
  'network.ConnectOptions',
  z.object({ Container: z.string().nullish(), EndpointConfig: endpointSchema.nullish() }),
);
const disconnectSchema = goType(
  'network.DisconnectOptions',
  z.object({ Container: z.string().nullish(), Force: z.boolean().nullish() }),
);

/** What the routes need. */
export interface NetworkParts extends MembershipParts {
  network: Pick<NetworkService, 'list' | 'resolve'>;
}

/** Adds the routes. */
export function networkRoutes(router: Router, parts: NetworkParts): void {
  const { network } = parts;

  router.get('/networks', (request, response) => {
    const given = filters(request);
    checkFilters(given, ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type']);
    const names = given.get('name');
    const ids = given.get('id');
    const wanted = network
      .list()
      .filter(
        (one) =>
          (names?.some((name) => one.name.includes(name)) ?? true) &&
          (ids?.some((id) => one.id.startsWith(id)) ?? true),
      );
    // Before 1.28 the list showed containers too.
    const whole = !atLeast(versionOf(request), '1.28');
    response.json(wanted.map((one) => networkView(one, whole)));
  });

  router.get('/networks/:id', (request, response) => {
    response.json(networkView(network.resolve(request.params.id), true));
  });

  router.post('/networks/:id/disconnect', async (request, response) => {
    const { Container = '', Force } = await body(request, disconnectSchema);
    await disconnect(parts, request.params.id, Container ?? '', Force === true);
    response.status(200).end();
  });

  router.post('/networks/:id/connect', async (request, response) => {
    const { Container, EndpointConfig } = await body(request, connectSchema);
    const endpoint = EndpointConfig ?? {};
    // A MAC address can be given here since 1.54.
    const mac = atLeast(versionOf(request), '1.54') ? (endpoint.MacAddress ?? '').toLowerCase() : '';
    await connect(parts, request.params.id, Container ?? '', endpoint, mac);
    response.status(200).end();
  });
}
