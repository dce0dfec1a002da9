/** A row of `docker ps`. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import { atLeast } from '../http/api-version.js';
import { listMountsView } from '../volumes/mount-points.js';
import { recordOf } from './container-record.js';
import { dockerState, statusText } from './container-state.js';
import { linkNames } from './links.js';
import { listNetworksView, listPorts } from './network-view.js';
import type { ViewSources } from './view-sources.js';

/** Makes rows of `GET /containers/json` for an API version, as things stand now. */
export function listView(sources: ViewSources, apiVersion: string): (container: ContainerInfo) => object {
  const links = linkNames(sources.containers());
  const imageName = imageNames(sources);
  const annotated = atLeast(apiVersion, '1.46');
  const healthy = atLeast(apiVersion, '1.52');
  return (container) => {
    const { spec } = container;
    const { config, hostConfig } = recordOf(container);
    const life = sources.lifeOf(container);
    const annotations = hostConfig.Annotations ?? {};
    return {
      Id: spec.id,
      Names: [...(links.get(spec.id) ?? []), `/${spec.name}`].sort(),
      Image: imageName(container),
      ImageID: spec.imageId,
      Command: commandText(spec.process.args),
      Created: Math.floor(Date.parse(spec.createdAt) / 1000),
      Ports: listPorts(sources, container),
      Labels: config.Labels,
      State: dockerState(container, life),
      Status: statusText(container, life),
      HostConfig: {
        NetworkMode: hostConfig.NetworkMode || 'bridge',
        ...(annotated && Object.keys(annotations).length > 0 ? { Annotations: annotations } : {}),
      },
      NetworkSettings: { Networks: listNetworksView(sources, container) },
      Mounts: listMountsView(container, sources.sourceOf),
      ...(healthy
        ? { Health: { Status: life.health?.status ?? 'none', FailingStreak: life.health?.failingStreak ?? 0 } }
        : {}),
    };
  };
}

/** The names of containers' images. Many rows have the same image, so each is looked up once. */
function imageNames(sources: ViewSources): (container: ContainerInfo) => string {
  const known = new Map<string, string>();
  return (container) => {
    const key = `${container.spec.imageId} ${container.spec.imageName}`;
    const name = known.get(key) ?? sources.imageName(container);
    known.set(key, name);
    return name;
  };
}

/** Docker quotes arguments that have spaces or quotes. */
function commandText(args: string[]): string {
  return args.map((arg) => (/[\s"'\\$]/.test(arg) || arg === '' ? `'${arg.replaceAll("'", `'\\''`)}'` : arg)).join(' ');
}
