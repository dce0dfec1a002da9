/** By which of its endpoints a container can be reached from outside its networks. */
import { mainEndpoint, type NetworkEndpoint } from '../../../port-layer/index.js';

/** The endpoint that published ports lead to. As in Docker, there is none on an internal network. */
export function reachable(endpoints: readonly NetworkEndpoint[]): NetworkEndpoint | undefined {
  return mainEndpoint(endpoints.filter(({ internal }) => !internal));
}
