/** What `/info` says of the engine. */
import { readdirSync } from 'node:fs';
import type { VchConfig } from '../../../port-layer/config.js';
import {
  type ContainerInfo,
  type ExecService,
  type HostInfo,
  type NetworkService,
  type StorageReserve,
  type StorageUsage,
  storeLabels,
} from '../../../port-layer/index.js';
import { humanSize } from '../../../src/common/human-size.js';
import { isUp } from '../containers/container-state.js';
import { atLeast } from '../http/api-version.js';
import { DEFAULT_LOG_DRIVER, LOG_DRIVERS } from '../logging/log-options.js';
import { VOLUME_DRIVERS } from '../volumes/volume-options.js';
import { dockerMessageOf } from '../words/docker-message.js';
import { addressPoolsView, networkStatus, proxiesView } from './info-networks.js';
import { STORAGE_DRIVER } from './storage-driver.js';
import { kernelOf, SERVER_VERSION } from './version.js';

/** What it is told from. */
export interface InfoSources {
  config: VchConfig;
  exec: Pick<ExecService, 'list'>;
  network: Pick<NetworkService, 'ownHost'>;
  images: { list(): { length: number } };
  room: Pick<StorageReserve, 'lastRefused' | 'quota' | 'storageQuota' | 'space'>;
  hostInfo(): Promise<HostInfo>;
}

/** `GET /info`, with the fields of that version of the API. */
export async function infoView(sources: InfoSources, apiVersion: string): Promise<object> {
  const { config, exec, images, room } = sources;
  const host = await sources.hostInfo();
  // Docker keeps them with a trailing slash.
  const mirrors = config.registry.mirrors.map((mirror) => mirror.replace(/\/?$/, '/'));
  const since = (version: string, fields: object): object => (atLeast(apiVersion, version) ? fields : {});
  const before = (version: string, fields: object): object => (atLeast(apiVersion, version) ? {} : fields);
  const containers = exec.list();
  const running = containers.filter(isUp).length;
  const paused = containers.filter((container) => container.paused).length;
  return {
    ID: uuid(config.id),
    Containers: containers.length,
    ContainersRunning: running - paused,
    ContainersPaused: paused,
    ContainersStopped: containers.length - running,
    Images: images.list().length,
    Driver: STORAGE_DRIVER,
    DriverStatus: [
      ['Virtual container host', config.name],
      ['vSphere', host.product],
      ['Image store', `[${config.imageStore.datastore}] ${config.imageStore.path}`.trim()],
      ['VolumeStores', storeLabels(config).join(' ')],
      ...(await spaces(room)),
      ...allowedRegistries(config),
      ...networkStatus(config, sources.network.ownHost),
      ...(host.emulator === '' ? [] : [['Emulator', host.emulator]]),
      ...(host.acceleration === '' ? [] : [['Acceleration', host.acceleration]]),
      ...(host.cage === '' ? [] : [['Cage', host.cage]]),
    ],
    Plugins: { Volume: VOLUME_DRIVERS, Network: ['bridge', 'host', 'null'], Authorization: null, Log: LOG_DRIVERS },
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    ...before('1.42', { KernelMemory: false }),
    ...(atLeast(apiVersion, '1.52') ? {} : since('1.42', { KernelMemoryTCP: false })),
    ...before('1.50', { BridgeNfIptables: false, BridgeNfIp6tables: false }),
    IPv4Forwarding: true,
    Debug: false,
    NFd: readdirSync('/proc/self/fd').length,
    OomKillDisable: true,
    // The nearest thing that Node has: what this process waits for.
    NGoroutines: process.getActiveResourcesInfo().length,
    SystemTime: new Date().toISOString(),
    LoggingDriver: DEFAULT_LOG_DRIVER,
    CgroupDriver: 'none',
    CgroupVersion: '2',
    NEventsListener: 0,
    KernelVersion: kernelOf(host),
    OperatingSystem: host.product,
    OSVersion: host.version,
    OSType: 'linux',
    Architecture: 'x86_64',
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: {
      ...before('1.47', { AllowNondistributableArtifactsCIDRs: null, AllowNondistributableArtifactsHostnames: null }),
      InsecureRegistryCIDRs: ['::1/128', '127.0.0.0/8'],
      IndexConfigs: { 'docker.io': { Name: 'docker.io', Mirrors: mirrors, Secure: true, Official: true } },
      Mirrors: mirrors.length === 0 ? null : mirrors,
    },
    NCPU: host.cpus,
    MemTotal: host.memoryBytes,
    GenericResources: null,
    DockerRootDir: '',
    ...proxiesView(config),
    Name: config.name,
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: SERVER_VERSION,
    Runtimes: { vm: { path: 'qemu' } },
    DefaultRuntime: 'vm',
    Swarm: {
      NodeID: '',
      NodeAddr: '',
      LocalNodeState: 'inactive',
      ControlAvailable: false,
      Error: '',
      RemoteManagers: null,
    },
    LiveRestoreEnabled: true,
    Isolation: '',
    InitBinary: '',
    ContainerdCommit: { ID: '' },
    RuncCommit: { ID: '' },
    CDISpecDirs: [],
    InitCommit: { ID: '' },
    SecurityOptions: ['name=virtual-machine'],
    ...addressPoolsView(config),
    Warnings: warnings(room, host, containers),
  };
}

/** How long `info` mentions that something was refused for lack of room. */
const REFUSED_MS = 3_600_000;

/** What an administrator should look into. */
function warnings({ lastRefused }: InfoSources['room'], host: HostInfo, containers: ContainerInfo[]): string[] | null {
  const still = containers.filter(({ paused, error }) => paused && error !== null);
  const list = [
    ...host.lacks.map((what) => `WARNING: ${what}`),
    ...still.map(({ spec, error }) => `WARNING: container ${spec.name} is paused: ${dockerMessageOf(error)}`),
  ];
  if (lastRefused !== null && Date.now() - lastRefused.at.getTime() < REFUSED_MS)
    list.push(`WARNING: refused at ${lastRefused.at.toISOString()}: ${lastRefused.message}`);
  return list.length === 0 ? null : list;
}

/** How much space there is, how much of it is kept free, and how much images may take. */
async function spaces(room: InfoSources['room']): Promise<[string, string][]> {
  const all = await room.space().catch(() => []);
  const { quota } = room;
  const total = await room.storageQuota().catch(() => null);
  return [
    ...all.map(({ place, capacity, free, reserve }): [string, string] => [
      `Space of ${place}`,
      `${humanSize(free)} of ${humanSize(capacity)} free, ${humanSize(reserve)} kept in reserve`,
    ]),
    ...(quota === null
      ? []
      : [['Space of images', `${humanSize(quota.used)} of ${humanSize(quota.most)} used`] as [string, string]]),
    ...(total === null ? [] : [['Storage quota', quotaText(total)] as [string, string]]),
  ];
}

function quotaText({ images, containers, volumes, most }: StorageUsage & { most: number }): string {
  const parts = `images ${humanSize(images)}, containers ${humanSize(containers)}, volumes ${humanSize(volumes)}`;
  return `${humanSize(images + containers + volumes)} of ${humanSize(most)} used: ${parts}`;
}

/** Writes 32 hex digits as a UUID. */
const uuid = (hex: string): string => hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

/** The names that vSphere Integrated Containers has for them. */
function allowedRegistries({ registry: { allowed = [] } }: VchConfig): [string, string][] {
  if (allowed.length === 0) return [];
  return [
    ['Registry Whitelist Mode', 'enabled'],
    ['Whitelisted Registries', allowed.join(', ')],
  ];
}
