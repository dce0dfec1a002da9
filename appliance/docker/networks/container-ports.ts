/** Publishes the ports of containers, and keeps with each container which ports its current run has. */
import { type ContainerInfo, type ExecService, mainEndpoint } from '../../../port-layer/index.js';
import { messageOf } from '../../../src/common/errors.js';
import { logger } from '../../../src/common/log.js';
import { type PortMapper, type PublishedPort, wantedPorts } from '../../gateway/index.js';
import { annotationsOf, recordOf } from '../containers/container-record.js';

const log = logger('docker');

export class ContainerPorts {
  constructor(
    private readonly mapper: PortMapper,
    private readonly exec: Pick<ExecService, 'list'>,
  ) {}

  /** What a container has published now. */
  of(id: string): PublishedPort[] {
    return this.mapper.portsOf(id);
  }

  /** Listens for the ports that a container asks for. @returns the annotations that keep them @throws internal in Docker's words */
  async reserve(container: ContainerInfo): Promise<Record<string, string>> {
    const { id, name, networks } = container.spec;
    const { config, hostConfig: host } = recordOf(container);
    const exposed = Object.keys(config.ExposedPorts ?? {});
    const wanted =
      networks.length === 0 ? [] : wantedPorts(host.PortBindings ?? {}, exposed, host.PublishAllPorts === true);
    const reserved = await this.mapper.reserve(id, name, wanted);
    return annotationsOf({ ports: reserved });
  }

  /** It runs: lets connections through to it. */
  activate({ spec, endpoints }: ContainerInfo): void {
    const main = mainEndpoint(endpoints);
    if (main !== undefined) this.mapper.activate(spec.id, main.address);
  }

  release(id: string): void {
    this.mapper.release(id);
  }

  /** Publishes the ports of containers that were already running when this endpoint started. */
  async restore(): Promise<void> {
    for (const container of this.exec.list()) {
      const { ports } = recordOf(container);
      const address = mainEndpoint(container.endpoints)?.address;
      if (container.state !== 'running' || ports === null || address === undefined) continue;
      const { id, name } = container.spec;
      this.mapper.release(id);
      try {
        await this.mapper.reserve(id, name, ports);
        this.mapper.activate(id, address);
      } catch (error) {
        log.error(
          { container: id, err: messageOf(error) },
          'a port of a running container could not be published again',
        );
      }
    }
  }
}
