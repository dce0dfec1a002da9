/** `docker network create`: from the request to what the port layer is asked for. Checks in Docker's order and words. Pure. */
import { z } from 'zod';
import { type NetworkInfo, type NetworkRequest, PortLayerError } from '../../../port-layer/index.js';
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

/** @param find a network by its name @throws invalid, forbidden, conflict, notFound in Docker's words; unsupported */
export function networkRequest(
  body: CreateNetworkBody,
  version: string,
  find: (name: string) => NetworkInfo | undefined,
): NetworkRequest {
  const name = body.Name ?? '';
  const driver = body.Driver || 'bridge';
  if (PREDEFINED.includes(name)) throw forbidden(`operation is not permitted on predefined ${name} network `);
  if (driver === 'overlay') throw forbidden(NO_SWARM);
  const own = configurationIn(body, version);
  if (name.trim() === '') throw invalid('invalid name: name is empty');
  if (find(name) !== undefined) throw conflict(`network with name ${name} already exists`);
  checkConfigured(body, own);
  const plain = { name, internal: body.Internal === true, attachable: body.Attachable === true };
  // Whether such networks can be made is seen when one is.
  if (body.ConfigOnly === true) return { ...plain, ...own, kind: 'config' };
  checkDriver(driver);
  if (body.Ingress === true) throw forbidden('Ingress network can only be global scope network');
  const from = body.ConfigFrom?.Network ?? '';
  const configuration = from === '' ? own : configurationOf(from, find(from));
  checkScope(body.Scope ?? '');
  return { ...plain, ...bridgeRequest(configuration, plain.internal), ...(from === '' ? {} : { configFrom: from }) };
}

/** What networks can have from another one, of kind `config`. */
type Configuration = Pick<
  NetworkRequest,
  'pools' | 'ipv4' | 'ipv6' | 'labels' | 'options' | 'ipamOptions' | 'ipamDriver'
>;

function configurationIn({ IPAM, Labels, ...body }: CreateNetworkBody, version: string): Configuration {
  const options = { ...body.Options };
  // EnableIPv4 exists since 1.48.
  const ipv4 = family(options, OPTION_IPV4, atLeast(version, '1.48') ? body.EnableIPv4 : null, true);
  const ipv6 = family(options, OPTION_IPV6, body.EnableIPv6, false);
  return {
    ...{ pools: askedPools(IPAM, ipv6), ipv4, ipv6, labels: Labels ?? {}, options },
    ...{ ipamOptions: IPAM?.Options ?? null, ipamDriver: IPAM?.Driver || 'default' },
  };
}

/** @throws notFound in Docker's words */
function configurationOf(name: string, network: NetworkInfo | undefined): Configuration {
  if (network?.kind !== 'config') throw new PortLayerError('network.noConfiguration', { network: name });
  const { asked = [], ipv4, ipv6, labels, options, ipamOptions, ipamDriver } = network;
  return { pools: asked, ipv4, ipv6, labels, options, ipamOptions, ipamDriver };
}

/** What a configuration comes to. @throws invalid, forbidden, notFound in Docker's words; unsupported */
function bridgeRequest(configuration: Configuration, internal: boolean) {
  const { ipv4, ipv6, pools, ipamDriver = '' } = configuration;
  const options = driverOptions(configuration.options, internal);
  checkIpamDriver(ipamDriver, ipv4);
  if (!ipv4 && !ipv6) throw invalid('IPv4 or IPv6 must be enabled');
  checkBridgePools(pools, ipv6);
  checkMtu(options);
  return { ...configuration, ...options };
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

/** What does not go with a network that is a configuration, or is made from one. @throws forbidden in Docker's words */
function checkConfigured(
  body: CreateNetworkBody,
  { labels, ipv4, ipv6, ipamDriver, ipamOptions, pools }: Configuration,
): void {
  const { Scope, Ingress, Internal, Attachable, ConfigOnly, ConfigFrom, Options } = body;
  if (ConfigOnly === true && (Ingress === true || Internal === true || Attachable === true || Boolean(Scope)))
    throw forbidden(
      'configuration network can only contain network specific fields. Network operator fields like [ ingress | internal | attachable | scope ] are not supported.',
    );
  if (!ConfigFrom?.Network) return;
  if (ConfigOnly === true) throw forbidden('a configuration network cannot depend on another configuration network');
  const given = [labels, ipamOptions ?? {}, pools].some((one) => Object.keys(one).length > 0);
  if (given || !ipv4 || ipv6 || ipamDriver !== 'default')
    throw forbidden(
      'user specified configurations are not supported if the network depends on a configuration network',
    );
  if (Object.keys(Options ?? {}).length > 0)
    throw forbidden('network driver options are not supported if the network depends on a configuration network');
}

function checkScope(scope: string): void {
  if (scope === 'swarm') throw forbidden('cannot create a swarm scoped network when swarm is not active');
  if (scope !== '' && scope !== 'local') throw invalid(`invalid scope '${scope}': networks are local`);
}

function checkDriver(driver: string): void {
  if (driver === 'bridge') return;
  if (driver === 'host' || driver === 'null') throw forbidden(`only one instance of "${driver}" network is allowed`);
  const why = OTHER_DRIVERS[driver];
  if (why !== undefined) throw unsupported(`networks of the driver '${driver}' are not implemented: ${why}`);
  throw notFound(`plugin ${JSON.stringify(driver)} not found`);
}
