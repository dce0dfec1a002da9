/** A container's mount points: as the port layer mounts them, and as `inspect` and `ps` show them. */
import { posix } from 'node:path';
import type { ContainerInfo, ContainerSpec, VolumeMount } from '../../../port-layer/index.js';
import { tmpfsMounts } from '../containers/config/tmpfs.js';
import { annotationsOf, type MountPoint, recordOf } from '../containers/container-record.js';

/** Gives a container that is to be created its mounts. @throws invalid */
export function withMounts(spec: ContainerSpec, mounts: MountPoint[]): ContainerSpec {
  if (mounts.length === 0) return spec;
  const volumes = mounts
    .filter(({ type }) => type === 'volume')
    .map(
      ({ name, destination, rw, anonymous, subpath, fill }): VolumeMount => ({
        volume: name,
        // Volumes of an image may be relative paths; Docker takes them as relative to the root.
        path: posix.resolve('/', destination),
        readOnly: !rw,
        ...(subpath === undefined ? {} : { subpath }),
        ...(anonymous ? { disposable: true } : {}),
        ...(fill === true ? { fill } : {}),
      }),
    );
  const memory = mounts.filter(({ type }) => type === 'tmpfs');
  const tmpfs = tmpfsMounts(Object.fromEntries(memory.map((one) => [one.destination, one.tmpfs ?? ''])));
  return {
    ...spec,
    tmpfs: [...(spec.tmpfs ?? []).filter(({ path }) => !mounts.some((one) => one.destination === path)), ...tmpfs],
    ...(volumes.length === 0 ? {} : { volumes }),
    annotations: { ...spec.annotations, ...annotationsOf({ mounts }) },
  };
}

/** `Mounts` of `inspect`. @param sourceOf where a volume lies */
export function mountsView(container: ContainerInfo, sourceOf: (name: string) => string): object[] {
  return recordOf(container).mounts.map((mount) =>
    mountView(mount, mount.type === 'volume' ? sourceOf(mount.name) : ''),
  );
}

/** `Mounts` of a row of `ps`. */
export function listMountsView(container: ContainerInfo, sourceOf: (name: string) => string): object[] {
  return recordOf(container).mounts.map((mount) =>
    mountView(mount, mount.type === 'volume' && mount.unsourced !== true ? sourceOf(mount.name) : ''),
  );
}

function mountView({ type, name, destination, driver, mode, rw }: MountPoint, source: string): object {
  return {
    Type: type,
    ...(type === 'volume' ? { Name: name } : {}),
    Source: source,
    Destination: destination,
    ...(type === 'volume' ? { Driver: driver } : {}),
    Mode: mode,
    RW: rw,
    Propagation: '',
  };
}
