/** Events about one VM. */

import type { ManagedObjectReference } from '../../vim25/server.js';
import { HOST_SYSTEM } from '../references.js';
import type { VmConfig } from './vm-config.js';
import type { VmHost } from './vm-host.js';

/** Posts an event that reads `NAME on HOST WHAT`. */
export type PostVmEvent = (type: string, what: string, user: string, elements?: Record<string, unknown>) => void;

/** @param config read with each event, since the VM may have been renamed */
export function vmEvents(host: VmHost, vm: ManagedObjectReference, config: () => VmConfig): PostVmEvent {
  return (type, what, user, elements = {}) => {
    const { name } = config();
    host.events.post(type, `${name} on ${host.hostName} ${what}`, user, {
      vm: { name, vm },
      host: { name: host.hostName, host: HOST_SYSTEM },
      template: false,
      ...elements,
    });
  };
}
