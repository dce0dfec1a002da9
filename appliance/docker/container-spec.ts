/** From a create request and its image to a container of the port layer. */
import { isIP } from 'node:net';

import type { VchConfig } from '../../port-layer/config.js';
import type { ContainerSpec } from '../../port-layer/types.js';
import { invalid, unsupported } from '../../src/common/errors.js';
import { newId, shortId } from '../../src/common/ids.js';
import type { Image } from '../image/types.js';
import type { CreateBody, HostConfig } from './container-config.js';
import { type HealthConfig, mergeHealthConfig } from './health/health-check.js';
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
  Healthcheck?: HealthConfig;
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

/** The name without its slash. @throws invalid in Docker's words */
export function checkContainerName(name: string): string {
  const bare = name.replace(/^\//, '');
  if (!NAME.test(bare)) throw invalid(`Invalid container name (${name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed`);
  return bare;
}

function variable(entry: string): string {
  const [name = ''] = entry.split('=', 1);
  if (name === '') throw invalid(`invalid environment variable: ${entry}`);
  return name;
}

/** The request's environment, and what the image has besides: the order in which `inspect` shows it. @throws invalid */
export function mergeEnv(request: string[], image: string[]): string[] {
  const given = new Set(request.map(variable));
  return [...request, ...image.filter((entry) => !given.has(variable(entry)))];
}

/** An environment with variables set in place or added; a `KEY` without `=` is taken out. @throws invalid */
export function replaceEnv(env: string[], changes: string[]): string[] {
  const result = new Map(env.map((entry) => [variable(entry), entry]));
  for (const entry of changes) {
    const name = variable(entry);
    if (entry.includes('=')) result.set(name, entry);
    else result.delete(name);
  }
  return [...result.values()];
}

/** The environment of a process of a container: Docker's own variables under the configured ones. */
export function processEnv(config: Pick<DockerConfig, 'Hostname' | 'Env'>, tty: boolean): string[] {
  return replaceEnv([DEFAULT_PATH, `HOSTNAME=${config.Hostname}`, ...(tty ? ['TERM=xterm'] : [])], config.Env);
}

/** Merges a request with its image as Docker does. */
export function mergeConfig(request: CreateBody, image: Image, id: string): DockerConfig {
  const base = image.config.config;
  const { entrypoint, cmd } = command(request, base);
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
    Env: mergeEnv(request.Env ?? [], base.Env ?? []),
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
  const health = mergeHealthConfig(request.Healthcheck, base.Healthcheck);
  if (health !== undefined) config.Healthcheck = health;
  const shell = request.Shell ?? base.Shell;
  if (shell !== undefined && shell !== null) config.Shell = shell;
  return config;
}

/** Entrypoint and command: an entrypoint of its own drops the image's command; `--entrypoint ""` (one empty text) clears both. */
function command(
  request: CreateBody,
  base: Image['config']['config'],
): { entrypoint: string[] | null; cmd: string[] | null } {
  const given = request.Entrypoint ?? null;
  const cmd = (request.Cmd ?? []).length > 0 ? request.Cmd! : null;
  if (given === null) return { entrypoint: base.Entrypoint ?? null, cmd: cmd ?? base.Cmd ?? null };
  // A list without anything in it says nothing of the command.
  if (given.length === 0) return { entrypoint: [], cmd: cmd ?? base.Cmd ?? null };
  return { entrypoint: given.length === 1 && given[0] === '' ? null : given, cmd };
}

/**
 * Processors of the virtual machine. It has whole ones of its own: a set of n gives it n, a share of them is rounded up.
 * @param available of the host
 */
function processors(host: HostConfig, fallback: number, available: number): number {
  const nano = host.NanoCpus ?? 0;
  if (nano < 0 || nano > available * 1e9)
    throw invalid(`range of CPUs is from 0.01 to ${available}.00, as there are only ${available} CPUs available`);
  const set = host.CpusetCpus ?? '';
  if (set !== '' && !/^\d+(-\d+)?(,\d+(-\d+)?)*$/.test(set))
    throw invalid(`Invalid value ${set} for cpuset cpus: invalid format: ${set}`);
  const inSet = new Set(set === '' ? [] : set.split(',').flatMap((part) => cpus(part, set, available)));
  if (nano > 0) return Math.max(1, Math.ceil(nano / 1e9));
  return inSet.size > 0 ? inSet.size : fallback;
}

function cpus(part: string, set: string, available: number): number[] {
  const [from = 0, to = from] = part.split('-').map(Number);
  if (to < from) throw invalid(`Invalid value ${set} for cpuset cpus: invalid format: ${set}`);
  if (to >= available)
    throw invalid(`Requested CPUs are not available - requested ${set}, available: 0-${available - 1}`);
  return Array.from({ length: to - from + 1 }, (_, i) => from + i);
}

/** Memory of the virtual machine in MiB: what was asked for is the container's, the kernel's comes on top. */
function memory(host: HostConfig, fallbackMiB: number): number {
  const bytes = host.Memory ?? 0;
  const swap = host.MemorySwap ?? 0;
  // The machine has no swap: any limit on memory and swap together that memory keeps to is kept.
  if (bytes === 0 && swap > 0)
    throw invalid('You should always set the Memory limit when using Memoryswap limit, see usage');
  if (swap > 0 && swap < bytes) throw invalid('Minimum memoryswap limit should be larger than memory limit, see usage');
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
 * @param hostCpus processors that the host has
 * @throws invalid, unsupported for what cannot be done, before anything is made
 */
export function containerSpec(
  request: CreateBody,
  image: Image,
  name: string,
  defaults: VchConfig['container'],
  hostCpus: number,
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
  return {
    version: 1,
    id,
    name,
    createdAt: new Date().toISOString(),
    layer: image.chainIds.at(-1) ?? null,
    imageId: image.id,
    imageName: config.Image,
    cpus: processors(host, defaults.cpus, hostCpus),
    memoryMiB: memory(host, defaults.memoryMiB),
    hostname: config.Hostname,
    domainname: config.Domainname,
    process: {
      args,
      env: processEnv(config, config.Tty),
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
  const address = match[2]!.replace(/^\[|\]$/g, '');
  if (isIP(address) === 0) throw invalid(`invalid IP address in add-host: "${address}"`);
  return { host: match[1]!, address };
}
