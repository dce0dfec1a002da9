/** `docker network create`: from the request to what the port layer is asked for. Checks in Docker's order and words. Pure. */
import { z } from 'zod';
import type { NetworkRequest } from '../../../port-layer/index.js';
import { conflict, forbidden, invalid, notFound, unsupported } from '../../../src/common/errors.js';
import { goType } from '../../../src/common/go-json.js';
import { atLeast } from '../http/api-version.js';
import { NO_SWARM } from '../system/refused-routes.js';
import { bool, text, words } from '../values/go-fields.js';
import { parseBool } from '../values/parse-bool.js';
import { checkMtu, driverOptions } from './driver-options.js';
import { askedPools, checkBridgePools, checkIpamDriver, ipamSchema } from './ipam-config.js';

export const createNetworkSchema = goType(
  'network.CreateRequest',
  z.object({
    Name: text,
    /** Names are always checked. */
    CheckDuplicate: bool,
    Driver: text,
    Scope: text,
    EnableIPv4: bool,
    EnableIPv6: bool,
    IPAM: ipamSchema.nullish(),
    Internal: bool,
    Attachable: bool,
    Ingress: bool,
    ConfigOnly: bool,
    ConfigFrom: goType('network.ConfigReference', z.object({ Network: text })).nullish(),
    Options: words,
    Labels: words,
  }),
);

export type CreateNetworkBody = z.infer<typeof createNetworkSchema>;

/** Names that no network can be given. */
export const PREDEFINED = ['bridge', 'host', 'none', 'default'];

/** Drivers of Docker that this engine does not have, and why. */
const OTHER_DRIVERS: Record<string, string> = {
  macvlan: 'a network of vSphere is shown to containers with the option --container-network of vic-machine',
  ipvlan: 'a network of vSphere is shown to containers with the option --container-network of vic-machine',
};

const OPTION_IPV4 = 'com.docker.network.enable_ipv4';
const OPTION_IPV6 = 'com.docker.network.enable_ipv6';

/** @param taken whether a network has a name @throws invalid, forbidden, conflict, notFound in Docker's words; unsupported */
export function networkRequest(
  body: CreateNetworkBody,
  version: string,
  taken: (name: string) => boolean,
): NetworkRequest {
  const name = body.Name ?? '';
  const driver = body.Driver || 'bridge';
  if (PREDEFINED.includes(name)) throw forbidden(`operation is not permitted on predefined ${name} network `);
  if (driver === 'overlay') throw forbidden(NO_SWARM);
  const options = { ...body.Options };
  // EnableIPv4 exists since 1.48.
  const ipv4 = family(options, OPTION_IPV4, atLeast(version, '1.48') ? body.EnableIPv4 : null, true);
  const ipv6 = family(options, OPTION_IPV6, body.EnableIPv6, false);
  const pools = askedPools(body.IPAM, ipv6);
  if (name.trim() === '') throw invalid('invalid name: name is empty');
  if (taken(name)) throw conflict(`network with name ${name} already exists`);
  checkKind(body, driver, ipv4, ipv6);
  const internal = body.Internal === true;
  const { icc, egress, mtu, ...rest } = driverOptions(options, internal);
  checkIpamDriver(body.IPAM?.Driver ?? '', ipv4);
  if (!ipv4 && !ipv6) throw invalid('IPv4 or IPv6 must be enabled');
  checkBridgePools(pools, ipv6);
  checkMtu({ icc, mtu, ...rest });
  return {
    name,
    pools,
    ipv4,
    ipv6,
    internal,
    attachable: body.Attachable === true,
    icc,
    ...(egress === undefined ? {} : { egress }),
    mtu,
    labels: body.Labels ?? {},
    options,
    ipamOptions: body.IPAM?.Options ?? null,
    ipamDriver: body.IPAM?.Driver || 'default',
  };
}

/** Whether a kind of addresses is on: by its field, or by an option, which the field replaces. */
function family(
  options: Record<string, string>,
  option: string,
  field: boolean | null | undefined,
  otherwise: boolean,
): boolean {
  if (field !== null && field !== undefined) {
    delete options[option];
    return field;
  }
  if (options[option] === undefined) return otherwise;
  const value = parseBool(options[option]);
  if (value === null) throw invalid(`driver-opt ${JSON.stringify(option)} is not a valid bool`);
  return value;
}

/** Swarm, configuration networks and drivers. */
function checkKind(body: CreateNetworkBody, driver: string, ipv4: boolean, ipv6: boolean): void {
  const { Scope, Ingress, Internal, Attachable, ConfigOnly, ConfigFrom, Labels, IPAM, Options } = body;
  const from = ConfigFrom?.Network ?? '';
  if (ConfigOnly === true && (Ingress === true || Internal === true || Attachable === true || Boolean(Scope)))
    throw forbidden(
      'configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.',
    );
  if (from !== '') {
    if (ConfigOnly === true) throw forbidden('a configuration network cannot depend on another configuration network');
    const given = [Labels, IPAM?.Options, IPAM?.Config].some((one) => Object.keys(one ?? {}).length > 0);
    if (given || !ipv4 || ipv6 || !['', 'default'].includes(IPAM?.Driver ?? ''))
      throw forbidden(
        'user specified configurations are not supported if the network depends on a configuration network',
      );
    if (Object.keys(Options ?? {}).length > 0)
      throw forbidden('network driver options are not supported if the network depends on a configuration network');
  }
  if (ConfigOnly === true)
    throw unsupported('a network that is only a configuration (ConfigOnly) is not implemented: it is for swarms');
  checkDriver(driver);
  if (Ingress === true) throw forbidden('Ingress network can only be global scope network');
  if (from !== '') throw notFound(`configuration network ${JSON.stringify(from)} does not exist`);
  if (Scope === 'swarm') throw forbidden('cannot create a swarm scoped network when swarm is not active');
  if (Scope !== undefined && Scope !== null && Scope !== '' && Scope !== 'local')
    throw invalid(`invalid scope '${Scope}': networks are local`);
}

function checkDriver(driver: string): void {
  if (driver === 'bridge') return;
  if (driver === 'host' || driver === 'null') throw forbidden(`only one instance of "${driver}" network is allowed`);
  const why = OTHER_DRIVERS[driver];
  if (why !== undefined) throw unsupported(`networks of the driver '${driver}' are not implemented: ${why}`);
  throw notFound(`plugin ${JSON.stringify(driver)} not found`);
}
