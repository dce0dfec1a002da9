/** Images as the API shows them: a row of the list, `inspect`, and the history. */
import { formatGoTime } from '../../../src/common/go-time.js';
import { DEFAULT_PLATFORM, type Image, parseReference, repositoryName } from '../../image/index.js';
import { atLeast } from '../http/api-version.js';
import { STORAGE_DRIVER } from '../system/storage-driver.js';

/** Older versions showed an image's configuration with the fields of a container's. */
const CONTAINER_FIELDS = {
  Hostname: '',
  Domainname: '',
  AttachStdin: false,
  AttachStdout: false,
  AttachStderr: false,
  Tty: false,
  OpenStdin: false,
  StdinOnce: false,
  Image: '',
};
const CONFIG_FIELDS = {
  Cmd: null,
  Entrypoint: null,
  Env: null,
  Labels: null,
  OnBuild: null,
  User: '',
  Volumes: null,
  WorkingDir: '',
};

/** The fields with which an image configures its containers. */
const IMAGE_FIELDS = [
  'User',
  'ExposedPorts',
  'Env',
  'Entrypoint',
  'Cmd',
  'Volumes',
  'WorkingDir',
  'Labels',
  'StopSignal',
  'Healthcheck',
  'Shell',
  'ArgsEscaped',
  'OnBuild',
] as const;

/** In seconds since 1970; 0 when the image does not say. */
export function createdSeconds(image: Image): number {
  return secondsOf(image.config.created);
}

function secondsOf(created: string | undefined): number {
  const time = Date.parse(created ?? '');
  return Number.isNaN(time) ? 0 : Math.floor(time / 1000);
}

/** The ids of images that others were committed from. */
export const parentIds = (images: Image[]): Set<string | null> => new Set(images.map(({ parent }) => parent));

/** Tells of an image the bytes of layers that other images have too. Images without a name that others were committed from do not count. */
export function sharedSizes(images: Image[]): (image: Image) => number {
  const parents = parentIds(images);
  const users = new Map<string, number>();
  for (const { id, chainIds, repoTags, repoDigests } of images) {
    if (repoTags.length + repoDigests.length === 0 && parents.has(id)) continue;
    for (const chain of chainIds) users.set(chain, (users.get(chain) ?? 0) + 1);
  }
  return ({ chainIds, layerSizes }) =>
    chainIds.reduce((sum, chain, i) => sum + ((users.get(chain) ?? 0) > 1 ? (layerSizes[i] ?? 0) : 0), 0);
}

const virtualSize = (image: Image, apiVersion: string): object =>
  atLeast(apiVersion, '1.44') ? {} : { VirtualSize: image.size };

/** Before 1.43 a row of an image without names showed `<none>` as its names, and no digests were null. */
function namesOf({ repoDigests, repoTags }: Image, apiVersion: string): object {
  if (atLeast(apiVersion, '1.43')) return { RepoDigests: repoDigests, RepoTags: repoTags };
  if (repoDigests.length + repoTags.length === 0)
    return { RepoDigests: ['<none>@<none>'], RepoTags: ['<none>:<none>'] };
  const given = (names: string[]): string[] | null => (names.length === 0 ? null : names);
  return { RepoDigests: given(repoDigests), RepoTags: given(repoTags) };
}

/** A row of `GET /images/json`. @param users how many containers it has */
export function imageRow(image: Image, users: number, apiVersion: string): object {
  return {
    // Counted since 1.51.
    Containers: atLeast(apiVersion, '1.51') ? users : -1,
    Created: createdSeconds(image),
    Id: image.id,
    Labels: image.config.config.Labels ?? null,
    ParentId: image.parent ?? '',
    ...namesOf(image, apiVersion),
    SharedSize: -1,
    Size: image.size,
    ...virtualSize(image, apiVersion),
  };
}

/** `GET /images/{name}/json`. */
export function imageView(image: Image, apiVersion: string): object {
  const { config } = image;
  const legacy = !atLeast(apiVersion, '1.52');
  const filled = (fields: Record<string, string>): object =>
    legacy ? fields : Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
  // Empty values are left out.
  const given = Object.fromEntries(
    IMAGE_FIELDS.map((name) => [name, config.config[name]] as const).filter(
      ([name, value]) => value !== undefined && (name === 'Healthcheck' || !isEmpty(value)),
    ),
  );
  return {
    Id: image.id,
    RepoTags: image.repoTags,
    RepoDigests: image.repoDigests,
    ...filled({
      Parent: image.parent ?? '',
      Comment: config.comment || (config.history?.at(-1)?.comment ?? ''),
    }),
    ...createdView(config.created, apiVersion),
    ...(atLeast(apiVersion, '1.45')
      ? {}
      : {
          ...(config.container ? { Container: config.container } : {}),
          ContainerConfig: { ...CONTAINER_FIELDS, ...CONFIG_FIELDS, ...config.container_config },
        }),
    ...filled({ DockerVersion: config.docker_version ?? '', Author: config.author ?? '' }),
    Architecture: config.architecture,
    ...(config.variant ? { Variant: config.variant } : {}),
    Os: config.os || DEFAULT_PLATFORM.os,
    ...(config['os.version'] ? { OsVersion: config['os.version'] } : {}),
    Size: image.size,
    ...virtualSize(image, apiVersion),
    GraphDriver: { Data: null, Name: STORAGE_DRIVER },
    RootFS: { Type: config.rootfs.type, Layers: config.rootfs.diff_ids },
    Metadata: { LastTagTime: image.taggedAt?.toISOString() ?? '0001-01-01T00:00:00Z' },
    ...(atLeast(apiVersion, '1.53') ? identity(image) : {}),
    Config: legacy ? { ...(atLeast(apiVersion, '1.50') ? {} : CONTAINER_FIELDS), ...CONFIG_FIELDS, ...given } : given,
  };
}

/** Where an image was pulled from; nothing for one that was made here. */
function identity({ repoDigests }: Image): object {
  const from = repoDigests.map((digest) => repositoryName(parseReference(digest)));
  return from.length === 0 ? {} : { Identity: { Pull: [...new Set(from)].map((Repository) => ({ Repository })) } };
}

/** When it was made, as Go writes it. Clients show an image without a time as `N/A`; older ones need one. */
function createdView(created: string | undefined, apiVersion: string): object {
  if (created !== undefined) return { Created: formatGoTime(created) };
  return atLeast(apiVersion, '1.44') ? {} : { Created: '0001-01-01T00:00:00Z' };
}

const isEmpty = (value: unknown): boolean =>
  value === '' || value === false || (typeof value === 'object' && value !== null && Object.keys(value).length === 0);

/** `GET /images/{name}/history`, newest first. Rows name the images that this one was committed from, if they are still here. */
export function imageHistory(images: Image[], image: Image): object[] {
  const sizes = [...image.layerSizes];
  const rows = (image.config.history ?? []).map((entry) => ({
    Comment: entry.comment ?? '',
    Created: secondsOf(entry.created),
    CreatedBy: entry.created_by ?? '',
    Id: '<missing>',
    Size: entry.empty_layer === true ? 0 : (sizes.shift() ?? 0),
    Tags: null as string[] | null,
  }));
  rows.reverse();
  const byId = new Map(images.map((one) => [one.id as string | null, one]));
  let of: Image | undefined = image;
  for (const row of rows) {
    if (of === undefined) break;
    row.Id = of.id;
    row.Tags = of.repoTags.length === 0 ? null : of.repoTags;
    of = byId.get(of.parent);
  }
  return rows;
}
