/** Network: the network of one port group. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { SimpleObject } from '../objects/simple-object.js';
import { HOST_SYSTEM, NETWORK_FOLDER, networkRef } from '../references.js';

export class Network extends SimpleObject {
  /**
   * @param vms those with a card in it
   * @param madeBy id of the virtual container host that made it; undefined for an administrator's
   */
  constructor(
    portGroup: string,
    vms: () => ManagedObjectReference[],
    readonly madeBy?: string,
  ) {
    const network = networkRef(portGroup);
    super('Network', network.value, {
      name: portGroup,
      parent: NETWORK_FOLDER,
      summary: { $type: 'NetworkSummary', network, name: portGroup, accessible: true, ipPoolName: '' },
      host: [HOST_SYSTEM],
      vm: vms,
    });
  }
}
