/** Docker's events of networks. Those of containers that start and end are published with the containers' own. */
import type { NetworkChange, NetworkInfo } from '../../../port-layer/index.js';
import type { EventBus } from '../events/event-bus.js';

const ACTIONS = { made: 'create', gone: 'destroy', connected: 'connect', disconnected: 'disconnect' } as const;

/** Publishes what happened to a network, whoever caused it. */
export function publishNetworkChange(bus: Pick<EventBus, 'publish'>, change: NetworkChange): void {
  // As in Docker, the end of a configuration is not told.
  if (change.type === 'gone' && change.network.kind === 'config') return;
  publishNetwork(bus, change.network, ACTIONS[change.type], 'containerId' in change ? change.containerId : undefined);
}

/** @param container undefined: it is about the network alone */
export function publishNetwork(
  bus: Pick<EventBus, 'publish'>,
  { id, name, driver }: Pick<NetworkInfo, 'id' | 'name' | 'driver'>,
  action: (typeof ACTIONS)[keyof typeof ACTIONS],
  container?: string,
): void {
  bus.publish('network', action, id, { ...(container === undefined ? {} : { container }), name, type: driver });
}
