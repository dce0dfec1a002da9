/**
 * Who is using a volume's disk. One machine may mount a filesystem to write to it, or several may only read it: running VMs, and this
 * endpoint when it reads or changes a volume's files itself.
 */

import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import type { ContainerInfo } from '../exec/types.js';
import { volumeDisks } from './volume-disks.js';

/** What has to be known about a container. */
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

/**
 * What one running container keeps from others: volumes on disks, and those in memory, which is the memory of one machine. What a server has
 * is for everybody.
 */
function claims(spec: ContainerSpec): { volume: string; readOnly: boolean }[] {
  const inMemory = (spec.volumes ?? []).filter(({ mount }) => mount?.type === 'tmpfs');
  return [...volumeDisks(spec), ...inMemory.map(({ volume }) => ({ volume, readOnly: false }))];
}

/** Uses of all volumes. */
export class VolumeUse {
  private readonly holds = new Map<string, Set<Hold>>();

  constructor(private readonly containers: () => VolumeUser[]) {}

  /** Resolves when this endpoint holds none of a container's volumes. The container must be `starting`, so that nothing new takes hold. */
  async free(spec: ContainerSpec): Promise<void> {
    for (let busy = this.busy(spec); busy.length > 0; busy = this.busy(spec)) await Promise.all(busy);
  }

  /** These volumes in groups: those that one running container has belong together. */
  together(volumes: string[]): string[][] {
    let groups = [...new Set(volumes)].map((one) => [one]);
    for (const { spec, running } of this.containers()) {
      if (!running) continue;
      const own = new Set(volumeDisks(spec).map(({ volume }) => volume));
      const [of, others] = [groups.filter((group) => group.some((one) => own.has(one))), groups];
      if (of.length > 1) groups = [of.flat(), ...others.filter((group) => !of.includes(group))];
    }
    return groups;
  }

  /** A running container that has the volume mounted, as it is seen there. */
  mountedIn(volume: string, besides: string): VolumeUser | undefined {
    return this.containers().find(
      (one) =>
        one.spec.id !== besides && one.running && (one.spec.volumes ?? []).some((mount) => mount.volume === volume),
    );
  }

  private busy(spec: ContainerSpec): Promise<void>[] {
    return volumeDisks(spec).flatMap(({ volume, readOnly }) =>
      [...(this.holds.get(volume) ?? [])].filter(({ write }) => write || !readOnly).map(({ over }) => over),
    );
  }

  /** @throws conflict, naming volume and container, when a running container keeps this one from being started */
  check(spec: ContainerSpec): void {
    for (const { volume, readOnly } of claims(spec)) {
      const user = this.userOf(volume, { write: !readOnly, besides: spec.id });
      if (user !== undefined) throw inUse(volume, user);
    }
  }

  /** A container whose VM is on and that keeps others off the volume. @param write whether the other one wants to write */
  userOf(volume: string, { write, besides }: { write: boolean; besides?: string }): VolumeUser | undefined {
    return this.containers().find(
      (one) =>
        one.spec.id !== besides &&
        (one.running || one.poweredOn || one.state === 'starting') &&
        claims(one.spec).some((disk) => disk.volume === volume && (write || !disk.readOnly)),
    );
  }

  /**
   * Reserves a volume's disk for this endpoint: containers started meanwhile have to wait. Waits for earlier holds itself.
   * @throws conflict while a running container writes to it or, with `write`, has it at all. @returns a function that lets go of it
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
  const inMemory = spec.volumes?.find((one) => one.volume === volume)?.mount !== undefined;
  const subject = { volume, container: spec.id, name: spec.name };
  return new PortLayerError(inMemory ? 'volume.memoryInUse' : 'volume.diskInUse', subject);
}
