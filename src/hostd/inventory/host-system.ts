/** HostSystem: this machine. */
import type { AboutInfo, ManagedObjectReference } from '../../vim25/server.js';
import { SimpleObject } from '../objects/simple-object.js';
import { AUTO_START_MANAGER, COMPUTE_RESOURCE, DATASTORE_BROWSER, HOST_SYSTEM, NETWORK_SYSTEM } from '../references.js';
import { HOST_CAPABILITY } from './host/host-capability.js';
import { hostConfig } from './host/host-config.js';
import { hostHardware } from './host/host-hardware.js';
import { hostLicensable } from './host/host-licensable.js';
import { hostRuntime } from './host/host-runtime.js';
import { hostSummary } from './host/host-summary.js';
import type { RunsMachines } from './host/runs-machines.js';
import type { PortGroups } from './port-groups.js';

export class HostSystem extends SimpleObject {
  constructor(host: {
    name: string;
    about: AboutInfo;
    runs: RunsMachines;
    portGroups: PortGroups;
    datastores: readonly ManagedObjectReference[];
    vms(): ManagedObjectReference[];
  }) {
    const { name, about, runs, portGroups, datastores } = host;
    super('HostSystem', HOST_SYSTEM.value, {
      name,
      parent: COMPUTE_RESOURCE,
      runtime: hostRuntime,
      vm: () => host.vms(),
      datastore: datastores,
      network: () => portGroups.networks(),
      datastoreBrowser: DATASTORE_BROWSER,
      configManager: { networkSystem: NETWORK_SYSTEM, autoStartManager: AUTO_START_MANAGER },
      hardware: () => hostHardware(about),
      capability: HOST_CAPABILITY,
      config: () => hostConfig(about, portGroups.seen()),
      licensableResource: hostLicensable,
      summary: () => hostSummary(name, about, runs),
    });
  }
}
