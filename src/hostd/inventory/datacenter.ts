/** Datacenter: the only one that a single host has. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { SimpleObject } from '../objects/simple-object.js';
import { DATACENTER, DATASTORE_FOLDER, HOST_FOLDER, NETWORK_FOLDER, ROOT_FOLDER, VM_FOLDER } from '../references.js';

export class Datacenter extends SimpleObject {
  constructor(networks: () => ManagedObjectReference[], datastores: readonly ManagedObjectReference[]) {
    super('Datacenter', DATACENTER.value, {
      name: DATACENTER.value,
      parent: ROOT_FOLDER,
      vmFolder: VM_FOLDER,
      hostFolder: HOST_FOLDER,
      datastoreFolder: DATASTORE_FOLDER,
      networkFolder: NETWORK_FOLDER,
      datastore: datastores,
      network: networks,
      configuration: { defaultHardwareVersionKey: 'vmx-14' },
    });
  }
}
