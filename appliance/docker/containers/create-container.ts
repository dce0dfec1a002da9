/** `docker create`, without HTTP. */

import type { VchConfig } from '../../../port-layer/config.js';
import {
  type ContainerInfo,
  type ContainerSpec,
  type ExecService,
  HOST_GATEWAY,
  type HostInfo,
  PortLayerError,
} from '../../../port-layer/index.js';
import { invalid, notFound } from '../../../src/common/errors.js';
import { proxyVariables } from '../../../src/common/proxies.js';
import { wantedPorts } from '../../gateway/index.js';
import {
  formatPlatform,
  type Image,
  type ImageService,
  parsePlatform,
  platformMatch,
  platformOf,
  platformWarning,
} from '../../image/index.js';
import type { DockerNetworks } from '../networks/docker-networks.js';
import { refuseRate } from '../networks/egress-rate.js';
import type { VolumeService } from '../volumes/volume-service.js';
import { checkNamespaceOwners } from './config/check-host-options.js';
import { checkContainerName, containerSpec } from './config/container-spec.js';
import type { CreateBody } from './config/create-body.js';
import { randomName } from './config/names.js';
import { asNewest } from './config/older-versions.js';
import { asksForCpus, resourceWarnings } from './config/resources.js';
import { checkNetworkMode } from './config/wanted-networks.js';
import { wantedLinks } from './links.js';

/** Tells a new container by which proxies it reaches the world. What it says itself holds. */
function addProxies(body: CreateBody, proxies: VchConfig['proxies']): void {
  const variables = proxies === undefined ? [] : proxyVariables(proxies, body.Env ?? []);
  if (variables.length > 0) body.Env = [...(body.Env ?? []), ...variables];
}

/** Docker Desktop's name of the machine. */
const HOST_NAME = 'host.docker.internal';

/** Where containers reach ports of the machine, they know it by a name. */
function namesHost(spec: ContainerSpec, ports: readonly number[] = []): ContainerSpec {
  if (ports.length === 0 || spec.extraHosts.some(({ host }) => host === HOST_NAME)) return spec;
  return { ...spec, extraHosts: [...spec.extraHosts, { host: HOST_NAME, address: HOST_GATEWAY }] };
}

export interface CreateRequest {
  body: CreateBody;
  /** '': a name is chosen. */
  name: string;
  /** `os/architecture`, which the image must have; '': any. */
  platform: string;
  /** What the client means depends on it. */
  apiVersion: string;
}

/** What creating a container needs of the rest of the engine. */
export interface CreateParts {
  exec: Pick<ExecService, 'create' | 'list' | 'resolve'>;
  images: Pick<ImageService, 'resolve'>;
  volumes: Pick<VolumeService, 'prepare' | 'discardOf'>;
  config: Pick<VchConfig, 'container' | 'syslog' | 'proxies' | 'hostPorts'>;
  dockerNetworks: Pick<DockerNetworks, 'find' | 'ownHost'>;
  hostInfo(): Promise<Pick<HostInfo, 'cpus'>>;
}

export class ContainerCreation {
  /** Names that were chosen for containers that are still being made. */
  private readonly chosen = new Set<string>();

  constructor(private readonly parts: CreateParts) {}

  /** @throws invalid, notFound, conflict, unsupported in Docker's words; nothing is left of the container then */
  async create(request: CreateRequest): Promise<{ id: string; warnings: string[] }> {
    if (request.name !== '') return this.createNamed(request, checkContainerName(request.name));
    const { exec } = this.parts;
    const name = randomName((one) => this.chosen.has(one) || exec.list().some(({ spec }) => spec.name === one));
    this.chosen.add(name);
    try {
      return await this.createNamed(request, name);
    } finally {
      this.chosen.delete(name);
    }
  }

  private async createNamed(
    { body, platform, apiVersion }: CreateRequest,
    name: string,
  ): Promise<{ id: string; warnings: string[] }> {
    const { exec, images, config, dockerNetworks, hostInfo } = this.parts;
    const empty = Object.keys(body).length === 0;
    const warnings = asNewest(body, apiVersion);
    const host = body.HostConfig ?? {};
    const reference = body.Image ?? '';
    if (empty) throw invalid('config cannot be empty in order to create a container');
    if (reference === '' && !body.Cmd?.length && !body.Entrypoint?.length) throw invalid('no command specified');
    if (reference === '') throw invalid('no image specified');
    const image = images.resolve(reference);
    checkPlatform(image, reference, platform);
    checkNamespaceOwners(body, exec);
    checkNetworkMode(body);
    const links = wantedLinks(body, exec);
    addProxies(body, config.proxies);
    const spec = containerSpec(body, image, name, {
      defaults: config.container,
      // The host is asked only where its processors matter.
      hostCpus: asksForCpus(host) ? (await hostInfo()).cpus : Number.POSITIVE_INFINITY,
      syslog: config.syslog,
      links,
      findNetwork: (reference) => dockerNetworks.find(reference),
    });
    if (!dockerNetworks.ownHost) for (const { driverOpts } of spec.networks) refuseRate(driverOpts);
    // Ports are published at the start; wrong ones are refused here.
    wantedPorts(host.PortBindings ?? {}, Object.keys(body.ExposedPorts ?? {}), host.PublishAllPorts === true);
    const created = await this.createWithVolumes(body, namesHost(spec, config.hostPorts));
    const nameless = dockerNetworks.ownHost ? [] : namelessNetworks(spec, (one) => dockerNetworks.find(one));
    const ofPlatform = platform === '' ? platformWarning(image.config) : null;
    return {
      id: created.spec.id,
      warnings: [...resourceWarnings(host), ...warnings, ...nameless, ...(ofPlatform === null ? [] : [ofPlatform])],
    };
  }

  /** @throws conflict for a name that is taken, before a volume is made */
  private async createWithVolumes(body: CreateBody, spec: ContainerSpec): Promise<ContainerInfo> {
    const { exec, volumes } = this.parts;
    const holder = exec.list().find((container) => container.spec.name === spec.name);
    if (holder !== undefined)
      throw new PortLayerError('container.nameTaken', { name: spec.name, holder: holder.spec.id });
    const mounted = await volumes.prepare(body, spec);
    try {
      return await exec.create(mounted);
    } catch (error) {
      await volumes.discardOf(mounted);
      throw error;
    }
  }
}

/** Warnings about networks on which Docker's containers find each other by name, where nobody answers such questions. */
function namelessNetworks(spec: ContainerSpec, find: DockerNetworks['find']): string[] {
  return spec.networks.flatMap(({ network }) => {
    const found = find(network);
    return found === undefined || found.predefined
      ? []
      : [
          `Containers on network ${network} do not find each other by name: this vSphere host has no name server for them`,
        ];
  });
}

/** @throws notFound in Docker's words, so that the client pulls the image for the platform */
function checkPlatform(image: Image, reference: string, wanted: string): void {
  if (wanted === '') return;
  const platform = parsePlatform(wanted);
  const offered = platformOf(image.config);
  if (platformMatch(platform, offered) === 0)
    throw notFound(
      `image with reference ${reference} was found but its platform (${formatPlatform(offered)}) does not match the specified platform (${formatPlatform(platform)})`,
    );
}
