/** HostSystem.config. */
import type { AboutInfo } from '../../../vim25/server.js';
import { HOST_SYSTEM } from '../../references.js';
import type { SecurityPolicy } from '../../switch/security-policy.js';
import { hostNetwork } from './host-network-info.js';

/** HostConfigInfo. */
export function hostConfig(about: AboutInfo, portGroups: ReadonlyMap<string, SecurityPolicy>): object {
  return {
    host: HOST_SYSTEM,
    product: about,
    hyperThread: { available: false, active: false, config: false },
    network: hostNetwork(portGroups),
    datastorePrincipal: '',
    adminDisabled: false,
    wakeOnLanCapable: false,
  };
}
