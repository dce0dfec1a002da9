/** Routes of containers: create, look, start, stop, remove. */
import type { Request, Router } from 'express';
import { type ContainerInfo, type ContainerSpec, nameTaken, type WaitCondition } from '../../../port-layer/index.js';
import {
  CaissonError,
  invalid,
  kindOf,
  notFound,
  notModified,
  unavailable,
  unsupported,
} from '../../../src/common/errors.js';
import { wantedPorts } from '../../gateway/published-ports.js';
import { formatPlatform, parsePlatform, platformMatch, platformOf, platformWarning } from '../../image/platform.js';
import type { Image } from '../../image/types.js';
import type { Engine } from '../engine.js';
import { atLeast } from '../http/api-version.js';
import { body, filters, flag, hangup, integer, query, terminalSize, versionOf } from '../http/request.js';
import { dockerMessage } from '../words/docker-message.js';
import { type CreateBody, createSchema } from './config/container-config.js';
import { checkContainerName, containerSpec } from './config/container-spec.js';
import { checkNamespaceOwners } from './config/host-options.js';
import { randomName } from './config/names.js';
import { asNewest } from './config/older-versions.js';
import { asksForCpus, resourceWarnings } from './config/resources.js';
import { parseSignal } from './config/signals.js';
import { filterContainers } from './container-filters.js';
import { containerSize, withSizes } from './container-size.js';
import { inspectView, listView } from './container-view.js';
import { linkAnnotations, withoutLink } from './links.js';

/** Adds the routes. */
export function containerRoutes(router: Router, engine: Engine): void {
  const { exec, interaction } = engine.portLayer;

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

  router.get('/containers/json', async (request, response) => {
    const limit = integer(request, 'limit') ?? 0;
    const version = versionOf(request);
    const rows = filterContainers(engine, exec.list(), filters(request), {
      annotations: atLeast(version, '1.56'),
      all: flag(request, 'all') || limit > 0,
      limit,
    });
    const view = listView(engine, version);
    response.json(flag(request, 'size') ? await withSizes(engine, rows, hangup(response), view) : rows.map(view));
  });

  router.get('/containers/:id/json', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const sizes = flag(request, 'size') ? await containerSize(engine, container, hangup(response)) : {};
    response.json({ ...inspectView(engine, container, versionOf(request)), ...sizes });
  });

  router.post('/containers/:id/start', async (request, response) => {
    if (query(request, 'checkpoint')) throw unsupported('checkpoints are not implemented');
    await engine.start(request.params.id);
    response.status(204).end();
  });

  router.post('/containers/:id/stop', async (request, response) => {
    // A time that is none is told of in any case, as Docker does.
    integer(request, 't');
    const container = exec.resolve(request.params.id);
    const { id } = container.spec;
    // Nobody asks for the signal's name where there is nothing to send it to.
    if (!engine.isUp(container)) throw notModified(`container ${id} is not running`);
    await engine.stop(id, stopOptions(request));
    response.status(204).end();
  });

  router.post('/containers/:id/restart', async (request, response) => {
    const container = exec.resolve(request.params.id);
    await engine.restart(container.spec.id, stopOptions(request));
    response.status(204).end();
  });

  router.post('/containers/:id/kill', async (request, response) => {
    const { id } = request.params;
    try {
      const container = exec.resolve(id);
      const signal = parseSignal(query(request, 'signal') || 'KILL');
      await engine.kill(container.spec.id, signal);
    } catch (error) {
      throw new CaissonError(kindOf(error), `cannot kill container: ${id}: ${dockerMessage(error)}`, { cause: error });
    }
    response.status(204).end();
  });

  router.post('/containers/:id/wait', async (request, response) => {
    // Conditions came with 1.30.
    const condition = (atLeast(versionOf(request), '1.30') && query(request, 'condition')) || 'not-running';
    if (!['not-running', 'next-exit', 'removed'].includes(condition))
      throw invalid(`invalid condition: "${condition}"`);
    const waiting = engine.wait(request.params.id, condition as WaitCondition, hangup(response));
    waiting.catch(() => undefined);
    exec.resolve(request.params.id);
    // The head goes out at once: clients start the container only when they know that the wait is on.
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    try {
      const { exitCode, error } = await waiting;
      // Who waits while it starts it hears of a failed start from the start.
      const failure = condition === 'not-running' && error !== '' ? { Error: { Message: error } } : {};
      const answer = { ...failure, StatusCode: exitCode };
      response.end(`${JSON.stringify(answer)}\n`);
    } catch {
      response.destroy();
    }
  });

  router.delete('/containers/:id', async (request, response) => {
    if (flag(request, 'link')) {
      exec.resolve(request.params.id);
      throw unavailable('Conflict, cannot remove the default link name of the container');
    }
    await engine.remove(request.params.id, flag(request, 'force'), flag(request, 'v'));
    response.status(204).end();
  });

  // `docker rm --link`: the link goes, the container it leads to stays.
  router.delete('/containers/:id/:alias', async (request, response) => {
    const { id, alias } = request.params;
    const noSuch = notFound(`No such container: ${id}/${alias}`);
    const container = exec.list().find(({ spec }) => spec.name === id);
    const annotations = container === undefined ? null : withoutLink(container, alias);
    if (container === undefined || annotations === null) throw noSuch;
    if (!flag(request, 'link'))
      throw invalid(`${id}/${alias} is a link: remove it with --link, or the container by its own name`);
    await exec.annotate(container.spec.id, annotations);
    response.status(204).end();
  });

  router.post('/containers/:id/rename', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const given = query(request, 'name') ?? '';
    if (given === '') throw invalid('Neither old nor new names may be empty');
    if (given.replace(/^\//, '') === container.spec.name)
      throw invalid('Renaming a container with the same name as its current name');
    const oldName = `/${container.spec.name}`;
    try {
      await exec.rename(container.spec.id, checkContainerName(`/${given.replace(/^\//, '')}`));
    } catch (error) {
      throw new CaissonError(kindOf(error), `Error when allocating new name: ${dockerMessage(error)}`, {
        cause: error,
      });
    }
    engine.publish(exec.resolve(container.spec.id), 'rename', { oldName });
    response.status(204).end();
  });

  router.post('/containers/:id/resize', async (request, response) => {
    const container = exec.resolve(request.params.id);
    const { rows, cols } = terminalSize(request);
    await interaction.resize(container.spec.id, { rows, cols });
    engine.publish(container, 'resize', { height: String(rows), width: String(cols) });
    response.status(200).end();
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
  if (holder !== undefined) throw nameTaken(spec.name, holder.spec.id);
  const mounted = await engine.volumes.prepare(wanted, spec);
  try {
    return await exec.create(mounted);
  } catch (error) {
    await engine.volumes.discardOf(mounted);
    throw error;
  }
}

/** How a container is to be stopped. A signal of one's own came with 1.42, and is not heard of before. @throws invalid */
function stopOptions(request: Request): { signal?: number; timeoutSeconds?: number } {
  const seconds = integer(request, 't');
  const signal = atLeast(versionOf(request), '1.42') ? query(request, 'signal') : undefined;
  return {
    ...(signal === undefined || signal === '' ? {} : { signal: parseSignal(signal) }),
    ...(seconds === undefined ? {} : { timeoutSeconds: seconds }),
  };
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
