/** What a restore makes, under which names, in which order: from a backup, what was asked for, and what there is. Pure. */
import { randomBytes } from 'node:crypto';
import type { BackedUpContainer, BackedUpImage, BackedUpVolume, Manifest } from '../../backup/index.js';
import { conflict, invalid, notFound } from '../../common/errors.js';

/** What to restore, each with the name that it gets; both empty: everything. */
export interface RestoreSelection {
  volumes: ReadonlyMap<string, string>;
  /** With the volumes that they have. */
  containers: ReadonlyMap<string, string>;
}

/** What a host has already: names, and ids of images. */
export interface Present {
  volumes: ReadonlySet<string>;
  containers: ReadonlySet<string>;
  networks: ReadonlySet<string>;
  images: ReadonlySet<string>;
}

export interface PlannedContainer {
  container: BackedUpContainer;
  name: string;
  /** As `POST /containers/create` takes it. */
  body: Record<string, unknown>;
  /** Its volumes that nobody has named. */
  anonymous: string[];
}

export interface RestorePlan {
  images: BackedUpImage[];
  networks: Manifest['networks'];
  volumes: { volume: BackedUpVolume; name: string }[];
  /** Those that others need come first. */
  containers: PlannedContainer[];
}

/** `name` or `name:newname` as options give them. @throws invalid */
export function renames(given: string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (const text of given) {
    const [from = '', to = from, ...rest] = text.split(':');
    if (from === '' || to === '' || rest.length > 0) throw invalid(`'${text}' is not a name, or name:newname`);
    if (map.has(from)) throw invalid(`'${from}' is named twice`);
    map.set(from, to);
  }
  return map;
}

/** @throws notFound for what the backup does not have; conflict, naming all that is there already; invalid */
export function restorePlan(manifest: Manifest, selection: RestoreSelection, present: Present): RestorePlan {
  const everything = selection.volumes.size === 0 && selection.containers.size === 0;
  const { id } = manifest;
  for (const name of selection.volumes.keys())
    if (!manifest.volumes.some((one) => one.name === name)) throw notFound(`backup ${id} has no volume '${name}'`);
  for (const name of selection.containers.keys())
    if (!manifest.containers.some((one) => one.name === name))
      throw notFound(`backup ${id} has no container '${name}'`);
  const containers = manifest.containers.filter(({ name }) => everything || selection.containers.has(name));
  const anonymous = new Set(
    containers.flatMap(({ mounts }) => mounts.filter((one) => one.anonymous).map((one) => one.volume)),
  );
  const needed = new Set(containers.flatMap(({ mounts }) => mounts.map(({ volume }) => volume)));
  const volumeNames = new Map<string, string>();
  const volumes = manifest.volumes
    .filter(({ name }) => everything || selection.volumes.has(name) || needed.has(name))
    .map((volume) => {
      // A name that nobody has chosen can be any.
      const free = anonymous.has(volume.name) && present.volumes.has(volume.name);
      const name = selection.volumes.get(volume.name) ?? (free ? randomBytes(32).toString('hex') : volume.name);
      volumeNames.set(volume.name, name);
      return { volume, name };
    });
  const containerNames = new Map(containers.map(({ name }) => [name, selection.containers.get(name) ?? name]));
  refuseTaken([
    ...taken('volume', [...volumeNames.values()], present.volumes),
    ...taken('container', [...containerNames.values()], present.containers),
  ]);
  const networks = new Set(containers.flatMap((one) => Object.keys(one.networks)));
  const images = new Set(containers.map(({ image }) => image));
  const missing = manifest.images.filter(
    (image) => !present.images.has(image.id) && (images.has(image.id) || (everything && obtainable(image))),
  );
  for (const { name, image } of containers)
    if (!present.images.has(image) && !missing.some((one) => one.id === image && obtainable(one)))
      throw conflict(
        `container ${name} needs the image ${image}, which is not there, not in the backup, and in no registry: load it first`,
      );
  return {
    images: missing,
    networks: manifest.networks.filter(({ Name }) => !present.networks.has(Name) && (everything || networks.has(Name))),
    volumes,
    containers: inOrder(containers, manifest.containers).map((container) => ({
      container,
      name: containerNames.get(container.name) ?? container.name,
      body: createBody(container, volumeNames, (reference) => nameOf(reference, manifest.containers, containerNames)),
      anonymous: container.mounts.filter((one) => one.anonymous).map(({ volume }) => volumeNames.get(volume) ?? volume),
    })),
  };
}

const obtainable = ({ archive, digests }: BackedUpImage): boolean => archive !== null || digests.length > 0;

/** What is in the way of these names. */
function taken(what: string, names: string[], present: ReadonlySet<string>): string[] {
  const twice = names.filter((name, at) => names.indexOf(name) !== at);
  return [
    ...names.filter((name) => present.has(name)).map((name) => `there is a ${what} '${name}' already`),
    ...twice.map((name) => `two are to be the ${what} '${name}'`),
  ];
}

function refuseTaken(problems: string[]): void {
  if (problems.length === 0) return;
  throw conflict(`${problems.join('; ')}. Give it another name: --volume name:newname, --container name:newname`);
}

/** The name that a container named by id or name will have. */
function nameOf(reference: string, all: BackedUpContainer[], names: ReadonlyMap<string, string>): string {
  const found = byReference(reference, all);
  return found === undefined ? reference : (names.get(found.name) ?? found.name);
}

const byReference = (reference: string, all: BackedUpContainer[]): BackedUpContainer | undefined =>
  all.find(
    ({ id, name }) => name === reference || id === reference || (reference.length >= 12 && id.startsWith(reference)),
  );

/** `/target:/container/alias`, as `inspect` shows a link. */
const linkOf = (text: string): { target: string; alias: string } => {
  const [target = '', alias = ''] = text.split(':');
  return { target: target.replace(/^\//, ''), alias: alias.split('/').at(-1) || target.replace(/^\//, '') };
};

const linksOf = ({ hostConfig }: BackedUpContainer): string[] => texts(hostConfig.Links);
const texts = (value: unknown): string[] =>
  Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];

/** The container whose network it has, in a mode like `container:web`; null for another mode. */
const sharedWith = (mode: unknown): string | null =>
  typeof mode === 'string' && mode.startsWith('container:') ? mode.slice('container:'.length) : null;

/** Each after those that it needs. */
function inOrder(containers: BackedUpContainer[], all: BackedUpContainer[]): BackedUpContainer[] {
  const ordered = new Set<BackedUpContainer>();
  const open = new Set<BackedUpContainer>();
  const add = (one: BackedUpContainer): void => {
    // In a circle there is no order; what cannot be made says so.
    if (ordered.has(one) || open.has(one)) return;
    open.add(one);
    const shared = ['NetworkMode', 'PidMode', 'IpcMode'].map((key) => sharedWith(one.hostConfig[key]));
    for (const reference of [...linksOf(one).map((text) => linkOf(text).target), ...shared]) {
      const needed = reference === null ? undefined : byReference(reference, all);
      if (needed !== undefined && containers.includes(needed)) add(needed);
    }
    ordered.add(one);
  };
  for (const one of containers) add(one);
  return [...ordered];
}

/** What a container asked for on a network; the rest is what the engine chose then. */
const ASKED = ['IPAMConfig', 'Links', 'Aliases', 'DriverOpts', 'GwPriority'];

/** As `POST /containers/create` takes it: what `inspect` showed, with each volume by its new name. */
function createBody(
  { id, config, hostConfig, networks, mounts }: BackedUpContainer,
  volumes: ReadonlyMap<string, string>,
  containerName: (reference: string) => string,
): Record<string, unknown> {
  const { Hostname, ...rest } = config;
  const renamed = Object.fromEntries(
    ['NetworkMode', 'PidMode', 'IpcMode'].flatMap((key) => {
      const shared = sharedWith(hostConfig[key]);
      return shared === null ? [] : [[key, `container:${containerName(shared)}`]];
    }),
  );
  const links = texts(hostConfig.Links).map(linkOf);
  const alone = typeof hostConfig.NetworkMode === 'string' && /^(none|host|container:.*)$/.test(hostConfig.NetworkMode);
  const inMemory = (Array.isArray(hostConfig.Mounts) ? (hostConfig.Mounts as unknown[]) : []).filter(
    (one) => (one as { Type?: unknown } | null)?.Type === 'tmpfs',
  );
  return {
    ...rest,
    // Docker's default is the beginning of the id, and the id is another one now.
    ...(Hostname === id.slice(0, 12) ? {} : { Hostname }),
    HostConfig: {
      ...hostConfig,
      ...renamed,
      Links: links.length === 0 ? null : links.map(({ target, alias }) => `${containerName(target)}:${alias}`),
      // All of them, whoever asked for them, are in `mounts`.
      Binds: null,
      VolumesFrom: null,
      Mounts: [
        ...inMemory,
        ...mounts.map(({ volume, path, readOnly, subpath }) => ({
          Type: 'volume',
          Source: volumes.get(volume) ?? volume,
          Target: path,
          ReadOnly: readOnly,
          // One that was empty stays so.
          VolumeOptions: { NoCopy: true, ...(subpath === null ? {} : { Subpath: subpath }) },
        })),
      ],
    },
    ...(alone
      ? {}
      : {
          NetworkingConfig: {
            EndpointsConfig: Object.fromEntries(
              Object.entries(networks).map(([name, endpoint]) => [
                name,
                Object.fromEntries(ASKED.filter((key) => endpoint[key] != null).map((key) => [key, endpoint[key]])),
              ]),
            ),
          },
        }),
  };
}
