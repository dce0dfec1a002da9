/** The volumes of a stopped container, while its files are read or changed. */

import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import type { GuestMount } from '../storage/types.js';
import { volumeDisks } from '../storage/volume-disks.js';
import type { VolumeUse } from '../storage/volume-use.js';
import { EmptyFiles } from './empty-files.js';
import { FilesBelow, type MountedVolume } from './mounted-files.js';
import { followLinks, toBytes } from './paths.js';
import type { RootFiles } from './root-files.js';

export interface VolumeSources {
  use: VolumeUse;
  /** Id of the container: its own use of a volume does not count. */
  besides: string;
  /** A volume's disk. */
  openDisk(volume: string): Promise<RootFiles>;
  /** All files of another container, which is running. */
  openRunning(id: string): Promise<RootFiles>;
}

/** The files of volumes, from their disks or through a running container. Its owner must {@link close} it. */
export class OpenVolumes {
  private readonly opened = new Map<string, Promise<RootFiles>>();
  private readonly releases: (() => void)[] = [];

  constructor(private readonly sources: VolumeSources) {}

  /**
   * A container's volumes, each opened on first use. From now on, no container that would conflict with this is started.
   * @throws conflict for a volume of a container that is just being started
   */
  async mounts(spec: ContainerSpec, write: boolean): Promise<MountedVolume[]> {
    const running = new Map<string, { id: string; path: string }>();
    // Always in the same order, so that two callers cannot deadlock.
    const disks = volumeDisks(spec).sort((a, b) => (a.volume < b.volume ? -1 : 1));
    for (const { volume, readOnly } of disks) {
      const changed = write && !readOnly;
      const user = this.runningUser(volume, changed);
      if (user !== null) running.set(volume, user);
      else this.releases.push(await this.sources.use.hold(volume, { write: changed, besides: this.sources.besides }));
    }
    return (spec.volumes ?? []).map(({ volume, path, readOnly, subpath = '', mount }) => ({
      path: toBytes(path),
      readOnly,
      subpath: toBytes(subpath),
      open: () => (mount === undefined ? this.open(volume, running.get(volume)) : this.openMounted(volume, mount)),
    }));
  }

  /** Closes the files. Changes without `finish` may or may not have been written. */
  async close(): Promise<void> {
    const opened = await Promise.allSettled(this.opened.values());
    this.opened.clear();
    for (const one of opened) if (one.status === 'fulfilled') await one.value.close();
    for (const release of this.releases.splice(0)) release();
  }

  /** A running container that keeps others off the volume's disk, and through which the whole volume can be reached. */
  private runningUser(volume: string, write: boolean): { id: string; path: string } | null {
    const { use, besides } = this.sources;
    const user = use.userOf(volume, { write, besides });
    if (user === undefined || !user.running) return null;
    const mount = (user.spec.volumes ?? []).find(
      (one) => one.volume === volume && one.subpath === undefined && !(write && one.readOnly),
    );
    return mount === undefined ? null : { id: user.spec.id, path: toBytes(mount.path) };
  }

  /** What a guest mounts has no disk. @throws conflict when no running container has it */
  private openMounted(volume: string, { type }: GuestMount): Promise<RootFiles> {
    if (type === 'tmpfs') return Promise.resolve(new EmptyFiles());
    const { use, besides } = this.sources;
    const user = use.mountedIn(volume, besides);
    const whole = user?.spec.volumes?.find((one) => one.volume === volume && one.subpath === undefined);
    if (user === undefined || whole === undefined) throw new PortLayerError('volume.notMounted', { volume });
    return this.open(volume, { id: user.spec.id, path: toBytes(whole.path) });
  }

  private open(volume: string, running: { id: string; path: string } | undefined): Promise<RootFiles> {
    let files = this.opened.get(volume);
    if (files === undefined) {
      files = running === undefined ? this.sources.openDisk(volume) : this.openSeen(running);
      this.opened.set(volume, files);
    }
    return files;
  }

  private async openSeen({ id, path }: { id: string; path: string }): Promise<RootFiles> {
    const files = await this.sources.openRunning(id);
    try {
      return new FilesBelow(files, await followLinks(files, path, 'error'));
    } catch (error) {
      await files.close();
      throw error;
    }
  }
}
