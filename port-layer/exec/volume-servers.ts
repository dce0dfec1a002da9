/** Machines that serve a volume to others, and what machines that no longer share one have to give back. */
import { randomBytes } from 'node:crypto';
import { logger } from '../../src/common/log.js';
import type { Attachment, VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { volumeDisks } from '../storage/volume-disks.js';
import { sharingCard } from '../storage/volume-sharing.js';
import type { VolumeUse } from '../storage/volume-use.js';
import { changeCards } from './cards.js';
import type { Container } from './container.js';
import type { ContainerCache } from './container-cache.js';
import type { ContainerSpec } from './container-spec.js';
import type { Handle } from './handle.js';
import { keptSpec } from './kept-spec.js';
import type { ExecService } from './types.js';
import { ADDRESSES_KEY, addressesValue, SPEC_KEY } from './vm-spec.js';
import { joinVolumeChanges, readVolumeHardware, volumeChanges } from './volume-hardware.js';
import { volumeServerSpec } from './volume-server-spec.js';

const log = logger('exec');

/** The part of the exec component's surroundings that it uses (`ExecContext`, which has this class itself). */
export interface SharingContext {
  readonly client: VimClient;
  readonly config: VchConfig;
  readonly cache: ContainerCache;
  readonly volumeUse: VolumeUse;
}

/** What it needs of the rest of the exec component. */
export interface SharingHands extends Pick<ExecService, 'create' | 'start' | 'remove'> {
  /** See `Pauser.visit`. */
  visit(container: Container): Promise<() => void>;
}

/** A machine that serves a volume, in that run of its container. `leave`: it may be suspended again. */
export interface Serving {
  id: string;
  run: Date;
  leave: () => void;
}

/** See the file's head. */
export class VolumeServers {
  /** @param segmentOf where the cards of a volume's machines belong */
  constructor(
    private readonly context: SharingContext,
    private readonly hands: SharingHands,
    private readonly segmentOf: (volume: string) => Attachment,
  ) {}

  /** @param resting one that is there and does not run */
  async start(volume: string, resting: string | null): Promise<void> {
    log.info({ volume }, 'a volume gets a machine that serves it to the containers that still have it');
    const made = (): ContainerSpec => volumeServerSpec(volume, randomBytes(32).toString('hex'), new Date());
    await this.hands.start(resting ?? (await this.hands.create(made())).spec.id);
  }

  /**
   * Lets the container's machine serve the volume. @param clients gives the MAC addresses of those that run
   * @returns null if it has ended meanwhile: another one will serve
   */
  async serve(volume: string, container: Container, clients: () => string[]): Promise<Serving | null> {
    const disk = volumeDisks(container.spec).find((one) => one.volume === volume);
    // A suspended machine serves nobody.
    const leave = await this.hands.visit(container);
    try {
      const { life } = container;
      if (disk === undefined || life.kind !== 'running' || this.context.volumeUse.isClient(container.spec, volume))
        return nobody(leave);
      const { mac, address, prefixLength } = sharingCard({ volume, as: 'server' });
      await this.plug(container, volume, mac);
      const { channel } = container;
      if (channel === null || container.life.kind !== 'running') return nobody(leave);
      const former = clients();
      await channel.serveVolume({
        disk: { bus: disk.bus, unit: disk.unit },
        card: { mac, address: `${address}/${prefixLength}` },
        clients: former,
      });
      log.info({ volume, container: container.id, clients: former.length }, 'a volume is served to other containers');
      return { id: container.id, run: life.run.startedAt, leave };
    } catch (error) {
      leave();
      if (container.life.kind === 'running') throw error;
      return null;
    }
  }

  /** Gives a running container's machine its card on a volume's segment, unless it has one. */
  private plug(container: Container, volume: string, mac: string): Promise<void> {
    return container.exclusive(async () => {
      const { spec, endpoints } = container;
      if (container.life.kind !== 'running' || spec.sharing?.some((one) => one.volume === volume)) return;
      const after: ContainerSpec = { ...spec, sharing: [...(spec.sharing ?? []), { volume, as: 'server' }] };
      await changeCards(this.context.client, container, (handle) => {
        record(handle, after, endpoints);
        handle.addCard({ ...this.segmentOf(volume), mac });
      });
      container.spec = after;
    });
  }

  /** The opposite. @param serving what {@link serve} has returned, if this endpoint asked for it */
  async unserve(volume: string, container: Container, serving: Serving | null): Promise<void> {
    const disk = volumeDisks(container.spec).find((one) => one.volume === volume);
    const leave = serving?.id === container.id ? serving.leave : await this.hands.visit(container);
    try {
      if (disk !== undefined && container.life.kind === 'running')
        await container.channel?.unserveVolume({ bus: disk.bus, unit: disk.unit });
      await container.exclusive(async () => {
        const { spec, endpoints, life } = container;
        if (life.kind !== 'running' || !spec.sharing?.some((one) => one.volume === volume)) return;
        const { cards } = await readVolumeHardware(this.context.client, container.vm);
        const after = withoutSharing(spec, volume);
        const { mac } = sharingCard({ volume, as: 'server' });
        await changeCards(this.context.client, container, (handle) => {
          record(handle, after, endpoints);
          for (const card of cards) if (card.mac === mac) handle.removeCard(card.key);
        });
        container.spec = after;
      });
    } catch (error) {
      if (container.life.kind === 'running') throw error;
    } finally {
      leave();
    }
  }

  /** Makes the machine of a container that does not run as if it had never shared the volume. */
  restore(volume: string, container: Container): Promise<void> {
    return container.exclusive(async () => {
      const { spec, machine } = container;
      if (container.running || container.starting || container.leaving || machine.on) return;
      if (!spec.sharing?.some((one) => one.volume === volume)) return;
      const { client, config } = this.context;
      const hardware = await readVolumeHardware(client, container.vm);
      const after = withoutSharing(spec, volume);
      const changes = volumeChanges(config, { before: spec, spec: after, hardware }, (one) => this.segmentOf(one));
      await changeCards(client, container, (handle) => {
        handle.key(SPEC_KEY, keptSpec(after));
        joinVolumeChanges(handle, changes);
      });
      container.spec = after;
    });
  }
}

function nobody(leave: () => void): null {
  leave();
  return null;
}

const withoutSharing = ({ sharing, ...spec }: ContainerSpec, volume: string): ContainerSpec => {
  const others = (sharing ?? []).filter((one) => one.volume !== volume);
  return others.length === 0 ? spec : { ...spec, sharing: others };
};

function record(handle: Handle, spec: ContainerSpec, endpoints: Container['endpoints']): void {
  handle.key(SPEC_KEY, keptSpec(spec)).key(ADDRESSES_KEY, addressesValue(endpoints, spec.sharing));
}
