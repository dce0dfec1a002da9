/**
 * Who uses a volume's disk now. A filesystem can be mounted by one machine that writes to it, or by several that only read: VMs that
 * run, and this endpoint where it reads or changes files of a volume itself.
 */

import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import type { ContainerInfo } from '../exec/types.js';
import { volumeDisks } from './volume-disks.js';

/** What has to be known of a container. */
export interface VolumeUser {
  readonly spec: ContainerSpec;
  readonly running: boolean;
  readonly poweredOn: boolean;
  readonly state: ContainerInfo['state'];
}

/** An endpoint's own use of a volume. */
interface Hold {
  write: boolean;
  over: Promise<void>;
}

/** Uses of all volumes. */
export class VolumeUse {
  private readonly holds = new Map<string, Set<Hold>>();

  constructor(private readonly containers: () => VolumeUser[]) {}

  /** Resolves when nothing here holds the volumes that a container is started with. It must be starting: then nothing new does. */
  async free(spec: ContainerSpec): Promise<void> {
    for (let busy = this.busy(spec); busy.length > 0; busy = this.busy(spec)) await Promise.all(busy);
  }

  private busy(spec: ContainerSpec): Promise<void>[] {
    return volumeDisks(spec).flatMap(({ volume, readOnly }) =>
      [...(this.holds.get(volume) ?? [])].filter(({ write }) => write || !readOnly).map(({ over }) => over),
    );
  }

  /** @throws conflict, naming volume and container, when a container cannot be started beside those that run */
  check(spec: ContainerSpec): void {
    for (const { volume, readOnly } of volumeDisks(spec)) {
      const user = this.userOf(volume, { write: !readOnly, besides: spec.id });
      if (user !== undefined) throw inUse(volume, user);
    }
  }

  /** A container whose VM is on and that keeps others from the volume. @param write whether the other wants to write */
  userOf(volume: string, { write, besides }: { write: boolean; besides?: string }): VolumeUser | undefined {
    return this.containers().find(
      (one) =>
        one.spec.id !== besides &&
        (one.running || one.poweredOn || one.state === 'starting') &&
        volumeDisks(one.spec).some((disk) => disk.volume === volume && (write || !disk.readOnly)),
    );
  }

  /**
   * Keeps a volume's disk for this endpoint: containers that are started meanwhile wait. Waits for earlier holds itself.
   * @throws conflict while a container that runs has it, to write to it or, with `write`, at all. @returns lets go
   */
  async hold(volume: string, { write, besides }: { write: boolean; besides?: string }): Promise<() => void> {
    const held = (): Hold[] => [...(this.holds.get(volume) ?? [])].filter((one) => write || one.write);
    for (let others = held(); others.length > 0; others = held()) await Promise.all(others.map(({ over }) => over));
    const user = this.userOf(volume, { write, ...(besides === undefined ? {} : { besides }) });
    if (user !== undefined) throw inUse(volume, user);
    let letGo!: () => void;
    const over = new Promise<void>((resolve) => {
      letGo = resolve;
    });
    const hold: Hold = { write, over };
    const holds = this.holds.get(volume) ?? new Set();
    this.holds.set(volume, holds.add(hold));
    return () => {
      holds.delete(hold);
      if (holds.size === 0 && this.holds.get(volume) === holds) this.holds.delete(volume);
      letGo();
    };
  }
}

function inUse(volume: string, { spec }: VolumeUser): Error {
  return new PortLayerError('volume.diskInUse', { volume, container: spec.id, name: spec.name });
}
