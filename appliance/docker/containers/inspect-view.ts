/** A container as `docker inspect` shows it. */
import type { ContainerInfo } from '../../../port-layer/index.js';
import type { HealthState } from '../health/health-state.js';
import { API_VERSION, atLeast } from '../http/api-version.js';
import { STORAGE_DRIVER } from '../system/storage-driver.js';
import { mountsView } from '../volumes/mount-points.js';
import { dockerMessageOf } from '../words/docker-message.js';
import type { DockerConfig } from './config/docker-config.js';
import type { ContainerLife } from './container-life.js';
import { intactRecord } from './container-record.js';
import { dockerState, isUp } from './container-state.js';
import { hostConfigView } from './host-config-view.js';
import { linksView } from './links.js';
import { legacyNetworkView, networksView, portsView } from './network-view.js';
import type { ViewSources } from './view-sources.js';

const NEVER = '0001-01-01T00:00:00Z';

/** `GET /containers/{id}/json` in the form of an API version. @throws internal when the container's record cannot be read */
export function inspectView(sources: ViewSources, container: ContainerInfo, apiVersion = API_VERSION): object {
  const { spec } = container;
  const record = intactRecord(container);
  const life = sources.lifeOf(container);
  const execIds = sources.execIds(spec.id);
  const networks = networksView(sources, container, apiVersion);
  const [path = '', ...args] = spec.process.args;
  // 1.52 took away what clients are to read below `Networks`, and in the image's configuration.
  const legacy = !atLeast(apiVersion, '1.52');
  return {
    Id: spec.id,
    Created: spec.createdAt,
    Path: path,
    Args: args,
    State: stateView(container, life),
    Image: spec.imageId,
    ResolvConfPath: '',
    HostnamePath: '',
    HostsPath: '',
    LogPath: '',
    Name: `/${spec.name}`,
    RestartCount: life.restartCount,
    Driver: STORAGE_DRIVER,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: (record.hostConfig.SecurityOpt ?? []).some((one) => /^apparmor[=:]unconfined$/.test(one))
      ? 'unconfined'
      : '',
    ExecIDs: execIds.length === 0 ? null : execIds,
    HostConfig: {
      ...hostConfigView(record.hostConfig, spec, apiVersion),
      Links: linksView(container, sources.containers()),
    },
    ...(legacy ? {} : { Storage: { RootFS: { Snapshot: { Name: STORAGE_DRIVER } } } }),
    GraphDriver: { Data: { VM: container.vm.moid, UUID: container.vm.uuid }, Name: STORAGE_DRIVER },
    Mounts: mountsView(container, sources.sourceOf),
    Config: configView(record.config, legacy),
    NetworkSettings: {
      ...(legacy ? { Bridge: '' } : {}),
      SandboxID: '',
      SandboxKey: '',
      Ports: portsView(sources, container),
      ...(legacy ? legacyNetworkView(networks) : {}),
      Networks: networks,
    },
  };
}

function stateView(container: ContainerInfo, life: ContainerLife): object {
  return {
    Status: dockerState(container, life),
    Running: isUp(container) || life.restarting,
    Paused: container.paused,
    Restarting: life.restarting,
    OOMKilled: container.oomKilled,
    Dead: container.state === 'dead',
    Pid: container.pid,
    ExitCode: container.exitCode,
    Error: dockerMessageOf(container.error),
    StartedAt: container.startedAt?.toISOString() ?? NEVER,
    FinishedAt: (container.finishedAt ?? container.lastFinishedAt)?.toISOString() ?? NEVER,
    ...(life.health === null ? {} : { Health: healthView(life.health) }),
  };
}

/** `State.Health` */
function healthView({ status, failingStreak, log }: HealthState): object {
  return {
    Status: status,
    FailingStreak: failingStreak,
    Log: log.map(({ start, end, exitCode, output }) => ({
      Start: start.toISOString(),
      End: end.toISOString(),
      ExitCode: exitCode,
      Output: output,
    })),
  };
}

/** `Config` */
function configView({ MacAddress, OnBuild, ...config }: DockerConfig, legacy: boolean): object {
  return {
    ...config,
    Env: config.Env.length === 0 ? null : config.Env,
    ...(legacy ? { OnBuild, ...(MacAddress === undefined ? {} : { MacAddress }) } : {}),
    ...(!legacy && OnBuild && OnBuild.length > 0 ? { OnBuild } : {}),
  };
}
