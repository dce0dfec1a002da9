/** The network `none`, to which containers without a network belong. It is shown beside the port layer's, which does not know it. */
import type { ContainerInfo, NetworkInfo } from '../../../port-layer/index.js';
import { sha256 } from '../../../src/common/ids.js';
import { recordOf } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';

export const NONE = 'none';

/** @param vch whose `none` it is */
export const noneId = (vch: { id: string }): string => sha256(`network ${vch.id} none`);

/** Whether a container is on `none`: that is where it was made, or where it was put once it had no other network. */
export function isOnNone(container: ContainerInfo): boolean {
  const { onNone, hostConfig, config } = recordOf(container);
  if (container.spec.networks.length > 0 || config.NetworkDisabled === true) return false;
  return onNone ?? hostConfig.NetworkMode === NONE;
}

export const noneEndpointId = (vch: { id: string }, container: string): string => sha256(`${noneId(vch)} ${container}`);

/** @param containers all of them */
export function noneNetwork(vch: { id: string }, containers: readonly ContainerInfo[]): NetworkInfo {
  const members = containers.filter((container) => isUp(container) && isOnNone(container));
  return {
    ...{ id: noneId(vch), name: NONE, kind: 'bridge', driver: 'null', createdAt: new Date(0), portGroup: '' },
    ...{ predefined: true, interface: '', subnet: '', gateway: '', pools: [], ipv4: true, ipv6: false },
    ...{ internal: false, attachable: false, ingress: false, icc: false, egress: 'none', mtu: 0 },
    ...{ labels: {}, options: {}, ipamOptions: null, ipamDriver: 'default' },
    endpoints: members.map(({ spec: { id, name } }) => ({
      ...{ containerId: id, containerName: name, network: NONE, networkId: noneId(vch) },
      ...{ endpointId: noneEndpointId(vch, id), mac: '', address: '', prefixLength: 0, gateway: '', address6: '' },
      ...{ prefixLength6: 0, gateway6: '', gwPriority: 0, mtu: 0, internal: false, nameServers: [], aliases: [] },
    })),
  };
}
