/**
 * Containers as virtual machines: turns requests about containers into VM operations. News about the VMs arrives through {@link
 * VmObserver}.
 */
import { EventEmitter } from 'node:events';
import { cancelled, isKind, messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import type { ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { errorRecord, PortLayerError } from '../errors.js';
import { brokeProtocol } from '../interaction/patience.js';
import { cardsOf } from '../network/endpoints.js';
import type { Networks } from '../network/networks.js';
import type { Segments } from '../network/volume-segments.js';
import type { Layers } from '../storage/layers.js';
import type { StorageReserve } from '../storage/storage-reserve.js';
import type { VolumeUse } from '../storage/volume-use.js';
import type { Volumes } from '../storage/volumes.js';
import type { Container } from './container.js';
import type { ContainerCache } from './container-cache.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import { destroyAbandoned } from './drop.js';
import { Effects } from './effects.js';
import { change } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { keepsNothing } from './lasting-disks.js';
import { Memberships } from './memberships.js';
import { Pauser } from './pause.js';
import { SharedVolumes } from './shared-volumes.js';
import { Starter } from './start.js';
import { StartGate } from './start-gate.js';
import type {
  ContainerEvent,
  ContainerInfo,
  ExecService,
  ExitStatus,
  Preparation,
  ResourceUpdate,
  StopOptions,
  WaitCondition,
} from './types.js';
import { updateResources } from './update.js';
import { VmObserver } from './vm-observer.js';
import { containerVmSpec, SPEC_KEY, vmName } from './vm-spec.js';

const log = logger('exec');
const KILL_MS = 10_000;
/** What a new container's files take at least; they grow with what it writes. */
const NEW_CONTAINER = 2 ** 20;
/** The exit code of a failed start that did not get as far as a process with an exit code of its own. */
const START_FAILED = 128;
const SIGKILL = 9;

/** The exec component of the port layer. */
export class Containers implements ExecService, ExecContext {
  readonly events = new EventEmitter<{ event: [ContainerEvent] }>();
  private readonly effects: Effects = new Effects(this, {
    thaw: (container) => this.pauser.goOn(container),
    drop: (container) => {
      this.observer.disown(container);
      void destroyAbandoned(this.client, container);
    },
    remove: (container) => {
      this.remove(container.id, { force: true }).catch((error: unknown) =>
        log.error({ container: container.id, err: messageOf(error) }, 'automatic removal failed'),
      );
    },
    emit: (event) => this.emit(event),
    opening: () => this.observer.opening,
  });
  private readonly starter = new Starter(this);
  private readonly pauser = new Pauser(this, this.effects);
  readonly sharing: SharedVolumes;
  private readonly memberships = new Memberships(this);
  /** Takes in what is observed of the VMs. */
  readonly observer: VmObserver = new VmObserver(this, this.effects, {
    track: (container) => this.track(container),
    foundAwake: (container) => this.pauser.foundAwake(container),
    foundCards: (container, cards) => {
      this.memberships
        .resume(container, cards)
        .catch((error: unknown) =>
          log.error({ container: container.id, err: messageOf(error) }, 'a container has not set up all of its cards'),
        );
    },
    leaseChanged: (container, before) => this.memberships.leaseChanged(container, before),
  });

  /** Set by the port layer. */
  room: Pick<StorageReserve, 'checkStorageQuota'> | null = null;

  constructor(
    readonly client: VimClient,
    readonly config: VchConfig,
    readonly cache: ContainerCache,
    readonly networks: Networks,
    private readonly layers: Layers,
    readonly volumes: Pick<Volumes, 'keep' | 'recover' | 'placed'>,
    readonly volumeUse: VolumeUse,
    segments: Segments | null = null,
    readonly gate: StartGate = new StartGate(),
  ) {
    this.sharing = new SharedVolumes(this, segments, this);
    this.events.setMaxListeners(0);
    networks.members = this.memberships;
  }

  private emit(event: ContainerEvent): void {
    if (event.container.spec.servesVolume === undefined) this.events.emit('event', event);
  }

  private track(container: Container): void {
    this.cache.add(container);
    if (container.spec.volumes !== undefined) container.on('change', () => this.sharing.changed(container));
    container.on('broken', (how) =>
      this.emit({
        type: 'guestBroken',
        container: container.info(),
        error: errorRecord(brokeProtocol(how)),
        time: new Date(),
      }),
    );
  }

  // --- looking -------------------------------------------------------------------------------------------------------

  resolve(reference: string): ContainerInfo {
    return this.cache.resolve(reference).info();
  }

  list(): ContainerInfo[] {
    return this.cache
      .all()
      .filter(({ spec }) => spec.servesVolume === undefined)
      .map((container) => container.info());
  }

  // --- create --------------------------------------------------------------------------------------------------------

  async create(wanted: ContainerSpec, signal?: AbortSignal): Promise<ContainerInfo> {
    const giveBack = this.cache.reserve(wanted.name, wanted.id);
    const release = this.layers.use(wanted.layer);
    let letGo = (): void => undefined;
    try {
      // Others wait for one that serves a volume.
      if (wanted.servesVolume === undefined) await this.room?.checkStorageQuota(NEW_CONTAINER);
      letGo = this.volumes.keep((wanted.volumes ?? []).map(({ volume }) => volume));
      const spec = this.networks.places.settle(withPlaces(wanted, this.volumes));
      const parent = await this.layers.diskOf(spec.layer);
      const vm = (await this.client.runTask(
        'CreateVM_Task',
        this.config.folder,
        {
          config: containerVmSpec(this.config, spec, parent, (wish) => this.networks.places.attachmentOf(wish)),
          pool: this.config.resourcePool,
        },
        { signal },
      )) as ManagedObjectReference;
      try {
        return await this.created(spec, vm);
      } catch (error) {
        await this.client
          .runTask('Destroy_Task', vm, {})
          .catch((failure: unknown) =>
            log.error({ container: spec.id, err: messageOf(failure) }, 'the VM of a failed create stays'),
          );
        throw error;
      }
    } catch (error) {
      // What it had reserved by asking for it.
      this.networks.places.release(wanted.id);
      throw error;
    } finally {
      letGo();
      release();
      giveBack();
    }
  }

  private async created(spec: ContainerSpec, vm: ManagedObjectReference): Promise<ContainerInfo> {
    const [object] = await this.client.retrieve([vm], 'VirtualMachine', [
      'config.hardware',
      'config.uuid',
      'config.changeVersion',
    ]);
    // The inventory may have shown it already.
    const known = this.cache.get(spec.id);
    const container = known ?? this.observer.containerOf(spec, vm, String(object?.props['config.uuid'] ?? ''));
    container.machine.changeVersion ??= String(object?.props['config.changeVersion'] ?? '');
    container.machine.cards = cardsOf(object?.props['config.hardware']?.device ?? []);
    if (known === undefined) this.track(container);
    this.emit({ type: 'created', container: container.info(), time: new Date() });
    return container.info();
  }

  // --- start ---------------------------------------------------------------------------------------------------------

  start(id: string, prepare?: () => Promise<Preparation>): Promise<void> {
    const container = this.cache.resolve(id);
    if (container.running && !container.ending)
      return Promise.reject(new PortLayerError('container.alreadyRunning', { container: container.id }));
    return container.exclusive(() => this.starter.start(container, prepare));
  }

  // --- stop ----------------------------------------------------------------------------------------------------------

  async stop(id: string, options: StopOptions): Promise<void> {
    const container = this.cache.resolve(id);
    await container.settled();
    if (!container.running) throw new PortLayerError('container.alreadyStopped', { container: container.id });
    container.dispatch({ type: 'stop', keep: options.keep === true });
    const ended = nextEnd(container);
    const seconds = options.timeoutSeconds ?? container.spec.stopTimeoutSeconds;
    await container.channel
      ?.signal(0, options.signal ?? container.spec.stopSignal)
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'the stop signal could not be delivered'),
      );
    await this.wake(container);
    if (await container.until(ended, seconds < 0 ? {} : { ms: seconds * 1000 })) return;
    await this.killHard(container, ended);
  }

  async kill(id: string, signal: number): Promise<void> {
    const container = this.cache.resolve(id);
    await container.settled();
    if (!container.running) throw new PortLayerError('container.notRunning', { container: container.id });
    if (signal === SIGKILL) {
      await this.killHard(container, nextEnd(container));
      return;
    }
    if (container.channel === null) throw new PortLayerError('container.notRunning', { container: container.id });
    await container.channel.signal(0, signal);
  }

  /** Sends SIGKILL in the guest, so that the output is kept; a VM that does not obey is powered off. */
  private async killHard(container: Container, ended: () => boolean): Promise<void> {
    await container.channel?.signal(0, SIGKILL).catch(() => undefined);
    await this.wake(container);
    if (await container.until(ended, { ms: KILL_MS })) return;
    log.warn({ container: container.id }, 'the VM does not end and is powered off');
    await this.powerOff(container, ended);
  }

  /** Powers off without asking the guest. */
  private async powerOff(container: Container, ended: () => boolean): Promise<void> {
    await this.client.runTask('PowerOffVM_Task', container.vm, {}).catch((error: unknown) => {
      if (!isKind(error, 'conflict')) throw error;
    });
    container.machine.dispatch({ type: 'expect', what: 'asked' });
    await container.until(ended);
  }

  pause(id: string): Promise<void> {
    const container = this.cache.resolve(id);
    return container.exclusive(() => this.pauser.pause(container));
  }

  unpause(id: string): Promise<void> {
    const container = this.cache.resolve(id);
    return container.exclusive(() => this.pauser.unpause(container));
  }

  /** See {@link Pauser.visit}. */
  visit(container: Container): Promise<() => void> {
    return this.pauser.visit(container);
  }

  /** A signal reaches a paused container when its VM runs again. */
  private async wake(container: Container): Promise<void> {
    if (!container.paused) return;
    await this.unpause(container.id).catch((error: unknown) =>
      log.warn({ container: container.id, err: messageOf(error) }, 'a paused container does not go on'),
    );
  }

  async wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<ExitStatus> {
    const container = this.cache.resolve(id);
    const ended = nextEnd(container);
    const isRemoved = (): boolean => container.life.kind === 'removed';
    const holds: Record<WaitCondition, () => boolean> = {
      'not-running': () => ended() || isRemoved() || (!container.running && !container.starting),
      'next-exit': () => ended() || isRemoved(),
      removed: isRemoved,
    };
    // Taken as soon as the condition holds: the container may be running again by the time this function continues.
    let status: ExitStatus | null = null;
    const look = (): boolean => {
      if (!holds[condition]()) return false;
      status = container.exitStatus();
      return true;
    };
    await container.until(look, signal === undefined ? {} : { signal });
    if (status === null) throw cancelled('the wait was cancelled');
    return status;
  }

  // --- remove and change ---------------------------------------------------------------------------------------------

  async remove(id: string, options: { force: boolean; volumes?: boolean }): Promise<void> {
    const container = this.cache.resolve(id);
    if (container.facts.marked)
      throw new PortLayerError('container.beingRemoved', { container: container.id, hinders: 'remove' });
    if ((container.running || container.starting) && !options.force) {
      throw new PortLayerError('container.stillRunning', { container: container.id, name: container.spec.name });
    }
    container.dispatch({ type: 'mark', yes: true });
    try {
      await this.destroy(container, options.volumes === true);
    } finally {
      container.dispatch({ type: 'mark', yes: false });
    }
  }

  /** @param disposes see {@link keepsNothing} */
  private async destroy(container: Container, disposes: boolean): Promise<void> {
    const reason = new PortLayerError('start.beingRemoved', {});
    container.dispatch({ type: 'abort', reason, exitCode: START_FAILED });
    await container.settled();
    // If nothing can be lost, there is no need to ask the guest to shut down.
    if (container.running && keepsNothing(container, this.cache, disposes))
      await this.powerOff(container, nextEnd(container));
    else if (container.running) await this.killHard(container, nextEnd(container));
    await container.exclusive(async () => {
      if (this.cache.get(container.id) !== container) return;
      container.dispatch({ type: 'remove' });
      try {
        await this.client.runTask('Destroy_Task', container.vm, {});
      } catch (error) {
        if (!isKind(error, 'notFound')) {
          container.dispatch({ type: 'removeFailed', error: errorRecord(error) });
          throw error;
        }
      }
      container.machine.dispatch({ type: 'gone' });
    });
  }

  rename(id: string, name: string): Promise<void> {
    const container = this.cache.resolve(id);
    return container.exclusive(async () => {
      const giveBack = this.cache.reserve(name, container.id);
      try {
        const spec = { ...container.spec, name };
        await this.saveSpec(container, spec, vmName(name, container.id));
      } finally {
        giveBack();
      }
    });
  }

  update(id: string, update: ResourceUpdate): Promise<{ cpus: number; memoryMiB: number }> {
    const container = this.cache.resolve(id);
    return container.exclusive(() => updateResources(this, container, update));
  }

  annotate(id: string, annotations: Record<string, string>): Promise<void> {
    const container = this.cache.resolve(id);
    return container.exclusive(() =>
      this.saveSpec(container, { ...container.spec, annotations: { ...container.spec.annotations, ...annotations } }),
    );
  }

  private async saveSpec(container: Container, spec: ContainerSpec, name?: string): Promise<void> {
    await change(this.client, container.vm, container.machine.changeVersion, (handle) => {
      handle.key(SPEC_KEY, keptSpec(spec));
      if (name !== undefined) handle.name(name);
    });
    container.spec = spec;
  }

  /** Closes all channels; containers continue to run. */
  async close(): Promise<void> {
    this.sharing.close();
    await this.pauser.close();
    await Promise.all(this.cache.all().map((container) => container.channel?.close(true)));
  }
}

/** True once the next run has ended or the next start has failed. */
function nextEnd(container: Container): () => boolean {
  const { ends } = container.facts;
  return () => container.facts.ends !== ends;
}

/** A spec with what its volumes are, which stays as it is as long as a container has them. */
function withPlaces(spec: ContainerSpec, volumes: Pick<Volumes, 'placed'>): ContainerSpec {
  return spec.volumes === undefined ? spec : { ...spec, volumes: spec.volumes.map((mount) => volumes.placed(mount)) };
}
