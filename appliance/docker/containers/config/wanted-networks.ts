/** The networks that a request wants its container on (moby `daemon/container_operations.go`, `updateContainerNetworkSettings`). */
import type { NetworkInfo, NetworkWish } from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import type { EndpointRequest } from '../../networks/endpoint-request.js';
import { checkEndpoint, checkMac, wishOf } from '../../networks/endpoint-settings.js';
import { HOST } from '../../networks/host-network.js';
import { joined } from '../../networks/problems.js';
import { dockerMessage } from '../../words/docker-message.js';
import type { CreateBody } from './create-body.js';

/** Finds a network by name or id; undefined: there is none, which only matters at the start. */
export type FindNetwork = (reference: string) => NetworkInfo | undefined;

/** The endpoint that a request describes for the network of its NetworkMode. */
export function mainEndpoint(request: CreateBody) {
  const mode = request.HostConfig?.NetworkMode ?? '';
  const given = request.NetworkingConfig?.EndpointsConfig;
  return given?.[mode] ?? given?.[mode === '' || mode === 'default' ? 'bridge' : mode];
}

/**
 * Checks a request's networks. @throws invalid in Docker's words, with all that is wrong; unsupported for modes that need another
 * machine's or container's network
 */
export function checkNetworks(request: CreateBody, find: FindNetwork): void {
  checkNetworkMode(request);
  const main = mainNetwork(request);
  const endpoints = endpointsOf(request, main);
  // By its id, or beside others.
  for (const name of [main, ...endpoints.map(([key]) => key)])
    if (find(name)?.driver === HOST) throw noOtherNetwork('host');
  const problems = endpoints.flatMap(([name, endpoint]) => {
    if (endpoint === null) return [`invalid config for network ${name}: EndpointsConfig is nil`];
    try {
      checkEndpoint(name, find(name), endpoint);
      return [];
    } catch (error) {
      const message = dockerMessage(error);
      if (!/^invalid /.test(message)) throw error;
      return [`invalid config for network ${name}: ${message}`];
    }
  });
  if (problems.length > 0) throw invalid(joined(problems));
}

/** The networks to join, that of the NetworkMode first. @throws invalid */
export function wantedNetworks(request: CreateBody, find: FindNetwork): NetworkWish[] {
  if (request.NetworkDisabled === true) return [];
  const main = mainNetwork(request);
  const given = endpointsOf(request, main);
  const nameOf = (reference: string): string => find(reference)?.name ?? reference;
  const mainName = nameOf(main);
  const wanted: [string, EndpointRequest | null][] = given.length === 0 ? [[main, {}]] : given;
  return wanted
    .map(([key, endpoint]): [string, EndpointRequest] => [nameOf(key), endpoint ?? {}])
    .filter(([name]) => name !== 'none')
    .sort(([one], [other]) => Number(other === mainName) - Number(one === mainName))
    .map(([name, endpoint]) => wishOf(name, endpoint, macOf(request, endpoint, name, name === mainName)));
}

/** What is said of the networks, by name or id. The word `default` stands for the default network. */
function endpointsOf(request: CreateBody, main: string): [string, EndpointRequest | null][] {
  const given = Object.entries(request.NetworkingConfig?.EndpointsConfig ?? {});
  return given.map(([key, endpoint]) => [main === 'bridge' && key === 'default' ? 'bridge' : key, endpoint]);
}

function mainNetwork(request: CreateBody): string {
  const mode = request.HostConfig?.NetworkMode ?? '';
  return mode === '' || mode === 'default' ? 'bridge' : mode;
}

/** The card's address. Older clients give it to the container, newer ones to its network. @throws invalid in Docker's words */
function macOf(request: CreateBody, endpoint: EndpointRequest, name: string, main: boolean): string {
  const own = main ? (request.MacAddress ?? '') : '';
  const given = endpoint.MacAddress ?? '';
  if (own !== '' && given !== '' && own !== given)
    throw invalid(
      'the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty',
    );
  if (own === '' && given === '') return '';
  try {
    return checkMac(own || given);
  } catch (error) {
    throw invalid(`invalid config for network ${name}: ${dockerMessage(error)}`);
  }
}

/** @throws invalid in Docker's words for what a mode rules out; unsupported for the modes of another machine's or container's network */
export function checkNetworkMode({ HostConfig: host, Hostname, ExposedPorts }: CreateBody): void {
  const mode = host?.NetworkMode ?? '';
  const some = (value: object | null | undefined): boolean => Object.keys(value ?? {}).length > 0;
  if (mode === 'host' && some(host?.Links))
    throw invalid(
      "conflicting options: host type networking can't be used with links. This would result in undefined behavior",
    );
  const shared = mode === 'container' || mode.startsWith('container:');
  if (shared) {
    if (mode.slice('container:'.length) === '')
      throw invalid('invalid network mode: invalid container format container:<name|id>');
    if (Hostname) throw invalid('conflicting options: hostname and the network mode');
    if (some(host?.Links))
      throw invalid(
        "conflicting options: container type network can't be used with links. This would result in undefined behavior",
      );
    if (some(host?.Dns)) throw invalid('conflicting options: dns and the network mode');
    if (some(host?.ExtraHosts)) throw invalid('conflicting options: custom host-to-IP mapping and the network mode');
    if (some(host?.PortBindings) || host?.PublishAllPorts === true)
      throw invalid('conflicting options: port publishing and the container type network mode');
    if (some(ExposedPorts)) throw invalid('conflicting options: port exposing and the container type network mode');
  }
  if (shared || mode === 'host') throw noOtherNetwork(mode);
}

const noOtherNetwork = (mode: string): Error =>
  unsupported(`HostConfig.NetworkMode '${mode}' is not implemented: a virtual machine has a network stack of its own`);
