/** Volumes as disks of a container's VM: where their files are, and where each disk is attached. */
import { sha256 } from '../../src/common/ids.js';
import { datastorePath } from '../../src/vim25/index.js';
import { MAX_BUSES, MAX_UNITS } from '../../tether/program/steps.js';
import type { VchConfig } from '../config.js';
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
  /** Number of the SCSI controller, and its unit. */
  bus: number;
  unit: number;
  /** No mount of it is writable. */
  readOnly: boolean;
}

/** The virtual container host's directory, relative to its datastore. */
export function storeRoot({ imageStore, id }: Pick<VchConfig, 'imageStore' | 'id'>): string {
  return [imageStore.path, 'VIC', id].filter((part) => part !== '').join('/');
}

/** Name of a volume's directory and of its disk: turns any volume name into one that every datastore accepts. */
export function volumeId(name: string): string {
  return sha256(`volume ${name}`);
}

/** Path of a volume's disk, relative to the datastore. */
export function volumeDiskPath(config: Pick<VchConfig, 'imageStore' | 'id'>, name: string): string {
  const id = volumeId(name);
  return `${storeRoot(config)}/volumes/${id}/${id}.vmdk`;
}

/** A volume's disk in vSphere's notation: `[datastore] path`. */
export function volumeDiskName(config: Pick<VchConfig, 'imageStore' | 'id'>, name: string): string {
  return datastorePath(config.imageStore.datastore, volumeDiskPath(config, name));
}

/** The disks for a container's volumes, each once, in the order of the mounts. @throws invalid if there are too many */
export function volumeDisks({ volumes = [] }: Pick<ContainerSpec, 'volumes'>): VolumeDisk[] {
  const disks = new Map<string, VolumeDisk>();
  let place = 0;
  for (const { volume, readOnly } of volumes) {
    const known = disks.get(volume);
    if (known === undefined) {
      place += (place + 1) % MAX_UNITS === CONTROLLER_UNIT ? 2 : 1;
      disks.set(volume, { volume, bus: Math.floor(place / MAX_UNITS), unit: place % MAX_UNITS, readOnly });
    } else known.readOnly &&= readOnly;
  }
  if (disks.size > MAX_VOLUMES) throw new PortLayerError('volume.tooMany', { most: MAX_VOLUMES, wanted: disks.size });
  return [...disks.values()];
}
