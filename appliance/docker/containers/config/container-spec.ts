/** From a create request and its image to a container of the port layer. */
import { isIP } from 'node:net';
import { posix } from 'node:path';
import type { VchConfig } from '../../../../port-layer/config.js';
import { type ContainerSpec, HOST_GATEWAY } from '../../../../port-layer/index.js';
import { invalid, unsupported } from '../../../../src/common/errors.js';
import { newId, shortId } from '../../../../src/common/ids.js';
import type { Image } from '../../../image/index.js';
import { mergeHealthConfig } from '../../health/health-check.js';
import { logKeeping } from '../../logging/log-options.js';
import { annotationsOf, type DockerConfig } from '../container-record.js';
import type { CreateBody } from './container-config.js';
import { checkHostOptions } from './host-options.js';
import { privileges } from './privileges.js';
import {
  adaptResources,
  checkResources,
  kernelSettings,
  limitsOf,
  memory,
  processors,
  rootSize,
  vmShares,
} from './resources.js';
import { parseSignal, signalOr } from './signals.js';
import { tmpfsMounts } from './tmpfs.js';

const DEFAULT_PATH = 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
const DEFAULT_SHM = 64 * 2 ** 20;
const DEFAULT_LIMITS = [{ name: 'nofile', soft: 1_048_576, hard: 1_048_576 }];
const NAME = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;

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
  // An image's own are not looked at.
  return [...request, ...image.filter((entry) => !given.has(entry.split('=', 1)[0]!))];
}

/** An environment with variables set in place or added; a `KEY` without `=` is taken out. */
export function replaceEnv(env: string[], changes: string[]): string[] {
  const nameOf = (entry: string): string => entry.split('=', 1)[0]!;
  const result = new Map(env.map((entry) => [nameOf(entry), entry]));
  for (const entry of changes) {
    const name = nameOf(entry);
    if (entry.includes('=')) result.set(name, entry);
    else result.delete(name);
  }
  return [...result.values()];
}

/** What only an image's environment may have. */
const isNameless = (entry: string): boolean => entry === '' || entry.startsWith('=');

/** The environment of a process of a container: Docker's own variables under the configured ones. */
export function processEnv(
  config: Pick<DockerConfig, 'Hostname' | 'Env'>,
  tty: boolean,
  links: string[] = [],
): string[] {
  const own = [DEFAULT_PATH, `HOSTNAME=${config.Hostname}`, ...(tty ? ['TERM=xterm'] : []), ...links];
  const named = config.Env.filter((entry) => !isNameless(entry));
  return [...replaceEnv(own, named), ...config.Env.filter(isNameless)];
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
    Volumes: Object.keys(volumes).length === 0 ? (base.Volumes ?? null) : volumes,
    WorkingDir: request.WorkingDir || base.WorkingDir || '',
    Entrypoint: entrypoint,
    OnBuild: request.OnBuild ?? null,
    Labels: { ...base.Labels, ...request.Labels },
  };
  if (Object.keys(exposed).length > 0) config.ExposedPorts = exposed;
  const stopSignal = request.StopSignal || base.StopSignal;
  if (stopSignal !== undefined && stopSignal !== null && stopSignal !== '') config.StopSignal = stopSignal;
  if (request.ArgsEscaped === true) config.ArgsEscaped = true;
  if (request.NetworkDisabled === true) config.NetworkDisabled = true;
  if (request.StopTimeout !== undefined && request.StopTimeout !== null) config.StopTimeout = request.StopTimeout;
  const health = mergeHealthConfig(request.Healthcheck, base.Healthcheck);
  if (health !== undefined) config.Healthcheck = health;
  const mac = request.MacAddress || mainEndpoint(request)?.MacAddress;
  if (mac) config.MacAddress = mac;
  // An image's is for building on it.
  const shell = request.Shell;
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
  const ofImage = base.Entrypoint?.length === 1 && base.Entrypoint[0] === '' ? null : (base.Entrypoint ?? null);
  if (given === null) return { entrypoint: ofImage, cmd: cmd ?? base.Cmd ?? null };
  // A list without anything in it says nothing of the command.
  if (given.length === 0) return { entrypoint: [], cmd: cmd ?? base.Cmd ?? null };
  return { entrypoint: given.length === 1 && given[0] === '' ? null : given, cmd };
}

/** What a request says of the network of its NetworkMode. */
function mainEndpoint(request: CreateBody) {
  const mode = request.HostConfig?.NetworkMode ?? '';
  const given = request.NetworkingConfig?.EndpointsConfig;
  return given?.[mode] ?? given?.[mode === '' || mode === 'default' ? 'bridge' : mode];
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
  const endpoint = mainEndpoint(request);
  const mac = macAddress(request.MacAddress ?? '', endpoint?.MacAddress ?? '', network);
  return [{ network, aliases: endpoint?.Aliases ?? [], ...(mac === '' ? {} : { mac }) }];
}

/** The card's address: older clients give it to the container, newer ones to its network. @throws invalid in Docker's words */
function macAddress(own: string, endpoint: string, network: string): string {
  if (own !== '' && endpoint !== '' && own !== endpoint)
    throw invalid(
      'the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty',
    );
  const mac = (own || endpoint).toLowerCase().replaceAll('-', ':');
  if (mac === '') return '';
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac))
    throw invalid(`invalid config for network ${network}: invalid MAC address ${own || endpoint}`);
  // The group bit (IEEE 802): no card has such an address.
  if ((Number.parseInt(mac.slice(0, 2), 16) & 1) !== 0 || mac === '00:00:00:00:00:00')
    throw invalid(`invalid config for network ${network}: MAC address ${own || endpoint} is not one of a network card`);
  return mac;
}

/**
 * A new container.
 * @param hostCpus processors that the host has
 * @param syslog what of the endpoint's machine the log driver `syslog` may name
 * @throws invalid, unsupported for what cannot be done, before anything is made
 */
export function containerSpec(
  request: CreateBody,
  image: Image,
  name: string,
  defaults: VchConfig['container'],
  hostCpus: number,
  syslog?: VchConfig['syslog'],
): ContainerSpec {
  checkHostOptions(request, syslog);
  const id = newId();
  const config = mergeConfig(request, image, id);
  const host = adaptResources(request.HostConfig ?? {});
  checkResources(host, hostCpus);
  const args = [...(config.Entrypoint ?? []), ...(config.Cmd ?? [])];
  if (args.length === 0) throw invalid('no command specified');
  if (config.WorkingDir !== '') {
    if (!config.WorkingDir.startsWith('/'))
      throw invalid(`the working directory '${config.WorkingDir}' is invalid, it needs to be an absolute path`);
    config.WorkingDir = posix.resolve(config.WorkingDir);
  }
  const limits = (host.Ulimits ?? []).map(({ Name, Soft, Hard }) => {
    if (Hard !== -1 && (Soft === -1 || Soft > Hard))
      throw invalid(`ulimit soft limit must be less than or equal to hard limit: ${Soft} > ${Hard}`);
    return { name: Name, soft: Soft, hard: Hard };
  });
  const cpus = processors(host, defaults.cpus, hostCpus);
  const memoryMiB = memory(host, defaults.memoryMiB);
  const rights = privileges(host);
  const priority = mainEndpoint(request)?.GwPriority ?? 0;
  const size = rootSize(host.StorageOpt ?? {}, defaults.baseImageSizeGiB * 2 ** 30);
  const dns = { servers: host.Dns ?? [], search: host.DnsSearch ?? [], options: host.DnsOptions ?? [] };
  return {
    version: 1,
    id,
    name,
    createdAt: new Date().toISOString(),
    layer: image.chainIds.at(-1) ?? null,
    imageId: image.id,
    imageName: config.Image,
    cpus,
    ...vmShares(host, cpus),
    memoryMiB,
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
      ...rights.process,
      ...(typeof host.Umask === 'number' ? { umask: host.Umask } : {}),
    },
    stopSignal: request.StopSignal
      ? parseSignal(request.StopSignal)
      : signalOr(config.StopSignal, parseSignal('SIGTERM')),
    stopTimeoutSeconds: config.StopTimeout ?? 10,
    readOnlyRoot: host.ReadonlyRootfs === true,
    ...(size === undefined ? {} : { rootSize: size }),
    shmSize: host.IpcMode === 'none' ? 0 : host.ShmSize || DEFAULT_SHM,
    init: host.Init === true,
    ...rights.container,
    tmpfs: tmpfsMounts(host.Tmpfs ?? {}),
    limits: limitsOf(host, memoryMiB),
    sysctls: { ...kernelSettings(host), ...host.Sysctls },
    dns: dns.servers.length + dns.search.length + dns.options.length === 0 ? null : dns,
    extraHosts: (host.ExtraHosts ?? []).map(extraHost),
    files: [],
    networks: networks(request),
    autoRemove: host.AutoRemove === true,
    log: logKeeping(host.LogConfig),
    annotations: annotationsOf({
      config,
      hostConfig: host,
      ...(priority === 0 ? {} : { gatewayPriority: priority }),
    }),
  };
}

/** `name:address`, as Docker's API has it: the CLI makes that of other forms. @throws invalid in Docker's words */
function extraHost(text: string): { host: string; address: string } {
  const [, host, address] = /^([^:]+):(.*)$/s.exec(text) ?? [];
  if (host === undefined || address === undefined) throw invalid(`bad format for add-host: "${text}"`);
  if (address !== HOST_GATEWAY && isIP(address) === 0) throw invalid(`invalid IP address in add-host: "${address}"`);
  return { host, address };
}
