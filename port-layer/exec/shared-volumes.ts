/**
 * Volumes that several running containers have (`storage/volume-sharing.ts` says how). Whatever changes, the next step is chosen from what is
 * there: containers and their machines' records, which also tell a restarted endpoint.
 */
import { EventEmitter } from 'node:events';
import { isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { Attachment } from '../../src/vim25/index.js';
import { PortLayerError } from '../errors.js';
import type { Segments } from '../network/volume-segments.js';
import { volumeDisks } from '../storage/volume-disks.js';
import {
  freeClientNumber,
  nextSharingStep,
  type SharingStep,
  type SharingView,
  sharingCard,
  type VolumeSharing,
} from '../storage/volume-sharing.js';
import type { VolumeUse, VolumeUser } from '../storage/volume-use.js';
import type { Container } from './container.js';
import { hasRun } from './container-life.js';
import type { ContainerSpec } from './container-spec.js';
import { type Serving, type SharingContext, type SharingHands, VolumeServers } from './volume-servers.js';

const log = logger('exec');
/** A step that has failed is tried again after this; then after twice that, and so on. */
const RETRY_MS = 250;
const MOST_RETRY_MS = 2000;
/** How long a container waits for one that has its volume to come or go. */
const WAIT_MS = 60_000;

/** One volume that is shared, or was and is not yet as if it had never been. */
interface Shared {
  volume: string;
  segment: boolean;
  serving: Serving | null;
  /** Addresses of clients that run, by container. */
  clients: Map<string, string>;
  working: boolean;
  again: boolean;
  /** Containers that a step is at work on. */
  busy: Set<string>;
  /** Why the last step failed; null if it did not. */
  failure: Error | null;
  failures: number;
  timer: NodeJS.Timeout | null;
}

/** See the file's head. */
export class SharedVolumes {
  private readonly servers: VolumeServers;
  private readonly shared = new Map<string, Shared>();
  /** Numbers of clients that are being started. */
  private readonly numbers = new Map<string, Map<string, number>>();
  /** Something about a volume has changed. */
  private readonly news = new EventEmitter<{ change: [volume: string] }>().setMaxListeners(0);
  private closed = false;

  /** @param segments null: this host cannot serve a volume to several machines */
  constructor(
    private readonly context: SharingContext,
    private readonly segments: Segments | null,
    private readonly hands: SharingHands,
  ) {
    this.servers = new VolumeServers(context, hands, (volume) => this.segmentOf(volume));
  }

  /** Finds what earlier endpoints have left. */
  async open(volumes: readonly string[]): Promise<void> {
    const { segments } = this;
    if (segments === null) return;
    const found = this.context.cache
      .all()
      .flatMap(({ spec }) => [...(spec.sharing ?? []).map(({ volume }) => volume), spec.servesVolume ?? []].flat());
    const names = new Set(await segments.list());
    for (const volume of new Set([...volumes, ...found])) {
      const there = names.delete(segments.attachmentOf(volume).portGroup);
      if (!there && !found.includes(volume)) continue;
      this.of(volume).segment ||= there;
      this.schedule(volume);
    }
    for (const name of names)
      await segments
        .remove(name)
        .catch((error: unknown) => log.warn({ name, err: messageOf(error) }, 'the segment of a removed volume stays'));
  }

  close(): void {
    this.closed = true;
    for (const { timer } of this.shared.values()) clearTimeout(timer ?? undefined);
  }

  // --- starting a container ------------------------------------------------------------------------------------------

  /**
   * Lets a container that is being started have its volumes: from now on nobody else takes them. Waits for those that come or go.
   * @throws conflict when one keeps it from being started, or why the start was given up
   */
  async admit(container: Container): Promise<void> {
    const { volumeUse } = this.context;
    for (let user = volumeUse.admit(container.spec); user !== null; user = volumeUse.admit(container.spec))
      await this.waitFor(container, user);
    this.choose(container, volumeUse);
  }

  /** Its start is over. */
  dismiss({ id, spec }: Container): void {
    this.context.volumeUse.dismiss(id);
    for (const numbers of this.numbers.values()) numbers.delete(id);
    if (this.shared.size > 0) for (const { volume } of spec.volumes ?? []) this.schedule(volume);
  }

  /** What the machine of a container that is admitted is to have for the volumes that it shares. */
  wanted({ id }: Container): VolumeSharing[] {
    return [...this.context.volumeUse.clientOf(id)].map((volume) => {
      const number = this.numbers.get(volume)?.get(id);
      if (number === undefined) throw new PortLayerError('volume.tooManyClients', { volume });
      return { volume, as: 'client', number };
    });
  }

  /** Where the cards of a volume's machines belong. */
  segmentOf(volume: string): Attachment {
    // Without segments nothing is shared, and no card is asked for.
    return this.segments?.attachmentOf(volume) ?? { portGroup: '' };
  }

  /** Resolves when the segments that a container's machine has cards on are there. */
  async connected({ id }: Container): Promise<void> {
    for (const volume of this.context.volumeUse.clientOf(id)) await this.until(volume, ({ segment }) => segment);
  }

  /** Resolves when the volumes that an admitted container is a client of can be mounted, or nobody waits. @throws unavailable */
  async served({ id }: Container, signal: AbortSignal): Promise<void> {
    for (const volume of this.context.volumeUse.clientOf(id))
      await this.until(volume, (one) => this.isServed(one), signal);
  }

  private choose({ id, spec }: Container, volumeUse: VolumeUse): void {
    for (const volume of volumeUse.clientOf(id)) {
      const numbers = this.numbers.get(volume) ?? new Map<string, number>();
      this.numbers.set(volume, numbers);
      const former = numberIn(spec, volume);
      const others = this.context.cache
        .all()
        .flatMap((one) => (one.id === id ? [] : (numberIn(one.spec, volume) ?? [])));
      const number = former ?? freeClientNumber(new Set([...others, ...numbers.values()]));
      if (number !== null) numbers.set(id, number);
      this.of(volume);
      this.schedule(volume);
    }
  }

  /** @throws conflict when the user does not come or go, or why the start was given up */
  private async waitFor(container: Container, user: VolumeUser): Promise<void> {
    const other = this.context.cache.get(user.spec.id);
    if (other === undefined) return;
    const asked = stamp(other);
    const over = new AbortController();
    const aborted = (): Error | null => (container.life.kind === 'preparing' ? container.life.aborted : null);
    const options = { ms: WAIT_MS, signal: over.signal };
    const changed = await Promise.race([
      other.until(() => stamp(other) !== asked, options),
      container.until(() => aborted() !== null, options),
    ]).finally(() => over.abort());
    const reason = aborted();
    if (reason !== null) throw reason;
    if (changed) return;
    const volume = user.spec.volumes?.find((one) => container.spec.volumes?.some((own) => own.volume === one.volume));
    throw new PortLayerError('volume.held', {
      volume: volume?.volume ?? '',
      container: user.spec.id,
      name: user.spec.name,
    });
  }

  /** @throws unavailable with the reason when it cannot be done, or in time */
  private async until(volume: string, holds: (shared: Shared) => boolean, signal?: AbortSignal): Promise<void> {
    const shared = this.of(volume);
    const { failure } = shared;
    if (holds(shared)) return;
    const refused = (reason: string): Error => new PortLayerError('volume.notServed', { volume, reason });
    await new Promise<void>((resolve, reject) => {
      const end = (error?: Error): void => {
        clearTimeout(timer);
        this.news.off('change', look);
        signal?.removeEventListener('abort', stop);
        if (error === undefined) resolve();
        else reject(error);
      };
      const stop = (): void => end();
      const look = (changed: string): void => {
        if (changed !== volume) return;
        if (holds(shared)) end();
        else if (shared.failure !== null && shared.failure !== failure) end(refused(messageOf(shared.failure)));
      };
      const timer = setTimeout(() => end(refused('it takes too long')), WAIT_MS);
      this.news.on('change', look);
      signal?.addEventListener('abort', stop, { once: true });
      this.schedule(volume);
    });
  }

  // --- keeping it going ----------------------------------------------------------------------------------------------

  /** To be told whatever happens to a container with volumes. */
  changed({ spec }: Container): void {
    if (this.shared.size === 0) return;
    for (const { volume } of spec.volumes ?? []) if (this.shared.has(volume)) this.schedule(volume);
  }

  /** Resolves when a volume that no container shares any more is as if it had never been shared; null: it is. */
  settled(volume: string): Promise<void> | null {
    if (!this.shared.has(volume)) return null;
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer);
        this.news.off('change', look);
        resolve();
      };
      const look = (): void => {
        const shared = this.shared.get(volume);
        if (shared === undefined || this.view(shared).clients > 0) end();
      };
      const timer = setTimeout(end, WAIT_MS);
      this.news.on('change', look);
      this.schedule(volume);
    });
  }

  private of(volume: string): Shared {
    let shared = this.shared.get(volume);
    if (shared === undefined) {
      shared = {
        ...{ volume, segment: false, serving: null, clients: new Map(), working: false, again: false },
        ...{ busy: new Set(), failure: null, failures: 0, timer: null },
      };
      this.shared.set(volume, shared);
    }
    return shared;
  }

  private schedule(volume: string): void {
    const shared = this.shared.get(volume);
    if (shared === undefined || this.closed) return;
    shared.again = true;
    if (shared.working || shared.timer !== null) return;
    shared.working = true;
    void this.work(shared);
  }

  private async work(shared: Shared): Promise<void> {
    while (shared.again && !this.closed) {
      shared.again = false;
      this.forgetEnded(shared);
      try {
        for (let step = this.next(shared); step !== null; step = this.next(shared)) {
          await this.carryOut(shared, step);
          this.news.emit('change', shared.volume);
        }
        if (shared.busy.size === 0) {
          shared.failure = null;
          shared.failures = 0;
        }
      } catch (error) {
        this.failed(shared, error);
        break;
      }
    }
    shared.working = false;
    if (this.isOver(shared)) this.shared.delete(shared.volume);
    this.news.emit('change', shared.volume);
  }

  private failed(shared: Shared, error: unknown): void {
    if (this.closed) return;
    const { volume } = shared;
    shared.failure = error instanceof Error ? error : new Error(messageOf(error));
    // A machine that is being destroyed has its card for a little longer.
    log[isKind(error, 'conflict') ? 'debug' : 'warn'](
      { volume, err: messageOf(error) },
      'sharing a volume failed; it is tried again',
    );
    const ms = Math.min(MOST_RETRY_MS, RETRY_MS * 2 ** Math.min(10, shared.failures++));
    clearTimeout(shared.timer ?? undefined);
    shared.timer = setTimeout(() => {
      shared.timer = null;
      this.schedule(volume);
    }, ms).unref();
    this.news.emit('change', volume);
  }

  private isOver(shared: Shared): boolean {
    if (shared.segment || shared.busy.size > 0 || shared.timer !== null || shared.again) return false;
    const { clients, leftovers, restingServer, holder } = this.view(shared);
    return clients + leftovers.length === 0 && restingServer === null && holder?.of !== 'server' && !holder?.card;
  }

  private isServed(shared: Shared): boolean {
    const { holder } = this.view(shared);
    return holder?.stands === 'running' && holder.serves;
  }

  /** The next step that nothing is at work on already. */
  private next(shared: Shared): SharingStep | null {
    const step = nextSharingStep(this.view(shared));
    if (step === null) return null;
    const at = step.do === 'restore' ? step.container : step.do === 'serve' || step.do === 'unserve' ? step.holder : '';
    return shared.busy.has(at) ? null : step;
  }

  private view(shared: Shared): SharingView {
    const { volume, segment } = shared;
    const { cache, volumeUse } = this.context;
    this.lookAtServer(shared);
    const users = volumeUse.users(volume);
    const up = new Set(users.map(({ user }) => user.spec.id));
    const resting = cache
      .all()
      .filter((one) => !up.has(one.id) && !one.starting && !one.leaving && one.spec.volumes !== undefined);
    const found = users.find(({ disk, readOnly }) => disk && !readOnly);
    const has = ({ spec }: { spec: ContainerSpec }): boolean =>
      spec.sharing?.some((one) => one.volume === volume) === true;
    return {
      holder:
        found === undefined
          ? null
          : {
              id: found.user.spec.id,
              of: found.user.spec.servesVolume === volume ? 'server' : 'container',
              stands: found.stands,
              card: has(found.user),
              serves: shared.serving?.id === found.user.spec.id,
            },
      restingServer: resting.find(({ spec }) => spec.servesVolume === volume)?.id ?? null,
      clients: users.filter(({ disk }) => !disk).length,
      leftovers: resting.filter((one) => one.spec.servesVolume === undefined && has(one)).map(({ id }) => id),
      segment,
    };
  }

  /** Its container may have ended, and another run begun. */
  private lookAtServer(shared: Shared): void {
    const { serving } = shared;
    if (serving === null) return;
    const life = this.context.cache.get(serving.id)?.life;
    if (life !== undefined && hasRun(life) && life.run.startedAt === serving.run) return;
    serving.leave();
    shared.serving = null;
  }

  // --- steps ---------------------------------------------------------------------------------------------------------

  private async carryOut(shared: Shared, step: SharingStep): Promise<void> {
    const { volume } = shared;
    const { segments, hands } = this;
    if (segments === null) return;
    switch (step.do) {
      case 'makeSegment':
        await segments.add(volume);
        shared.segment = true;
        return;
      case 'removeSegment':
        await segments.remove(segments.attachmentOf(volume).portGroup);
        shared.segment = false;
        return;
      case 'startServer':
        await this.servers.start(volume, step.resting);
        return;
      case 'removeServer':
        await hands.remove(step.server, { force: true }).catch(unlessGone);
        return;
      case 'serve':
        this.aside(shared, step.holder, async (container) => {
          const clients = (): string[] => this.runningClients(volume).map(({ mac }) => mac);
          shared.serving = await this.servers.serve(volume, container, clients);
        });
        return;
      case 'unserve':
        this.aside(shared, step.holder, (container) => {
          const { serving } = shared;
          shared.serving = null;
          return this.servers.unserve(volume, container, serving);
        });
        return;
      case 'restore':
        this.aside(shared, step.container, (container) => this.servers.restore(volume, container));
    }
  }

  /** Works on a container without making the others wait: it may have to wait for what else is done to it, which may wait for us. */
  private aside(shared: Shared, id: string, body: (container: Container) => Promise<void>): void {
    const container = this.context.cache.get(id);
    if (container === undefined) return;
    shared.busy.add(id);
    body(container)
      .catch((error: unknown) => {
        if (!isKind(error, 'notFound')) this.failed(shared, error);
      })
      .finally(() => {
        shared.busy.delete(id);
        this.schedule(shared.volume);
        this.news.emit('change', shared.volume);
      });
  }

  /** A client that was killed could not give back its locks. */
  private forgetEnded(shared: Shared): void {
    const { volume, serving, clients } = shared;
    const now = new Map(this.runningClients(volume).map(({ id, address }) => [id, address]));
    shared.clients = now;
    const server = serving === null ? undefined : this.context.cache.get(serving.id);
    const disk = server && volumeDisks(server.spec).find((one) => one.volume === volume);
    if (server?.channel == null || disk === undefined) return;
    for (const [id, address] of clients)
      if (!now.has(id))
        server.channel
          .forgetVolumeClient({ bus: disk.bus, unit: disk.unit }, address)
          .catch((error: unknown) =>
            log.debug({ volume, container: id, err: messageOf(error) }, 'a client of a volume was not forgotten'),
          );
  }

  /** Clients whose processes run. */
  private runningClients(volume: string): { id: string; mac: string; address: string }[] {
    return this.context.volumeUse.users(volume).flatMap(({ disk, user }) => {
      const number = disk || !user.running ? undefined : numberIn(user.spec, volume);
      return number === undefined ? [] : [{ id: user.spec.id, ...sharingCard({ volume, as: 'client', number }) }];
    });
  }
}

const unlessGone = (error: unknown): void => {
  if (!isKind(error, 'notFound')) throw error;
};

/** What of a container decides whether it keeps another one waiting. */
const stamp = ({ life, machine, leaving }: Container): string => `${life.kind} ${machine.on} ${leaving}`;

const numberIn = ({ sharing }: ContainerSpec, volume: string): number | undefined => {
  const found = sharing?.find((one) => one.volume === volume);
  return found?.as === 'client' ? found.number : undefined;
};
