/**
 * Who is using a volume's disk. One machine may mount a filesystem to write to it, or several may only read it: running VMs, and this
 * endpoint when it reads or changes a volume's files itself. Others that want it meanwhile are clients of the machine that writes
 * (`volume-sharing.ts`).
 */

import { PortLayerError } from '../errors.js';
import type { ContainerSpec } from '../exec/container-spec.js';
import type { ContainerInfo } from '../exec/types.js';
import { volumeDisks } from './volume-disks.js';
import { accessTo, type OtherUser } from './volume-sharing.js';

/** What has to be known about a container. */
export interface VolumeUser {
  readonly spec: ContainerSpec;
  readonly running: boolean;
  readonly poweredOn: boolean;
  readonly state: ContainerInfo['state'];
  /** Its process has ended, or it is being removed. */
  readonly ending?: boolean;
  readonly leaving?: boolean;
}

/** An endpoint's own use of a volume. */
interface Hold {
  write: boolean;
  over: Promise<void>;
}

/** How a container that is being started gets its volumes: these over the network, the others' disks are attached. */
export type Admission = ReadonlySet<string>;

interface Claim extends OtherUser {
  user: VolumeUser;
}

/** Volumes in memory, which is the memory of one machine. What a server has is for everybody. */
const inMemory = ({ volumes = [] }: ContainerSpec): string[] =>
  volumes.filter(({ mount }) => mount?.type === 'tmpfs').map(({ volume }) => volume);

/** Uses of all volumes. */
export class VolumeUse {
  private readonly holds = new Map<string, Set<Hold>>();
  /** By container, while it is being started. One that is not there yet, and does not run, keeps nobody from anything. */
  private readonly admitted = new Map<string, Admission>();

  /** @param shares whether this host can serve a volume to several machines */
  constructor(
    private readonly containers: () => VolumeUser[],
    readonly shares = false,
  ) {}

  /** Resolves when this endpoint holds none of a container's volumes. The container must be admitted, so that nothing new takes hold. */
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
    return volumeDisks(spec)
      .filter(({ volume }) => !this.isClient(spec, volume))
      .flatMap(({ volume, readOnly }) =>
        [...(this.holds.get(volume) ?? [])].filter(({ write }) => write || !readOnly).map(({ over }) => over),
      );
  }

  /** Whether a container has, or is about to have, a volume without its disk. */
  isClient({ id, sharing }: ContainerSpec, volume: string): boolean {
    const admission = this.admitted.get(id);
    if (admission !== undefined) return admission.has(volume);
    return sharing?.some((one) => one.as === 'client' && one.volume === volume) === true;
  }

  /** Whether a container's machine is on, or about to be. */
  private isUp(one: VolumeUser): boolean {
    return one.running || one.poweredOn || (one.state === 'starting' && this.admitted.has(one.spec.id));
  }

  /** The others that have a volume now. */
  users(volume: string, besides?: string): Claim[] {
    return this.containers().flatMap((user) => {
      const { spec } = user;
      if (spec.id === besides || spec.volumes === undefined || !this.isUp(user)) return [];
      const disk = volumeDisks(spec).find((one) => one.volume === volume);
      if (disk === undefined) return [];
      const leaving = user.ending === true || user.leaving === true || (!user.running && user.state !== 'starting');
      const stands = leaving ? 'leaving' : user.running ? 'running' : 'coming';
      return [{ user, disk: !this.isClient(spec, volume), readOnly: disk.readOnly, stands } as const];
    });
  }

  /**
   * Lets a container that is being started have its volumes, all or none; until it is {@link dismiss}ed or runs, others see it as their user.
   * @returns the user that has to come or go first, or null when it is admitted
   * @throws conflict, naming volume and container, when one keeps it from being started
   */
  admit(spec: ContainerSpec): VolumeUser | null {
    const clients = new Set<string>();
    for (const volume of inMemory(spec)) {
      const user = this.containers().find(
        (one) => one.spec.id !== spec.id && this.isUp(one) && inMemory(one.spec).includes(volume),
      );
      if (user !== undefined) throw inUse('volume.memoryInUse', volume, user);
    }
    for (const { volume, readOnly } of spec.volumes === undefined ? [] : volumeDisks(spec)) {
      // A machine that is to serve it is the one that its clients wait for.
      const users = this.users(volume, spec.id).filter(({ disk }) => disk || spec.servesVolume === undefined);
      const access = accessTo({ readOnly }, users, this.shares);
      if (access.kind === 'wait') return access.user.user;
      if (access.kind === 'client') clients.add(volume);
      if (access.kind === 'refused') {
        const { disk, readOnly: reads, user } = access.user;
        throw inUse(
          disk && reads && this.shares ? 'volume.heldByReader' : 'volume.diskInUse',
          volume,
          this.named(volume, user),
        );
      }
    }
    this.admitted.set(spec.id, clients);
    return null;
  }

  /** The volumes that a container which is being started gets without their disks. */
  clientOf(id: string): Admission {
    return this.admitted.get(id) ?? new Set();
  }

  /** Its start is over: what its machine has is what its spec says. */
  dismiss(id: string): void {
    this.admitted.delete(id);
  }

  /** A container whose machine has the disk and keeps others off it. @param write whether the other one wants to write */
  userOf(volume: string, { write, besides }: { write: boolean; besides?: string }): VolumeUser | undefined {
    return this.users(volume, besides).find(({ disk, readOnly }) => disk && (write || !readOnly))?.user;
  }

  /** One that the user knows: instead of a machine that serves a volume, a client of it. */
  private named(volume: string, user: VolumeUser): VolumeUser {
    if (user.spec.servesVolume === undefined) return user;
    return this.users(volume).find((one) => one.user.spec.servesVolume === undefined)?.user ?? user;
  }

  /**
   * Reserves a volume's disk for this endpoint: containers started meanwhile have to wait. Waits for earlier holds itself.
   * @throws conflict while a running container writes to it or, with `write`, has it at all. @returns a function that lets go of it
   */
  async hold(volume: string, { write, besides }: { write: boolean; besides?: string }): Promise<() => void> {
    const held = (): Hold[] => [...(this.holds.get(volume) ?? [])].filter((one) => write || one.write);
    for (let others = held(); others.length > 0; others = held()) await Promise.all(others.map(({ over }) => over));
    const user = this.userOf(volume, { write, ...(besides === undefined ? {} : { besides }) });
    if (user !== undefined) throw inUse('volume.held', volume, this.named(volume, user));
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

function inUse(
  code: 'volume.diskInUse' | 'volume.memoryInUse' | 'volume.heldByReader' | 'volume.held',
  volume: string,
  { spec }: VolumeUser,
): Error {
  return new PortLayerError(code, { volume, container: spec.id, name: spec.name });
}
