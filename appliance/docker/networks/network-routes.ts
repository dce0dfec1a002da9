/** Routes of networks. */
import type { Request, Router } from 'express';
import { z } from 'zod';
import type { VchConfig } from '../../../port-layer/config.js';
import { PortLayerError } from '../../../port-layer/index.js';
import { forbidden, invalid, unsupported } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { atLeast } from '../http/api-version.js';
import { body, filters, query, versionOf } from '../http/request.js';
import { parseBool } from '../values/parse-bool.js';
import { createNetworkSchema, networkRequest } from './create-network.js';
import { EGRESS_OPTION, optionWarning } from './driver-options.js';
import { RATE_OPTION } from './egress-rate.js';
import { endpointSchema } from './endpoint-request.js';
import { connect, disconnect, type MembershipParts } from './membership.js';
import { filterNetworks } from './network-filters.js';
import { networkView, statusView } from './network-view.js';
import type { UsageParts } from './usage.js';

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
  config: Pick<VchConfig, 'egress'>;
  /** Null: what containers send does not pass by this endpoint. */
  usageParts: UsageParts | null;
}

/** Adds the routes. */
export function networkRoutes(router: Router, parts: NetworkParts): void {
  const { dockerNetworks } = parts;

  for (const path of ['/networks', '/networks/'])
    router.get(path, (request, response) => {
      // Before 1.28 the list showed containers too.
      const whole = !atLeast(versionOf(request), '1.28');
      const found = filterNetworks(dockerNetworks.list(), filters(request), whole);
      response.json(found.map((one) => networkView(one, whole)));
    });

  router.get('/networks/*id', (request, response) => {
    checkVerbose(request);
    const id = idOf(request);
    const scope = query(request, 'scope') ?? '';
    if (scope !== '' && scope !== 'local') throw new PortLayerError('network.notFound', { network: id });
    const network = dockerNetworks.resolve(id);
    const status = statusView(dockerNetworks.usage(network), versionOf(request));
    response.json({ ...networkView(network, true), ...status });
  });

  router.post('/networks/create', async (request, response) => {
    const wanted = await body(request, createNetworkSchema);
    const all = dockerNetworks.list();
    const asked = networkRequest(wanted, versionOf(request), (name) => all.find((one) => one.name === name));
    if (asked.egress === 'relay' && parts.config.egress === 'none')
      throw forbidden(
        `${EGRESS_OPTION}=relay: nothing leaves the networks of this virtual container host (--egress none)`,
      );
    if (RATE_OPTION in asked.options && parts.usageParts === null)
      throw unsupported(`${RATE_OPTION} is not implemented here: what containers send does not pass by this endpoint`);
    const made = await dockerNetworks.create(asked);
    // Its gateway is set up meanwhile: containers wait for that before they get an address there.
    response.status(201).json({ Id: made.id, Warning: optionWarning(made) });
  });

  router.delete('/networks/*id', async (request, response) => {
    await dockerNetworks.remove(idOf(request));
    response.status(204).end();
  });

  router.post('/networks/*id/disconnect', async (request, response) => {
    const { Container = '', Force } = await body(request, disconnectSchema);
    await disconnect(parts, idOf(request), Container ?? '', Force === true);
    response.status(200).end();
  });

  router.post('/networks/*id/connect', async (request, response) => {
    const { Container, EndpointConfig } = await body(request, connectSchema);
    const endpoint = { ...EndpointConfig };
    const version = versionOf(request);
    if (!atLeast(version, '1.48')) endpoint.GwPriority = 0;
    // A MAC address can be given here since 1.54.
    const mac = atLeast(version, '1.54') ? (endpoint.MacAddress ?? '') : '';
    await connect(parts, idOf(request), Container ?? '', endpoint, mac);
    response.status(200).end();
  });
}

/** A network's name may have slashes in it. */
function idOf({ params }: Request): string {
  const { id } = params as { id?: string | string[] };
  return Array.isArray(id) ? id.join('/') : (id ?? '');
}

/** There is no more to tell of a network that is no swarm's. @throws invalid in Docker's words */
function checkVerbose(request: Request): void {
  const value = query(request, 'verbose') ?? '';
  if (value !== '' && parseBool(value) === null)
    throw invalid(
      `invalid value for verbose: ${value}: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`,
    );
}
