/** What the views show of a container beyond what the port layer tells. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import type { PublishedPort } from '../../gateway/index.js';
import type { ContainerLife } from './container-life.js';

export interface ViewSources {
  /** All containers: those that link to each other show each other's names. */
  containers(): ContainerInfo[];
  lifeOf(container: ContainerInfo): ContainerLife;
  imageName(container: ContainerInfo): string;
  execIds(id: string): string[];
  portsOf(container: ContainerInfo): PublishedPort[];
  /** The path of a volume, as vSphere writes it. */
  sourceOf(volume: string): string;
  /** The id of a network, also of `none`; '' if it is gone. */
  networkId(name: string): string;
  /** The endpoint of a container on `none`; '' unless it is there. */
  noneEndpointOf(container: ContainerInfo): string;
}
