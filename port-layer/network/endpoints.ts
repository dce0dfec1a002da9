/** What follows from a container's list of networks. Pure. */
import type { NetworkEndpoint } from './types.js';

/**
 * The endpoint whose gateway is the container's default route and whose address published ports lead to: the first one that has
 * an address. Undefined for a container without networks, or one that does not run.
 */
export function mainEndpoint(endpoints: readonly NetworkEndpoint[]): NetworkEndpoint | undefined {
  return endpoints.find(({ address }) => address !== '');
}

/** The MAC addresses of a VM's network cards, in the order of the cards. @param devices `config.hardware.device` */
export function cardAddresses(devices: readonly object[]): string[] {
  return devices.flatMap((device) =>
    'macAddress' in device && typeof device.macAddress === 'string' ? [device.macAddress] : [],
  );
}
