/** Containers as the API shows them: `inspect`, and a row of `ps`. */
import type { ContainerInfo, NetworkEndpoint } from '../../../port-layer/index.js';
import { sha256 } from '../../../src/common/ids.js';
import type { PublishedPort } from '../../gateway/index.js';
import type { HealthState } from '../health/health-state.js';
import { API_VERSION, atLeast } from '../http/api-version.js';
import { DEFAULT_LOG_DRIVER, logDriver } from '../logging/log-options.js';
import { humanDuration } from '../values/human.js';
import { listMountsView, mountsView } from '../volumes/mount-points.js';
import type { HostConfig } from './config/container-config.js';
import { CONFIG_KEY, type DockerConfig, GATEWAY_PRIORITY_KEY, HOST_CONFIG_KEY } from './config/container-spec.js';
import { type ContainerLife, PLAIN_LIFE } from './container-life.js';
import { linkNames, linksView } from './links.js';

const NEVER = '0001-01-01T00:00:00Z';

/** What the views show of a container beyond what the port layer tells. */
export interface ViewSources {
  /** All containers: those that link to each other show each other's names. */
  containers(): ContainerInfo[];
  lifeOf(container: ContainerInfo): ContainerLife;
  imageName(container: ContainerInfo): string;
  execIds(id: string): string[];
  portsOf(id: string): PublishedPort[];
  /** Where a volume lies. */
  sourceOf(volume: string): string;
  /** The id of a network, also of `none`. */
  networkId(name: string): string;
}

export const DRIVER = 'vmdk';

/** What the CLI expects of every HostConfig, beneath what was given. */
export const HOST_CONFIG_DEFAULTS = {
  Binds: null,
  ContainerIDFile: '',
  LogConfig: { Type: DEFAULT_LOG_DRIVER, Config: {} },
  NetworkMode: 'bridge',
  PortBindings: null,
  RestartPolicy: { Name: 'no', MaximumRetryCount: 0 },
  AutoRemove: false,
  VolumeDriver: '',
  VolumesFrom: null,
  ConsoleSize: [0, 0],
  CapAdd: null,
  CapDrop: null,
  CgroupnsMode: 'private',
  Dns: null,
  DnsOptions: null,
  DnsSearch: null,
  ExtraHosts: null,
  GroupAdd: null,
  IpcMode: 'private',
  Cgroup: '',
  Links: null,
  OomScoreAdj: 0,
  PidMode: '',
  Privileged: false,
  PublishAllPorts: false,
  ReadonlyRootfs: false,
  SecurityOpt: null,
  UTSMode: '',
  UsernsMode: '',
  ShmSize: 67108864,
  Runtime: 'vm',
  Isolation: '',
  CpuShares: 0,
  Memory: 0,
  NanoCpus: 0,
  CgroupParent: '',
  BlkioWeight: 0,
  BlkioWeightDevice: null,
  BlkioDeviceReadBps: null,
  BlkioDeviceWriteBps: null,
  BlkioDeviceReadIOps: null,
  BlkioDeviceWriteIOps: null,
  CpuPeriod: 0,
  CpuQuota: 0,
  CpuRealtimePeriod: 0,
  CpuRealtimeRuntime: 0,
  CpusetCpus: '',
  CpusetMems: '',
  Devices: null,
  DeviceCgroupRules: null,
  DeviceRequests: null,
  MemoryReservation: 0,
  MemorySwap: 0,
  MemorySwappiness: null,
  OomKillDisable: false,
  PidsLimit: null,
  Ulimits: null,
  CpuCount: 0,
  CpuPercent: 0,
  IOMaximumIOps: 0,
  IOMaximumBandwidth: 0,
};

/** The kept configuration of a container. */
export function dockerConfig(container: Pick<ContainerInfo, 'spec'>): DockerConfig {
  return JSON.parse(container.spec.annotations[CONFIG_KEY] ?? '{}') as DockerConfig;
}

/** The kept host configuration. */
export function hostConfig(container: ContainerInfo): HostConfig {
  return JSON.parse(container.spec.annotations[HOST_CONFIG_KEY] ?? '{}') as HostConfig;
}

/** Docker's word for a state. */
export function dockerState(container: ContainerInfo, life = PLAIN_LIFE): string {
  if (life.restarting) return 'restarting';
  if (container.paused) return 'paused';
  switch (container.state) {
    case 'starting':
      return 'created';
    case 'stopping':
      return 'running';
    default:
      return container.state;
  }
}

function endpointView(endpoint: NetworkEndpoint, { spec }: ContainerInfo): object {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: endpoint.aliases.length > 0 ? endpoint.aliases : null,
    MacAddress: endpoint.mac,
    DriverOpts: null,
    GwPriority: Number(spec.annotations[GATEWAY_PRIORITY_KEY] ?? 0),
    NetworkID: endpoint.networkId,
    EndpointID: endpoint.endpointId,
    Gateway: endpoint.gateway,
    IPAddress: endpoint.address,
    IPPrefixLen: endpoint.prefixLength,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
}

const NO_ENDPOINT = { endpointId: '', mac: '', address: '', prefixLength: 0, gateway: '', aliases: [] };

/** The networks of a container; their ids are known from its first start on. Without any it is on `none`. */
export function containerNetworks(sources: ViewSources, container: ContainerInfo): { name: string; id: string }[] {
  const started = container.startedAt !== null;
  const { networks } = container.spec;
  if (leftNetwork(container) !== null || dockerConfig(container).NetworkDisabled === true) return [];
  if (networks.length === 0) return [{ name: 'none', id: started ? sources.networkId('none') : '' }];
  return networks.map(({ network }) => ({
    name: network,
    id: started ? sources.networkId(network) : '',
  }));
}

/** Annotation of a container that has left its network, and not joined it again: it has the network's name. */
export const LEFT_KEY = 'docker.left';

/** The network that a container has left; null: it is where it was made to be. */
export function leftNetwork({ spec }: Pick<ContainerInfo, 'spec'>): string | null {
  return spec.annotations[LEFT_KEY] || null;
}

/** By network name; a container that does not run has them without addresses. */
function networksView(sources: ViewSources, container: ContainerInfo): Record<string, object> {
  return Object.fromEntries(
    containerNetworks(sources, container).map(({ name, id }) => {
      const wanted = container.spec.networks.find(({ network }) => network === name);
      const endpoint = container.endpoints.find((one) => one.network === name) ?? {
        ...NO_ENDPOINT,
        network: name,
        networkId: id,
        endpointId: container.spec.networks.length === 0 && isUp(container) ? sha256(`${id} ${container.spec.id}`) : '',
        aliases: wanted?.aliases ?? [],
        mac: wanted?.mac ?? '',
      };
      return [name, endpointView(endpoint, container)];
    }),
  );
}

/** Published ports by `80/tcp`; exposed ones that are not published have null. */
function portsView(
  container: ContainerInfo,
  published: PublishedPort[],
): Record<string, { HostIp: string; HostPort: string }[] | null> {
  const view: Record<string, { HostIp: string; HostPort: string }[] | null> = {};
  if (!isUp(container)) return view;
  for (const port of Object.keys(dockerConfig(container).ExposedPorts ?? {}))
    view[port.includes('/') ? port : `${port}/tcp`] = null;
  for (const { containerPort, protocol, hostIp, hostPort } of published) {
    const key = `${containerPort}/${protocol}`;
    view[key] = [...(view[key] ?? []), { HostIp: hostIp, HostPort: String(hostPort) }];
  }
  return view;
}

export function isUp(container: ContainerInfo): boolean {
  return container.state === 'running' || container.state === 'stopping';
}

/** `GET /containers/{id}/json` as a version of the API has it. */
export function inspectView(sources: ViewSources, container: ContainerInfo, apiVersion = API_VERSION): object {
  const { spec } = container;
  const whole = dockerConfig(container);
  const life = sources.lifeOf(container);
  const execIds = sources.execIds(spec.id);
  const [path = '', ...args] = spec.process.args;
  // What clients are to look for below `Networks`, and in their own configuration, is gone since 1.52.
  const legacy = !atLeast(apiVersion, '1.52');
  const { MacAddress, OnBuild, ...config } = whole;
  return {
    Id: spec.id,
    Created: spec.createdAt,
    Path: path,
    Args: args,
    State: {
      Status: dockerState(container, life),
      Running: isUp(container) || life.restarting,
      Paused: container.paused,
      Restarting: life.restarting,
      OOMKilled: container.oomKilled,
      Dead: container.state === 'dead',
      Pid: container.pid,
      ExitCode: container.exitCode,
      Error: container.error,
      StartedAt: container.startedAt?.toISOString() ?? NEVER,
      FinishedAt: (container.finishedAt ?? container.lastFinishedAt)?.toISOString() ?? NEVER,
      ...(life.health === null ? {} : { Health: healthView(life.health) }),
    },
    Image: spec.imageId,
    ResolvConfPath: '',
    HostnamePath: '',
    HostsPath: '',
    LogPath: '',
    Name: `/${spec.name}`,
    RestartCount: life.restartCount,
    Driver: DRIVER,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: (hostConfig(container).SecurityOpt ?? []).some((one) => /^apparmor[=:]unconfined$/.test(one))
      ? 'unconfined'
      : '',
    ExecIDs: execIds.length === 0 ? null : execIds,
    HostConfig: { ...hostConfigView(container, apiVersion), Links: linksView(container, sources.containers()) },
    ...(legacy ? {} : { Storage: { RootFS: { Snapshot: { Name: DRIVER } } } }),
    GraphDriver: { Data: { VM: container.vm.moid, UUID: container.vm.uuid }, Name: DRIVER },
    Mounts: mountsView(container, sources.sourceOf),
    Config: {
      ...config,
      Env: config.Env.length === 0 ? null : config.Env,
      ...(legacy ? { OnBuild, ...(MacAddress === undefined ? {} : { MacAddress }) } : {}),
      ...(!legacy && OnBuild && OnBuild.length > 0 ? { OnBuild } : {}),
    },
    NetworkSettings: {
      ...(legacy ? { Bridge: '' } : {}),
      SandboxID: '',
      SandboxKey: '',
      Ports: portsView(container, sources.portsOf(spec.id)),
      ...(legacy ? legacyAddresses(container) : {}),
      Networks: networksView(sources, container),
    },
  };
}

/** What was the only network's before there were several. */
function legacyAddresses({ endpoints: [first], spec }: ContainerInfo): object {
  return {
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: first?.endpointId ?? '',
    Gateway: first?.gateway ?? '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPAddress: first?.address ?? '',
    IPPrefixLen: first?.prefixLength ?? 0,
    IPv6Gateway: '',
    MacAddress: first?.mac ?? spec.networks[0]?.mac ?? '',
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

/** What was asked for over the defaults, and what Docker makes of some of it. */
function hostConfigView(container: ContainerInfo, apiVersion: string): object {
  const { spec } = container;
  const { Umask, ...host } = hostConfig(container);
  return {
    ...HOST_CONFIG_DEFAULTS,
    ...definedOnly(host),
    RestartPolicy: {
      Name: host.RestartPolicy?.Name || 'no',
      MaximumRetryCount: host.RestartPolicy?.MaximumRetryCount ?? 0,
    },
    LogConfig: { Type: logDriver(host.LogConfig), Config: host.LogConfig?.Config ?? {} },
    ...bindingsView(container),
    ...(atLeast(apiVersion, '1.56') && typeof Umask === 'number' ? { Umask } : {}),
    ...(host.MemorySwappiness === -1 ? { MemorySwappiness: null } : {}),
    ...(spec.privileged === true
      ? {
          MaskedPaths: host.MaskedPaths ?? null,
          ReadonlyPaths: host.ReadonlyPaths ?? null,
          SecurityOpt: privilegedOptions(host.SecurityOpt ?? []),
        }
      : { MaskedPaths: spec.maskedPaths ?? [], ReadonlyPaths: spec.readOnlyPaths ?? [] }),
  };
}

/** As Docker completes the options of a privileged container: what was said of labels stays. */
const privilegedOptions = (given: string[]): string[] =>
  given.some((one) => one.split('=', 1)[0] === 'label') ? given : [...given, 'label=disable'];

/** Published ports as they were asked for, each with both of its fields. */
function bindingsView(container: ContainerInfo): object {
  const given = hostConfig(container).PortBindings ?? null;
  if (given === null) return {};
  const bindings = Object.entries(given).map(([port, list]) => [
    port,
    list?.map(({ HostIp = '', HostPort = '' }) => ({ HostIp, HostPort })) ?? null,
  ]);
  return { PortBindings: Object.fromEntries(bindings) };
}

/** As Go writes fields with `omitempty`. */
const OMITTED_WHEN_EMPTY = new Set(['Annotations', 'Mounts', 'StorageOpt', 'Sysctls', 'Tmpfs']);

function definedOnly(value: object): object {
  return Object.fromEntries(
    Object.entries(value).filter(
      ([key, one]) =>
        one !== null &&
        !(OMITTED_WHEN_EMPTY.has(key) && Object.keys(one).length === 0) &&
        !(one === '' && key !== 'ContainerIDFile') &&
        !(key === 'NetworkMode' && one === 'default') &&
        !(key === 'ShmSize' && one === 0),
    ),
  );
}

/** `Up 5 minutes`, `Exited (0) 2 hours ago`, `Created` … */
export function statusText(container: ContainerInfo, life = PLAIN_LIFE, now = Date.now()): string {
  const ago = (since: Date | null): string => humanDuration(now - (since?.getTime() ?? now));
  if (life.restarting) return `Restarting (${container.exitCode}) ${ago(container.finishedAt)} ago`;
  if (container.paused) return `Up ${ago(container.startedAt)} (Paused)`;
  const health =
    life.health === null ? '' : ` (${life.health.status === 'starting' ? 'health: ' : ''}${life.health.status})`;
  switch (container.state) {
    case 'running':
    case 'stopping':
      return `Up ${ago(container.startedAt)}${health}`;
    case 'exited':
      return `Exited (${container.exitCode}) ${ago(container.finishedAt)} ago`;
    case 'removing':
      return 'Removal In Progress';
    case 'dead':
      return 'Dead';
    default:
      return 'Created';
  }
}

/** Docker quotes a command's arguments where they have spaces or quotes. */
function commandText(args: string[]): string {
  return args.map((arg) => (/[\s"'\\$]/.test(arg) || arg === '' ? `'${arg.replaceAll("'", `'\\''`)}'` : arg)).join(' ');
}

/** Makes rows of `GET /containers/json` for an API version, as things stand now. */
export function listView(sources: ViewSources, apiVersion: string): (container: ContainerInfo) => object {
  const links = linkNames(sources.containers());
  const images = new Map<string, string>();
  const imageName = (container: ContainerInfo): string => {
    const key = `${container.spec.imageId} ${container.spec.imageName}`;
    const name = images.get(key) ?? sources.imageName(container);
    images.set(key, name);
    return name;
  };
  const annotated = atLeast(apiVersion, '1.46');
  const healthy = atLeast(apiVersion, '1.52');
  return (container) => {
    const own = links.get(container.spec.id) ?? [];
    const row = listRow(sources, container, own, imageName(container), annotated);
    const { health } = sources.lifeOf(container);
    const Health = { Status: health?.status ?? 'none', FailingStreak: health?.failingStreak ?? 0 };
    return healthy ? { ...row, Health } : row;
  };
}

function listRow(
  sources: ViewSources,
  container: ContainerInfo,
  links: string[],
  imageName: string,
  annotated: boolean,
): object {
  const { spec } = container;
  const config = dockerConfig(container);
  const host = hostConfig(container);
  const life = sources.lifeOf(container);
  return {
    Id: spec.id,
    Names: [...links, `/${spec.name}`].sort(),
    Image: imageName,
    ImageID: spec.imageId,
    Command: commandText(spec.process.args),
    Created: Math.floor(Date.parse(spec.createdAt) / 1000),
    Ports: listPorts(sources, container),
    Labels: config.Labels,
    State: dockerState(container, life),
    Status: statusText(container, life),
    HostConfig: {
      NetworkMode: host.NetworkMode || 'bridge',
      ...(annotated && host.Annotations && Object.keys(host.Annotations).length > 0
        ? { Annotations: host.Annotations }
        : {}),
    },
    NetworkSettings: { Networks: networksView(sources, container) },
    Mounts: listMountsView(container, sources.sourceOf),
  };
}

/** A port in a row of `ps`. */
export interface ListPort {
  IP?: string;
  PrivatePort: number;
  PublicPort?: number;
  Type: string;
}

/** Published and exposed ports by the port in the container; one that does not run has none. */
export function listPorts(sources: ViewSources, container: ContainerInfo): ListPort[] {
  if (!isUp(container)) return [];
  const config = dockerConfig(container);
  const published = sources.portsOf(container.spec.id);
  const ports: ListPort[] = published.map(({ containerPort, protocol, hostIp, hostPort }) => ({
    IP: hostIp,
    PrivatePort: containerPort,
    PublicPort: hostPort,
    Type: protocol,
  }));
  for (const exposed of Object.keys(config.ExposedPorts ?? {})) {
    const [port, protocol = 'tcp'] = exposed.split('/');
    if (!published.some((one) => one.containerPort === Number(port) && one.protocol === protocol))
      ports.push({ PrivatePort: Number(port), Type: protocol });
  }
  return ports.sort((a, b) => a.PrivatePort - b.PrivatePort);
}
