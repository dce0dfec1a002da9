/** From a create request and its image to a container of the port layer. */
import { posix } from 'node:path';
import type { VchConfig } from '../../../../port-layer/config.js';
import type { ContainerSpec } from '../../../../port-layer/index.js';
import { invalid } from '../../../../src/common/errors.js';
import { newId } from '../../../../src/common/ids.js';
import { wantedPorts } from '../../../gateway/index.js';
import type { Image } from '../../../image/index.js';
import { logKeeping } from '../../logging/log-options.js';
import { openPorts } from '../../networks/own-ports.js';
import { annotationsOf, type Link } from '../container-record.js';
import { checkHostOptions } from './check-host-options.js';
import type { CreateBody } from './create-body.js';
import { type DockerConfig, mergeConfig } from './docker-config.js';
import type { Step } from './host-option.js';
import { DEFAULT_LIMITS, DEFAULT_SHM } from './host-option-parts.js';
import { type HostConfig, hostOptions } from './host-options.js';
import { applyPrivileges } from './privileges.js';
import { processEnv } from './process-env.js';
import { applyResources, completed, rootSize } from './resources.js';
import { parseSignal, signalOr } from './signals.js';
import { type FindNetwork, wantedNetworks } from './wanted-networks.js';

const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** What a new container depends on beside the request and its image. */
export interface SpecContext {
  defaults: VchConfig['container'];
  /** Processors of the host. */
  hostCpus: number;
  /** What of the endpoint's machine the log driver `syslog` may name. */
  syslog?: VchConfig['syslog'];
  /** The containers that `HostConfig.Links` names. */
  links?: Link[];
  /** The networks that there are. */
  findNetwork?: FindNetwork;
}

/** The name without its slash. @throws invalid in Docker's words */
export function checkContainerName(name: string): string {
  const bare = name.replace(/^\//, '');
  if (!NAME.test(bare)) throw invalid(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  return bare;
}

/** Steps that need several options at once, or more than the options. Single options are applied by their rows of the table. */
const STEPS: Record<Step, (spec: ContainerSpec, host: HostConfig, request: CreateBody, context: SpecContext) => void> =
  {
    resources: (spec, host, _request, { defaults, hostCpus }) => applyResources(spec, host, defaults, hostCpus),
    privileges: applyPrivileges,
    'disk size': (spec, host, _request, { defaults }) => {
      const size = rootSize(host.StorageOpt ?? {}, defaults.baseImageSizeGiB * 2 ** 30);
      if (size !== undefined) spec.rootSize = size;
    },
    'shared memory': (spec, host) => {
      spec.shmSize = host.IpcMode === 'none' ? 0 : host.ShmSize || DEFAULT_SHM;
    },
    network: (spec, _host, request, { findNetwork = () => undefined }) => {
      spec.networks = wantedNetworks(request, findNetwork);
    },
  };

/** A new container. @throws invalid, unsupported before anything is made */
export function containerSpec(request: CreateBody, image: Image, name: string, context: SpecContext): ContainerSpec {
  checkHostOptions(request, context.syslog, context.findNetwork);
  const id = newId();
  const config = mergeConfig(request, image, id);
  const host = completed(request.HostConfig ?? {});
  const spec = plainSpec(id, name, config, image, context);
  if (request.StopSignal) spec.stopSignal = parseSignal(request.StopSignal);
  for (const step of Object.values(STEPS)) step(spec, host, request, context);
  for (const [field, { status }] of hostOptions) {
    const value = host[field];
    if (status.is === 'works' && 'apply' in status && value !== undefined && value !== null) status.apply(spec, value);
  }
  // Those of --publish-all are not among them: on a container network, only what was named is open.
  const ports = openPorts(wantedPorts(host.PortBindings ?? {}, [], false));
  if (ports.length > 0) spec.openPorts = ports;
  const { links = [] } = context;
  spec.annotations = annotationsOf({
    config,
    hostConfig: host,
    ...(links.length === 0 ? {} : { links }),
  });
  return spec;
}

/** A container of which nothing but its `Config` was asked. @throws invalid in Docker's words */
function plainSpec(
  id: string,
  name: string,
  config: DockerConfig,
  image: Image,
  { defaults }: SpecContext,
): ContainerSpec {
  const args = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  if (args.length === 0) throw invalid('no command specified');
  if (config.WorkingDir !== '') {
    if (!config.WorkingDir.startsWith('/'))
      throw invalid(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
    config.WorkingDir = posix.resolve(config.WorkingDir);
  }
  return {
    version: 1,
    id,
    name,
    createdAt: new Date().toISOString(),
    layer: image.chainIds.at(-1) ?? null,
    imageId: image.id,
    imageName: config.Image,
    cpus: defaults.cpus,
    memoryMiB: defaults.memoryMiB,
    hostname: config.Hostname,
    domainname: config.Domainname,
    process: {
      args,
      env: processEnv(config, config.Tty),
      cwd: config.WorkingDir || '/',
      user: config.User,
      additionalGroups: [],
      tty: config.Tty,
      openStdin: config.OpenStdin,
      rlimits: DEFAULT_LIMITS,
    },
    stopSignal: signalOr(config.StopSignal, parseSignal('SIGTERM')),
    stopTimeoutSeconds: config.StopTimeout ?? 10,
    readOnlyRoot: false,
    shmSize: 0,
    init: false,
    tmpfs: [],
    sysctls: {},
    dns: null,
    extraHosts: [],
    files: [],
    networks: [],
    autoRemove: false,
    log: logKeeping(null),
    annotations: {},
  };
}
