/** By which of its networks a container can be reached from outside them. As in Docker, that is none of the internal ones. */
import {
  type ContainerInfo,
  mainEndpoint,
  type NetworkEndpoint,
  type NetworkInfo,
  wholeEndpoint,
} from '../../../port-layer/index.js';

/** The endpoint that published ports lead to. */
export function reachable(endpoints: readonly NetworkEndpoint[]): NetworkEndpoint | undefined {
  return mainEndpoint(endpoints.filter(({ internal }) => !internal));
}

/** The network whose endpoint that will be, for a container that may not run yet. */
export function outerNetwork(
  { spec }: Pick<ContainerInfo, 'spec'>,
  networks: readonly NetworkInfo[],
): NetworkInfo | undefined {
  const joined = spec.networks.flatMap(({ network, networkId, gwPriority = 0 }) => {
    const info = networks.find(({ id, name }) =>
      networkId === undefined ? name === network || id === network : id === networkId,
    );
    return info === undefined ? [] : [{ info, gwPriority }];
  });
  // It has no addresses yet; that it will have some of a kind is enough to know the order.
  const endpoints = joined.map(({ info: { id, name, ipv4, ipv6, internal }, gwPriority }) =>
    wholeEndpoint({
      ...{ network: name, networkId: id, gwPriority, internal },
      ...{ address: ipv4 ? '0.0.0.0' : '', address6: ipv6 ? '::' : '' },
    }),
  );
  const main = reachable(endpoints);
  return main === undefined ? undefined : joined.find(({ info }) => info.id === main.networkId)?.info;
}
