/** Makes an image of a container (`docker commit`). */
import type { ExecService, FileService } from '../../../port-layer/index.js';
import { conflict, invalid, notFound } from '../../../src/common/errors.js';
import { commitReference, familiarString, type ImageService } from '../../image/index.js';
import type { CreateBody } from '../containers/config/create-body.js';
import type { DockerConfig } from '../containers/config/docker-config.js';
import { intactRecord } from '../containers/container-record.js';
import { isUp } from '../containers/container-state.js';
import type { PublishContainerEvent } from '../events/event-publisher.js';
import { ENGINE_VERSION } from '../system/version.js';
import { applyChanges } from './commit-changes.js';
import type { ContainerImages } from './container-images.js';

/** What a client wants of an image. */
export interface CommitRequest {
  /** The container, as the client named it. */
  container: string;
  /** The name of the image; both '': it has none. */
  repository: string;
  tag: string;
  /** Replaces the container's configuration where it says anything. */
  config: CreateBody;
  /** Instructions of a Dockerfile that change the configuration. */
  changes: string[];
  author: string;
  comment: string;
  /** Freeze the container meanwhile, if it runs. */
  pause: boolean;
}

/** What commit depends on. */
export interface CommitParts {
  exec: Pick<ExecService, 'resolve'>;
  files: Pick<FileService, 'layer'>;
  images: Pick<ImageService, 'commit'>;
  containerImages: Pick<ContainerImages, 'of'>;
  publish: PublishContainerEvent;
}

/** @returns the image's id @throws invalid, notFound, conflict in Docker's words */
export async function commit(parts: CommitParts, wanted: CommitRequest, signal: AbortSignal): Promise<string> {
  const { container: name, author, comment } = wanted;
  if (name === '') throw invalid('invalid name or ID supplied: ""');
  const container = parts.exec.resolve(name);
  const { id } = container.spec;
  const reference = commitReference(wanted.repository, wanted.tag);
  const own = intactRecord(container).config;
  const config = filled(applyChanges(startingPoint(wanted.config, own), wanted.changes), own);
  if (container.state === 'removing') throw conflict(`You cannot commit container ${name} which is Removing`);
  if (container.state === 'dead') throw conflict(`You cannot commit container ${name} which is Dead`);
  const base = parts.containerImages.of(container);
  if (base === undefined) throw notFound(`No such image: ${container.spec.imageId}`);
  const pause = wanted.pause && isUp(container) && !container.paused;
  if (pause) parts.publish(container, 'pause');
  try {
    const image = await parts.images.commit({
      base,
      layer: await parts.files.layer(id, { freeze: pause }, signal),
      config,
      fields: {
        container: id,
        container_config: { ...own, Env: own.Env.length === 0 ? null : own.Env },
        docker_version: ENGINE_VERSION,
      },
      author,
      comment,
      createdBy: (own.Cmd ?? []).join(' '),
      reference,
      signal,
    });
    const imageRef = reference === null ? '' : familiarString(reference);
    parts.publish(container, 'commit', { comment, imageID: image.id, imageRef });
    return image.id;
  } finally {
    if (pause) parts.publish(container, 'unpause');
  }
}

/** What the changes are applied to: the configuration of the request or, if it has none, the container's. */
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

/** Fills in from the container what the configuration leaves out, the way Docker merges the two. */
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
