/** What has to be done about a container's addresses before it can use them: the personality may set it. */
import type { NetworkEndpoint } from '../network/types.js';
import type { ContainerInfo } from './types.js';

export class StartGate {
  private check: ((container: ContainerInfo) => Promise<void>) | null = null;

  /** @param check the container's endpoints have their addresses; if it throws, the container does not get them */
  set(check: (container: ContainerInfo) => Promise<void>): void {
    this.check = check;
  }

  /** @param endpoints that it is about to have */
  async pass(container: { info(): ContainerInfo }, endpoints: NetworkEndpoint[]): Promise<void> {
    await this.check?.({ ...container.info(), endpoints });
  }
}
