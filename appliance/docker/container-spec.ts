/** From a create request and its image to a container of the port layer. */

import type { VchConfig } from '../../port-layer/config.js';
import type { ContainerSpec } from '../../port-layer/types.js';
import { invalid, unsupported } from '../../src/common/errors.js';
import { newId, shortId } from '../../src/common/ids.js';
import type { Image } from '../image/types.js';
import type { CreateBody } from './container-config.js';
import { checkHostOptions } from './host-options.js';
import { parseSignal } from './signals.js';

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_SHM = 64 * 2 ** 20;
const MIN_MEMORY = 6 * 2 ** 20;
/** What the VM's kernel and tether take of its memory, on top of what the container asked for. */
const OVERHEAD_MIB = 64;
const DEFAULT_LIMITS = [{ name: 'nofile', soft: 1_048_576, hard: 1_048_576 }];
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

/** Keys of annotations that this personality keeps with a container. */
export const CONFIG_KEY = 'docker.config';
export const HOST_CONFIG_KEY = 'docker.hostConfig';

/** The configuration of a container as `inspect` shows it: the request merged with the image's. */
export interface DockerConfig {
  Hostname: string;
  Domainname: string;
  User: string;
  AttachStdin: boolean;
  AttachStdout: boolean;
  AttachStderr: boolean;
  ExposedPorts?: Record<string, object>;
  Tty: boolean;
  OpenStdin: boolean;
  StdinOnce: boolean;
  Env: string[];
  Cmd: string[] | null;
  Healthcheck?: unknown;
  Image: string;
  Volumes: Record<string, object> | null;
  WorkingDir: string;
  Entrypoint: string[] | null;
  OnBuild: string[] | null;
  Labels: Record<string, string>;
  StopSignal?: string;
  StopTimeout?: number;
  Shell?: string[];
}

/** @throws invalid in Docker's words */
export function checkContainerName(name: string): string {
  const bare = name.replace(/^\//, '');
  if (!NAME.test(bare)) throw invalid(`Invalid container name (${bare}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  return bare;
}

/** The image's environment with the request's on top; a request's `KEY` without `=` removes it. */
export function mergeEnv(image: string[], request: string[]): string[] {
  const merged = new Map<string, string>();
  for (const entry of [...image, ...request]) {
    const at = entry.indexOf('=');
    if (entry === '' || at === 0) throw invalid(`invalid environment variable: ${entry}`);
    const key = at < 0 ? entry : entry.slice(0, at);
    if (at < 0) merged.delete(key);
    else merged.set(key, entry);
  }
  return [...merged.values()];
}

/** Merges a request with its image as Docker does. */
export function mergeConfig(request: CreateBody, image: Image, id: string): DockerConfig {
  const base = image.config.config;
  const entrypointGiven = request.Entrypoint !== undefined && request.Entrypoint !== null;
  const cmdGiven = request.Cmd !== undefined && request.Cmd !== null && request.Cmd.length > 0;
  // An entrypoint of its own drops the image's command; `--entrypoint ""` (one empty text) clears the image's entrypoint.
  const cleared =
    entrypointGiven &&
    (request.Entrypoint!.length === 0 || (request.Entrypoint!.length === 1 && request.Entrypoint![0] === ''));
  const entrypoint = entrypointGiven ? (cleared ? null : request.Entrypoint!) : (base.Entrypoint ?? null);
  const cmd = cmdGiven ? request.Cmd! : entrypointGiven ? null : (base.Cmd ?? null);
  const exposed = { ...base.ExposedPorts, ...(request.ExposedPorts as Record<string, object> | null | undefined) };
  const volumes = { ...base.Volumes, ...(request.Volumes as Record<string, object> | null | undefined) };
  const config: DockerConfig = {
    Hostname: request.Hostname || shortId(id),
    Domainname: request.Domainname ?? '',
    User: request.User || base.User || '',
    AttachStdin: request.AttachStdin === true,
    AttachStdout: request.AttachStdout === true,
    AttachStderr: request.AttachStderr === true,
    Tty: request.Tty === true,
    OpenStdin: request.OpenStdin === true,
    StdinOnce: request.StdinOnce === true,
    Env: mergeEnv(base.Env ?? [], request.Env ?? []),
    Cmd: cmd,
    Image: request.Image ?? '',
    Volumes: Object.keys(volumes).length === 0 ? null : volumes,
    WorkingDir: request.WorkingDir || base.WorkingDir || '',
    Entrypoint: entrypoint,
    OnBuild: null,
    Labels: { ...base.Labels, ...request.Labels },
  };
  if (Object.keys(exposed).length > 0) config.ExposedPorts = exposed;
  const stopSignal = request.StopSignal || base.StopSignal;
  if (stopSignal !== undefined && stopSignal !== null && stopSignal !== '') config.StopSignal = stopSignal;
  if (request.StopTimeout !== undefined && request.StopTimeout !== null) config.StopTimeout = request.StopTimeout;
  const shell = request.Shell ?? base.Shell;
  if (shell !== undefined && shell !== null) config.Shell = shell;
  return config;
}

function processors(host: NonNullable<CreateBody['HostConfig']>, fallback: number): number {
  const nano = host.NanoCpus ?? 0;
  if (nano < 0) throw invalid('NanoCPUs must not be negative');
  const set = host.CpusetCpus ?? '';
  if (set !== '' && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(set)) throw invalid(`Invalid value ${set} for cpuset cpus`);
  // A virtual machine has whole processors of its own: a set of n gives it n, a share of them is rounded up.
  const inSet = set === '' ? 0 : new Set(set.split(',').flatMap(range)).size;
  if (nano > 0) return Math.max(1, Math.ceil(nano / 1e9));
  return inSet > 0 ? inSet : fallback;
}

function range(text: string): number[] {
  const [from = 0, to = from] = text.split('-').map(Number);
  if (to < from || to > 4095) throw invalid(`Invalid value ${text} for cpuset cpus`);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

function memory(host: NonNullable<CreateBody['HostConfig']>, fallbackMiB: number): number {
  const bytes = host.Memory ?? 0;
  if (bytes === 0) return fallbackMiB;
  if (bytes < MIN_MEMORY) throw invalid('Minimum memory limit allowed is 6MB');
  return Math.ceil(bytes / 2 ** 20) + OVERHEAD_MIB;
}

/** The networks to join. @throws unsupported for modes that need another machine's or container's namespace */
function networks(request: CreateBody): ContainerSpec['networks'] {
  const mode = request.HostConfig?.NetworkMode ?? '';
  if (mode === 'none' || request.NetworkDisabled === true) return [];
  if (mode === 'host' || mode.startsWith('container:'))
    throw unsupported(
      `HostConfig.NetworkMode '${mode}' is not implemented: a virtual machine has a network stack of its own`,
    );
  const network = mode === '' || mode === 'default' ? 'bridge' : mode;
  const endpoint =
    request.NetworkingConfig?.EndpointsConfig?.[mode] ?? request.NetworkingConfig?.EndpointsConfig?.[network];
  return [{ network, aliases: endpoint?.Aliases ?? [] }];
}

/**
 * A new container.
 * @throws invalid, unsupported for what cannot be done, before anything is made
 */
export function containerSpec(
  request: CreateBody,
  image: Image,
  name: string,
  defaults: VchConfig['container'],
): ContainerSpec {
  checkHostOptions(request);
  const id = newId();
  const config = mergeConfig(request, image, id);
  const host = request.HostConfig ?? {};
  const args = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  if (args.length === 0) throw invalid('no command specified');
  if (config.WorkingDir !== '' && !config.WorkingDir.startsWith('/'))
    throw invalid(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
  const limits = (host.Ulimits ?? []).map(({ Name, Soft, Hard }) => {
    if (Hard !== -1 && (Soft === -1 || Soft > Hard))
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard}`);
    return { name: Name, soft: Soft, hard: Hard };
  });
  const dns = { servers: host.Dns ?? [], search: host.DnsSearch ?? [], options: host.DnsOptions ?? [] };
  const env = [
    ...(config.Env.some((entry) => entry.startsWith('PATH=')) ? [] : [DEFAULT_PATH]),
    `HOSTNAME=${config.Hostname}`,
    ...(config.Tty ? ['TERM=xterm'] : []),
  ];
  return {
    version: 1,
    id,
    name,
    createdAt: new Date().toISOString(),
    layer: image.chainIds.at(-1) ?? null,
    imageId: image.id,
    imageName: config.Image,
    cpus: processors(host, defaults.cpus),
    memoryMiB: memory(host, defaults.memoryMiB),
    hostname: config.Hostname,
    domainname: config.Domainname,
    process: {
      args,
      env: mergeEnv(env, config.Env),
      cwd: config.WorkingDir || '/',
      user: config.User,
      additionalGroups: host.GroupAdd ?? [],
      tty: config.Tty,
      openStdin: config.OpenStdin,
      ...(host.ConsoleSize && host.ConsoleSize[0] > 0
        ? { terminalSize: { rows: host.ConsoleSize[0], cols: host.ConsoleSize[1] } }
        : {}),
      rlimits: [
        ...DEFAULT_LIMITS.filter((limit) => !limits.some(({ name: given }) => given === limit.name)),
        ...limits,
      ],
    },
    stopSignal: parseSignal(config.StopSignal ?? 'SIGTERM'),
    stopTimeoutSeconds: config.StopTimeout ?? 10,
    readOnlyRoot: host.ReadonlyRootfs === true,
    shmSize: host.ShmSize || DEFAULT_SHM,
    sysctls: host.Sysctls ?? {},
    dns: dns.servers.length + dns.search.length + dns.options.length === 0 ? null : dns,
    extraHosts: (host.ExtraHosts ?? []).map(extraHost),
    files: [],
    networks: networks(request),
    autoRemove: host.AutoRemove === true,
    annotations: { [CONFIG_KEY]: JSON.stringify(config), [HOST_CONFIG_KEY]: JSON.stringify(host) },
  };
}

function extraHost(text: string): { host: string; address: string } {
  const match = /^([^:=]+)[:=](.+)$/.exec(text);
  if (match === null) throw invalid(`bad format for add-host: "${text}"`);
  if (match[2] === 'host-gateway') throw unsupported("HostConfig.ExtraHosts: 'host-gateway' is not implemented");
  return { host: match[1]!, address: match[2]!.replace(/^\[|\]$/g, '') };
}
