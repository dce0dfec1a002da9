/** Volumes as disks of a container's VM: where their files are, and where each disk is attached. */
import { sha256 } from '../../src/common/ids.js';
import { datastorePath } from '../../src/vim25/index.js';
import { MAX_BUSES, MAX_UNITS } from '../../tether/program/steps.js';
import type { VchConfig, VolumeStoreConfig } from '../config.js';
import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from '../exec/container-spec.js';

/** The unit number that the controller itself occupies. */
const CONTROLLER_UNIT = 7;
/** The most volumes a container can have: its own disk is unit 0 of the first controller. */
export const MAX_VOLUMES = MAX_BUSES * (MAX_UNITS - 1) - 1;

/** A volume's disk in a container's VM. */
export interface VolumeDisk {
  /** Name of the volume. */
  volume: string;
  /** Label of its store; undefined: {@link DEFAULT_STORE}. */
  store: string | undefined;
  /** Number of the SCSI controller, and its unit. */
  bus: number;
  unit: number;
  /** No mount of it is writable. */
  readOnly: boolean;
}

/** The label of the store that volumes are in which do not ask for one. */
export const DEFAULT_STORE = 'default';

/** What tells where volumes are. */
export type StorePlaces = Pick<VchConfig, 'imageStore' | 'id' | 'volumeStores'>;

/** The virtual container host's directory in a store, relative to the datastore. */
export function storeRoot({ imageStore, id }: Pick<StorePlaces, 'imageStore' | 'id'>): string {
  return [imageStore.path, 'VIC', id].filter((part) => part !== '').join('/');
}

/** All volume stores. {@link DEFAULT_STORE}, which is always there, is the first. */
export function volumeStores({ imageStore, volumeStores: given = [] }: StorePlaces): VolumeStoreConfig[] {
  const own = given.find(({ label }) => label === DEFAULT_STORE) ?? { ...imageStore, label: DEFAULT_STORE };
  return [own, ...given.filter((one) => one !== own)];
}

/** The labels of all volume stores, {@link DEFAULT_STORE} first. */
export function storeLabels(config: StorePlaces & Pick<VchConfig, 'nfsStores'>): string[] {
  return [...new Set([...volumeStores(config), ...(config.nfsStores ?? [])].map(({ label }) => label))];
}

/** @throws notFound */
function volumeStore(config: StorePlaces, label: string): VolumeStoreConfig {
  const found = volumeStores(config).find((one) => one.label === label);
  if (found === undefined) throw new PortLayerError('volume.noStore', { store: label });
  return found;
}

/** Name of a volume's directory and of its disk: turns any volume name into one that every datastore accepts. */
export function volumeId(name: string): string {
  return sha256(`volume ${name}`);
}

/** Path of a volume's disk, relative to the datastore of its store. @throws notFound for a store that is not there */
export function volumeDiskPath(config: StorePlaces, name: string, store = DEFAULT_STORE): string {
  const id = volumeId(name);
  return `${storeRoot({ imageStore: volumeStore(config, store), id: config.id })}/volumes/${id}/${id}.vmdk`;
}

/** A volume's disk in vSphere's notation: `[datastore] path`. @throws notFound for a store that is not there */
export function volumeDiskName(config: StorePlaces, name: string, store = DEFAULT_STORE): string {
  return datastorePath(volumeStore(config, store).datastore, volumeDiskPath(config, name, store));
}

/** The disks for a container's volumes, each once, in the order of the mounts. @throws invalid if there are too many */
export function volumeDisks({ volumes = [] }: Pick<ContainerSpec, 'volumes'>): VolumeDisk[] {
  const disks = new Map<string, VolumeDisk>();
  let place = 0;
  for (const { volume, readOnly, store, mount } of volumes) {
    if (mount !== undefined) continue;
    const known = disks.get(volume);
    if (known === undefined) {
      place += (place + 1) % MAX_UNITS === CONTROLLER_UNIT ? 2 : 1;
      disks.set(volume, { volume, store, bus: Math.floor(place / MAX_UNITS), unit: place % MAX_UNITS, readOnly });
    } else known.readOnly &&= readOnly;
  }
  if (disks.size > MAX_VOLUMES) throw new PortLayerError('volume.tooMany', { most: MAX_VOLUMES, wanted: disks.size });
  return [...disks.values()];
}

/** Those of them that its machine has: it is a client of the others. */
export function attachedDisks(spec: Pick<ContainerSpec, 'volumes' | 'sharing'>): VolumeDisk[] {
  const disks = volumeDisks(spec);
  const { sharing } = spec;
  if (sharing === undefined) return disks;
  const reached = new Set(sharing.filter((one) => one.as === 'client').map(({ volume }) => volume));
  return disks.filter(({ volume }) => !reached.has(volume));
}
