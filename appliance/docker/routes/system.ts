/** Routes of the engine itself: ping, version, info, events; and what there is of networks and volumes. */
import { readFileSync } from 'node:fs';
import { arch, release } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Router } from 'express';
import type { NetworkInfo } from '../../../port-layer/types.js';
import { notFound } from '../../../src/common/errors.js';
import { API_VERSION, MIN_API_VERSION } from '../api-version.js';
import { DRIVER } from '../container-view.js';
import type { Engine } from '../engine.js';
import { checkFilters, filters } from '../request.js';

const manifest = new URL(
  import.meta.url.includes('/dist/') ? '../../../../package.json' : '../../../package.json',
  import.meta.url,
);
/** The engine's own version. */
export const ENGINE_VERSION = (JSON.parse(readFileSync(fileURLToPath(manifest), 'utf8')) as { version: string })
  .version;
const ARCH = arch() === 'x64' ? 'amd64' : arch();

/** Adds the routes. */
export function systemRoutes(router: Router, engine: Engine): void {
  router.get('/_ping', (_request, response) => {
    // Also answers HEAD: express leaves the body out.
    response.set({
      'Builder-Version': '1',
      'Cache-Control': 'no-cache, no-store, must-revalidate',
      Pragma: 'no-cache',
      Swarm: 'inactive',
    });
    response.type('text/plain').send('OK');
  });

  router.get('/version', async (_request, response) => {
    const details = {
      ApiVersion: API_VERSION,
      Arch: ARCH,
      BuildTime: '',
      Experimental: 'false',
      GitCommit: '',
      GoVersion: '',
      KernelVersion: release(),
      MinAPIVersion: MIN_API_VERSION,
      Os: 'linux',
    };
    const host = await engine.portLayer.hostInfo();
    response.json({
      Platform: { Name: 'Caisson: a virtual machine per container' },
      Components: [
        { Name: 'Engine', Version: ENGINE_VERSION, Details: details },
        { Name: 'vSphere', Version: host.version, Details: { Product: host.product } },
      ],
      Version: ENGINE_VERSION,
      ApiVersion: API_VERSION,
      MinAPIVersion: MIN_API_VERSION,
      GitCommit: '',
      GoVersion: `node ${process.version}`,
      Os: 'linux',
      Arch: ARCH,
      KernelVersion: release(),
      BuildTime: '',
    });
  });

  router.get('/info', async (_request, response) => {
    response.json(await info(engine));
  });

  router.get('/networks', (request, response) => {
    const given = filters(request);
    checkFilters(given, ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type']);
    const names = given.get('name');
    const ids = given.get('id');
    const wanted = engine.portLayer.network
      .list()
      .filter(
        (network) =>
          (names?.some((name) => network.name.includes(name)) ?? true) &&
          (ids?.some((id) => network.id.startsWith(id)) ?? true),
      );
    response.json(wanted.map((network) => networkView(network, false)));
  });

  router.get('/networks/:id', (request, response) => {
    response.json(networkView(engine.portLayer.network.resolve(request.params.id), true));
  });

  router.get('/volumes', (request, response) => {
    checkFilters(filters(request), ['dangling', 'driver', 'label', 'name']);
    response.json({ Volumes: [], Warnings: null });
  });

  router.get('/volumes/:name', (request) => {
    throw notFound(`get ${request.params.name}: no such volume`);
  });

  // There are no plugins; `docker inspect` looks for names among them too.
  router.get('/plugins', (_request, response) => {
    response.json([]);
  });

  router.get('/plugins/*name/json', (request) => {
    const name: unknown = request.params.name;
    throw notFound(`plugin "${Array.isArray(name) ? name.join('/') : String(name)}" not found`);
  });
}

function networkView(network: NetworkInfo, whole: boolean): object {
  const containers = Object.fromEntries(
    network.endpoints.map((endpoint) => [
      endpoint.containerId,
      {
        Name: endpoint.containerName,
        EndpointID: endpoint.endpointId,
        MacAddress: endpoint.mac,
        IPv4Address: `${endpoint.address}/${endpoint.prefixLength}`,
        IPv6Address: '',
      },
    ]),
  );
  return {
    Name: network.name,
    Id: network.id,
    Created: network.createdAt.toISOString(),
    Scope: 'local',
    Driver: network.driver,
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [{ Subnet: network.subnet, Gateway: network.gateway }] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: whole ? containers : {},
    Options: { 'com.caisson.portgroup': network.portGroup },
    Labels: {},
  };
}

async function info(engine: Engine): Promise<object> {
  const host = await engine.portLayer.hostInfo();
  const containers = engine.portLayer.exec.list();
  const running = containers.filter(
    (container) => container.state === 'running' || container.state === 'stopping',
  ).length;
  return {
    ID: engine.config.id,
    Containers: containers.length,
    ContainersRunning: running,
    ContainersPaused: 0,
    ContainersStopped: containers.length - running,
    Images: engine.images.list().length,
    Driver: DRIVER,
    DriverStatus: [
      ['Virtual container host', engine.config.name],
      ['vSphere', host.product],
      ['Image store', `[${engine.config.imageStore.datastore}] ${engine.config.imageStore.path}`.trim()],
      ['Bridge network', `${engine.config.bridge.portGroup} ${engine.config.bridge.subnet}`],
    ],
    Plugins: { Volume: [], Network: ['bridge', 'none'], Authorization: null, Log: ['json-file'] },
    MemoryLimit: true,
    SwapLimit: true,
    CpuCfsPeriod: true,
    CpuCfsQuota: true,
    CPUShares: true,
    CPUSet: true,
    PidsLimit: true,
    IPv4Forwarding: true,
    Debug: false,
    NFd: 0,
    OomKillDisable: false,
    NGoroutines: 0,
    SystemTime: new Date().toISOString(),
    LoggingDriver: 'json-file',
    CgroupDriver: 'none',
    CgroupVersion: '2',
    NEventsListener: 0,
    KernelVersion: host.kernelVersion || release(),
    OperatingSystem: host.product,
    OSVersion: host.version,
    OSType: 'linux',
    Architecture: 'x86_64',
    IndexServerAddress: 'https://index.docker.io/v1/',
    RegistryConfig: {
      AllowNondistributableArtifactsCIDRs: null,
      AllowNondistributableArtifactsHostnames: null,
      InsecureRegistryCIDRs: ['127.0.0.0/8', '::1/128'],
      IndexConfigs: {
        'docker.io': { Name: 'docker.io', Mirrors: engine.config.registry.mirrors, Secure: true, Official: true },
      },
      Mirrors: engine.config.registry.mirrors,
    },
    NCPU: host.cpus,
    MemTotal: host.memoryBytes,
    GenericResources: null,
    DockerRootDir: '',
    HttpProxy: '',
    HttpsProxy: '',
    NoProxy: '',
    Name: engine.config.name,
    Labels: [],
    ExperimentalBuild: false,
    ServerVersion: ENGINE_VERSION,
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
    InitCommit: { ID: '' },
    SecurityOptions: ['name=virtual-machine'],
    Warnings: null,
  };
}
