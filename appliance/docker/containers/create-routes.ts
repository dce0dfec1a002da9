/** The route that makes a container. */
import type { Request, Router } from 'express';
import { type ContainerInfo, type ContainerSpec, PortLayerError } from '../../../port-layer/index.js';
import { invalid, notFound } from '../../../src/common/errors.js';
import { wantedPorts } from '../../gateway/index.js';
import type { Image } from '../../image/index.js';
import { formatPlatform, parsePlatform, platformMatch, platformOf, platformWarning } from '../../image/index.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { body, query, versionOf } from '../http/request.js';
import { type CreateBody, createSchema } from './config/container-config.js';
import { checkContainerName, containerSpec } from './config/container-spec.js';
import { checkNamespaceOwners } from './config/host-options.js';
import { randomName } from './config/names.js';
import { asNewest } from './config/older-versions.js';
import { asksForCpus, resourceWarnings } from './config/resources.js';
import { linkAnnotations } from './links.js';

/** Adds the route. */
export function createRoutes(router: Router, engine: Engine): void {
  const { exec } = engine.portLayer;

  /** Names that were chosen for containers which are still being made. */
  const chosen = new Set<string>();

  router.post('/containers/create', async (request, response) => {
    const wanted = await body(request, createSchema, { required: true, root: '' });
    const given = query(request, 'name') ?? '';
    const isTaken = (one: string): boolean => chosen.has(one) || exec.list().some(({ spec }) => spec.name === one);
    const name = given === '' ? randomName(isTaken) : checkContainerName(given);
    if (given === '') chosen.add(name);
    try {
      const { created, warnings } = await create(engine, wanted, name, request);
      const Warnings = [
        ...resourceWarnings(wanted.HostConfig ?? {}),
        ...warnings,
        ...platformWarnings(engine, created, request),
      ];
      response.status(201).json({ Id: created.spec.id, Warnings });
    } finally {
      if (given === '') chosen.delete(name);
    }
  });
}

/** Makes a container as a request asks for it. @throws invalid, notFound, conflict, unsupported */
async function create(
  engine: Engine,
  wanted: CreateBody,
  name: string,
  request: Request,
): Promise<{ created: ContainerInfo; warnings: string[] }> {
  const version = versionOf(request);
  const empty = Object.keys(wanted).length === 0;
  const warnings = asNewest(wanted, version);
  const reference = wanted.Image ?? '';
  if (empty) throw invalid('config cannot be empty in order to create a container');
  if (reference === '' && !wanted.Cmd?.length && !wanted.Entrypoint?.length) throw invalid('no command specified');
  if (reference === '') throw invalid('no image specified');
  const image = engine.images.resolve(reference);
  checkPlatform(image, reference, platformAsked(request));
  checkNamespaceOwners(wanted, engine.portLayer.exec);
  const links = linkAnnotations(wanted, engine.portLayer.exec);
  const { container, syslog } = engine.config;
  const spec = containerSpec(wanted, image, name, container, await hostCpus(engine, wanted), syslog);
  Object.assign(spec.annotations, links);
  wantedPorts(
    wanted.HostConfig?.PortBindings ?? {},
    Object.keys(wanted.ExposedPorts ?? {}),
    wanted.HostConfig?.PublishAllPorts === true,
  );
  return { created: await createWithVolumes(engine, wanted, spec), warnings };
}

/** @throws conflict before a volume is made for a container whose name is taken */
async function createWithVolumes(engine: Engine, wanted: CreateBody, spec: ContainerSpec): Promise<ContainerInfo> {
  const { exec } = engine.portLayer;
  const holder = exec.list().find((container) => container.spec.name === spec.name);
  if (holder !== undefined)
    throw new PortLayerError('container.nameTaken', { name: spec.name, holder: holder.spec.id });
  const mounted = await engine.volumes.prepare(wanted, spec);
  try {
    return await exec.create(mounted);
  } catch (error) {
    await engine.volumes.discardOf(mounted);
    throw error;
  }
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

/** What is said of an image for other machines, unless the request names a platform. */
function platformWarnings(engine: Engine, { spec }: ContainerInfo, request: Request): string[] {
  if (platformAsked(request) !== '') return [];
  const image = engine.images.list().find(({ id }) => id === spec.imageId);
  const warning = image === undefined ? null : platformWarning(image.config);
  return warning === null ? [] : [warning];
}

/** The platform that a request names; older clients cannot. */
const platformAsked = (request: Request): string =>
  atLeast(versionOf(request), '1.41') ? (query(request, 'platform') ?? '') : '';

/** Processors of the host, where the request is about them; else the host is not asked. */
async function hostCpus(engine: Engine, { HostConfig: host }: CreateBody): Promise<number> {
  return asksForCpus(host ?? {}) ? (await engine.portLayer.hostInfo()).cpus : Number.POSITIVE_INFINITY;
}
