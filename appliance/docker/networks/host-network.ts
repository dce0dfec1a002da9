/** The network `host`, which is shown and can be used for nothing. */
import { type NetworkInfo, PLAIN_NETWORK } from '../../../port-layer/index.js';
import { sha256 } from '../../../src/common/ids.js';

export const HOST = 'host';

/** The machine's own network, which a container, being a machine itself, is never on. Tools look for it in lists. */
export function hostNetwork(vch: { id: string }): NetworkInfo {
  return cardless(sha256(`network ${vch.id} ${HOST}`), HOST, HOST);
}

/** A network of which no container has a card. */
export function cardless(id: string, name: string, driver: string): NetworkInfo {
  return {
    ...PLAIN_NETWORK,
    ...{ id, name, driver, egress: 'none', createdAt: new Date(0), predefined: true },
    ...{ portGroup: '', interface: '', subnet: '', gateway: '', pools: [], endpoints: [] },
  };
}
