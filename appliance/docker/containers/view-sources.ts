/** What the views of containers look up besides the container itself. */
import type { ContainerInfo, ExecService, InteractionService, NetworkService } from '../../../port-layer/index.js';
import type { PortMapper } from '../../gateway/index.js';
import type { ContainerLife } from './container-life.js';

export interface ViewSources {
  readonly portLayer: {
    readonly exec: Pick<ExecService, 'list'>;
    readonly interaction: Pick<InteractionService, 'execIds'>;
    readonly network: Pick<NetworkService, 'resolve'>;
  };
  readonly ports: Pick<PortMapper, 'portsOf'>;
  readonly volumes: { sourceOf(name: string): string };
  readonly config: { readonly id: string };
  life(container: ContainerInfo): ContainerLife;
  imageName(container: ContainerInfo): string;
}
