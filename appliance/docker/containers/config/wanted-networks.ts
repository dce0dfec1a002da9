/** The networks that a request wants its container on, and the address of the card there. */
import type { ContainerSpec } from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import type { CreateBody } from './create-body.js';

/** The endpoint that a request describes for the network of its NetworkMode. */
export function mainEndpoint(request: CreateBody) {
  const mode = request.HostConfig?.NetworkMode ?? '';
  const given = request.NetworkingConfig?.EndpointsConfig;
  return given?.[mode] ?? given?.[mode === '' || mode === 'default' ? 'bridge' : mode];
}

/** The networks to join. @throws unsupported for modes that need another machine's or container's namespace; invalid */
export function wantedNetworks(request: CreateBody): ContainerSpec['networks'] {
  const mode = request.HostConfig?.NetworkMode ?? '';
  if (mode === 'none' || request.NetworkDisabled === true) return [];
  if (mode === 'host' || mode.startsWith('container:'))
    throw unsupported(
      `HostConfig.NetworkMode '${mode}' is not implemented: a virtual machine has a network stack of its own`,
    );
  const network = mode === '' || mode === 'default' ? 'bridge' : mode;
  const endpoint = mainEndpoint(request);
  const mac = macAddress(request.MacAddress ?? '', endpoint?.MacAddress ?? '', network);
  return [{ network, aliases: endpoint?.Aliases ?? [], ...(mac === '' ? {} : { mac }) }];
}

/** The card's address. Older clients give it to the container, newer ones to its network. @throws invalid in Docker's words */
function macAddress(own: string, endpoint: string, network: string): string {
  if (own !== '' && endpoint !== '' && own !== endpoint)
    throw invalid(
      'the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty',
    );
  const mac = (own || endpoint).toLowerCase().replaceAll('-', ':');
  if (mac === '') return '';
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac))
    throw invalid(`invalid config for network ${network}: invalid MAC address ${own || endpoint}`);
  // With the group bit (IEEE 802) it addresses a group of cards, not one.
  if ((Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0 || mac === '00:00:00:00:00:00')
    throw invalid(`invalid config for network ${network}: MAC address ${own || endpoint} is not one of a network card`);
  return mac;
}
