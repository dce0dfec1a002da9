/** The network `none`, to which containers without a network belong. It is shown beside the port layer's, which does not know it. */
import { type ContainerInfo, type NetworkInfo, wholeEndpoint } from '../../../port-layer/index.js';
import { sha256 } from '../../../src/common/ids.js';
import { recordOf } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import { cardless } from './host-network.js';

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
    ...cardless(noneId(vch), NONE, 'null'),
    endpoints: members.map(({ spec: { id, name } }) => ({
      ...wholeEndpoint({ network: NONE, networkId: noneId(vch), endpointId: noneEndpointId(vch, id) }),
      ...{ containerId: id, containerName: name },
    })),
  };
}
