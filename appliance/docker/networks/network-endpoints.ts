/**
 * Checks what a request says of a container's network. Tools send back what `inspect` showed them, so fields that the engine filled in
 * are ignored, as in Docker.
 */
import { invalid, unsupported } from '../../../src/common/errors.js';
import type { CreateBody } from '../containers/config/create-body.js';
import type { EndpointRequest } from './endpoint-request.js';

/** What the engine fills in when the container runs. */
const FILLED_IN = [
  'NetworkID',
  'EndpointID',
  'Gateway',
  'IPAddress',
  'IPPrefixLen',
  'IPv6Gateway',
  'GlobalIPv6Address',
  'GlobalIPv6PrefixLen',
  'DNSNames',
];
/** Implemented, or without meaning while there is one network (`GwPriority` says which of several is the way out). */
const DONE = [...FILLED_IN, 'Aliases', 'MacAddress', 'GwPriority', 'IPAMConfig'];

const OTHER_THAN_BRIDGE = /^(default|bridge|host|none|container:.*|)$/;

/** Checks the endpoints of a container that is to be made. It may have one network. @throws invalid in Docker's words, unsupported */
export function checkEndpoints(create: CreateBody): void {
  const mode = create.HostConfig?.NetworkMode || 'default';
  const same = mode === 'default' || mode === 'bridge' ? ['default', 'bridge'] : [mode];
  for (const [network, endpoint] of Object.entries(create.NetworkingConfig?.EndpointsConfig ?? {})) {
    if (!same.includes(network))
      throw unsupported(`NetworkingConfig: a further network ('${network}' besides '${mode}') is not implemented`);
    if (endpoint === null) throw invalid(`invalid config for network ${network}: EndpointsConfig is nil`);
    checkEndpoint(network, endpoint, `invalid config for network ${network}: `);
  }
}

/** @param before what the message of a wrong setting begins with @throws invalid in Docker's words, unsupported */
export function checkEndpoint(network: string, endpoint: EndpointRequest, before = ''): void {
  const wrong: string[] = [];
  const { IPv4Address, IPv6Address, LinkLocalIPs } = endpoint.IPAMConfig ?? {};
  const fixed = Boolean(IPv4Address) || Boolean(IPv6Address);
  const userDefined = !OTHER_THAN_BRIDGE.test(network);
  if (!userDefined && fixed)
    wrong.push(
      'user specified IP address is supported on user defined networks only',
      'user specified IP address is supported only when connecting to networks with user configured subnets',
    );
  if (!userDefined && (endpoint.Aliases ?? []).length > 0)
    wrong.push('network-scoped alias is supported only for containers in user defined networks');
  if (wrong.length > 0) {
    const list = wrong.length === 1 ? wrong[0]! : wrong.map((one) => `* ${one}`).join('\n');
    throw invalid(`${before}invalid endpoint settings:\n${list}`);
  }
  if (fixed || (LinkLocalIPs ?? []).length > 0)
    throw unsupported(`NetworkingConfig.EndpointsConfig.${network}.IPAMConfig is not implemented`);
  for (const [name, value] of Object.entries(endpoint))
    if (!DONE.includes(name) && !isEmpty(value))
      throw unsupported(`NetworkingConfig.EndpointsConfig.${network}.${name} is not implemented`);
}

function isEmpty(value: unknown): boolean {
  if (value === null || typeof value !== 'object') return !value;
  return Object.keys(value).length === 0;
}
