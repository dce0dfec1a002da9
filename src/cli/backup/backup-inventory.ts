/** What a virtual container host has, as a backup keeps it: everything but the content of disks. */
import type { BackedUpContainer, BackedUpImage, BackedUpVolume, Manifest } from '../../backup/index.js';
import { notFound } from '../../common/errors.js';
import {
  ANONYMOUS,
  type ContainerAnswer,
  containerAnswer,
  containersAnswer,
  type ImageAnswer,
  imagesAnswer,
  networksAnswer,
  volumesAnswer,
} from './docker-answers.js';
import type { VchApi } from './vch-api.js';

/** What of a host is to be backed up; both empty: everything. */
export interface Selection {
  volumes: string[];
  /** With the volumes that they have. */
  containers: string[];
}

export interface Inventory {
  volumes: (Omit<BackedUpVolume, 'disk'> & { hasDisk: boolean })[];
  containers: Omit<BackedUpContainer, 'changes'>[];
  networks: Manifest['networks'];
  images: Omit<BackedUpImage, 'archive'>[];
}

/** Networks that are there in every host, and drivers that are not made by users. */
const OWN_NETWORKS = ['bridge', 'host', 'none'];
const MADE_DRIVER = 'bridge';
/** A container in such a state is on its way out. */
const LEAVING = ['removing', 'dead'];

/** @throws notFound for what is named and is not there */
export async function inventoryOf(api: VchApi, selection: Selection): Promise<Inventory> {
  const everything = selection.volumes.length === 0 && selection.containers.length === 0;
  const { Volumes } = volumesAnswer.parse(await api.ask('GET', '/volumes'));
  const volumes = new Map((Volumes ?? []).map((one) => [one.Name, one]));
  const listed = everything ? containersAnswer.parse(await api.ask('GET', '/containers/json?all=1')) : [];
  const named = everything
    ? listed.filter(({ State }) => !LEAVING.includes(State)).map(({ Id }) => Id)
    : selection.containers;
  const inspected: ContainerAnswer[] = [];
  for (const name of named) {
    const one = containerAnswer.parse(await api.ask('GET', `/containers/${encodeURIComponent(name)}/json`));
    if (!inspected.some(({ Id }) => Id === one.Id)) inspected.push(one);
  }
  const anonymous = (name: string): boolean => Object.hasOwn(volumes.get(name)?.Labels ?? {}, ANONYMOUS);
  const containers = inspected.map((one) => containerOf(one, anonymous));
  const wanted = new Set(
    everything
      ? volumes.keys()
      : [...selection.volumes, ...containers.flatMap(({ mounts }) => mounts.map(({ volume }) => volume))],
  );
  const networks = networksAnswer.parse(await api.ask('GET', '/networks'));
  const used = new Set(containers.flatMap((one) => Object.keys(one.networks)));
  const images = imagesAnswer.parse(await api.ask('GET', '/images/json?all=1&digests=1'));
  return {
    volumes: [...wanted].sort().map((name) => {
      const volume = volumes.get(name);
      if (volume === undefined) throw notFound(`there is no volume '${name}'`);
      const { Driver, Options, Labels, Mountpoint } = volume;
      return { name, driver: Driver, options: Options ?? null, labels: Labels ?? null, hasDisk: Mountpoint !== '' };
    }),
    containers,
    networks: networks
      .filter(({ Name, Driver }) => !OWN_NETWORKS.includes(Name) && Driver === MADE_DRIVER)
      .filter(({ Name }) => everything || used.has(Name))
      .map(networkOf)
      // Those that others are made from come first.
      .sort((a, b) => Number(b.ConfigOnly === true) - Number(a.ConfigOnly === true)),
    images: images.filter(({ Id }) => everything || containers.some(({ image }) => image === Id)).map(imageOf),
  };
}

function containerOf(
  { Id, Name, Image, State, Config, HostConfig, NetworkSettings, Mounts }: ContainerAnswer,
  anonymous: (volume: string) => boolean,
): Inventory['containers'][number] {
  const subpaths = subpathsOf(HostConfig);
  return {
    id: Id,
    name: Name.replace(/^\//, ''),
    image: Image,
    state: State.Status,
    config: Config,
    hostConfig: HostConfig,
    networks: NetworkSettings.Networks ?? {},
    mounts: Mounts.flatMap(({ Type, Name: volume, Destination: path, RW }) =>
      Type === 'volume' && volume !== undefined
        ? [{ volume, path, readOnly: !RW, subpath: subpaths.get(path) ?? null, anonymous: anonymous(volume) }]
        : [],
    ),
  };
}

/** By target, the directory of a volume that a mount asks for. */
function subpathsOf({ Mounts }: Record<string, unknown>): Map<string, string> {
  const found = new Map<string, string>();
  for (const { Target, VolumeOptions } of (Mounts ?? []) as { Target?: string; VolumeOptions?: { Subpath?: string } }[])
    if (Target !== undefined && VolumeOptions?.Subpath) found.set(Target, VolumeOptions.Subpath);
  return found;
}

/** As it is asked for when it is made. */
function networkOf(network: Record<string, unknown> & { Name: string }): Manifest['networks'][number] {
  const asked = ['Driver', 'EnableIPv4', 'EnableIPv6', 'Internal', 'Attachable', 'ConfigOnly'];
  const whole = ['IPAM', 'ConfigFrom', 'Options', 'Labels'];
  // What comes from another network must not be asked for a second time.
  const from = (network.ConfigFrom as { Network?: string } | undefined)?.Network ?? '';
  const keys = from === '' ? [...asked, ...whole] : ['Driver', 'Internal', 'Attachable', 'ConfigFrom'];
  return {
    Name: network.Name,
    ...Object.fromEntries(keys.filter((key) => network[key] != null).map((key) => [key, network[key]])),
  };
}

function imageOf({ Id, RepoTags, RepoDigests, Size }: ImageAnswer): Inventory['images'][number] {
  const real = (names: string[] | null | undefined): string[] =>
    (names ?? []).filter((name) => !name.startsWith('<none>'));
  return { id: Id, tags: real(RepoTags), digests: real(RepoDigests), size: Size };
}
