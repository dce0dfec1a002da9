/** `docker commit`: an image of a container. */
import type { Request, Router } from 'express';
import { conflict, invalid, notFound } from '../../../src/common/errors.js';
import { commitReference, familiarString } from '../../image/index.js';
import { type CreateBody, createSchema } from '../containers/config/container-config.js';
import type { DockerConfig } from '../containers/config/docker-config.js';
import { intactRecord } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import type { Engine } from '../engine.js';
import { body, flag, hangup, query } from '../http/request.js';
import { ENGINE_VERSION } from '../system/info.js';
import { applyChanges } from './commit-changes.js';

/** Adds the route. */
export function commitRoutes(router: Router, engine: Engine): void {
  const { exec, files } = engine.portLayer;

  router.post('/commit', async (request, response) => {
    const wanted = await body(request, createSchema);
    const name = query(request, 'container') ?? '';
    if (name === '') throw invalid('invalid name or ID supplied: ""');
    const container = exec.resolve(name);
    const reference = commitReference(query(request, 'repo') ?? '', query(request, 'tag') ?? '');
    const own = intactRecord(container).config;
    const config = filled(applyChanges(startingPoint(wanted, own), changesOf(request)), own);
    if (container.state === 'removing') throw conflict(`You cannot commit container ${name} which is Removing`);
    if (container.state === 'dead') throw conflict(`You cannot commit container ${name} which is Dead`);
    const base = engine.containerImages.of(container);
    if (base === undefined) throw notFound(`No such image: ${container.spec.imageId}`);
    const pause =
      isUp(container) && !container.paused && (query(request, 'pause') === undefined || flag(request, 'pause'));
    const signal = hangup(response);
    const [author, comment] = [query(request, 'author') ?? '', query(request, 'comment') ?? ''];
    if (pause) engine.publish(container, 'pause');
    try {
      const image = await engine.images.commit({
        base,
        layer: await files.layer(container.spec.id, { freeze: pause }, signal),
        config,
        fields: {
          container: container.spec.id,
          container_config: own,
          docker_version: ENGINE_VERSION,
        },
        author,
        comment,
        createdBy: (own.Cmd ?? []).join(' '),
        reference,
        signal,
      });
      const imageRef = reference === null ? '' : familiarString(reference);
      engine.publish(container, 'commit', { comment, imageID: image.id, imageRef });
      response.status(201).json({ Id: image.id });
    } finally {
      if (pause) engine.publish(container, 'unpause');
    }
  });
}

/** All values of `changes`. */
function changesOf(request: Request): string[] {
  const value = request.query.changes;
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.filter((one): one is string => typeof one === 'string');
}

/** What the changes are applied to: the configuration of the request, or, when it gives none, the container's. */
function startingPoint(wanted: CreateBody, own: DockerConfig): DockerConfig {
  const { HostConfig: _host, NetworkingConfig: _networking, ...given } = wanted;
  if (Object.keys(given).length === 0) return own;
  const list = (value: string[] | null | undefined): string[] | null => ((value ?? []).length === 0 ? null : value!);
  return {
    Hostname: given.Hostname ?? '',
    Domainname: given.Domainname ?? '',
    User: given.User ?? '',
    AttachStdin: given.AttachStdin === true,
    AttachStdout: given.AttachStdout === true,
    AttachStderr: given.AttachStderr === true,
    Tty: given.Tty === true,
    OpenStdin: given.OpenStdin === true,
    StdinOnce: given.StdinOnce === true,
    Env: given.Env ?? [],
    Cmd: list(given.Cmd),
    Image: given.Image ?? '',
    Volumes: (given.Volumes ?? null) as DockerConfig['Volumes'],
    WorkingDir: given.WorkingDir ?? '',
    Entrypoint: list(given.Entrypoint),
    OnBuild: list(given.OnBuild),
    Labels: given.Labels ?? {},
    ...(given.ExposedPorts ? { ExposedPorts: given.ExposedPorts as Record<string, object> } : {}),
    ...(given.StopSignal ? { StopSignal: given.StopSignal } : {}),
    ...(given.Healthcheck ? { Healthcheck: given.Healthcheck } : {}),
    ...(given.Shell ? { Shell: given.Shell } : {}),
  };
}

/** What is not said is the container's, as Docker merges the two. */
function filled(config: DockerConfig, own: DockerConfig): DockerConfig {
  const names = new Set(config.Env.map((entry) => entry.split('=', 1)[0]));
  const ports = { ...own.ExposedPorts, ...config.ExposedPorts };
  const volumes = { ...own.Volumes, ...config.Volumes };
  const hasEntrypoint = (config.Entrypoint ?? []).length > 0;
  const hasCommand = (config.Cmd ?? []).length > 0;
  const stopSignal = config.StopSignal ?? own.StopSignal;
  const health = config.Healthcheck ?? own.Healthcheck;
  return {
    ...config,
    User: config.User || own.User,
    Env: [...config.Env, ...own.Env.filter((entry) => !names.has(entry.split('=', 1)[0]))],
    Labels: { ...own.Labels, ...config.Labels },
    Cmd: hasEntrypoint || hasCommand ? config.Cmd : own.Cmd,
    Entrypoint: config.Entrypoint ?? own.Entrypoint,
    WorkingDir: config.WorkingDir || own.WorkingDir,
    Volumes: Object.keys(volumes).length === 0 ? null : volumes,
    ...(Object.keys(ports).length === 0 ? {} : { ExposedPorts: ports }),
    ...(stopSignal === undefined ? {} : { StopSignal: stopSignal }),
    ...(health === undefined ? {} : { Healthcheck: health }),
  };
}
