/** Containers as virtual machines: Docker's verbs become VM operations. What is seen of the VMs comes in by {@link VmObserver}. */
import { EventEmitter } from 'node:events';
import { cancelled, conflict, isKind, messageOf, notModified } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { within } from '../../src/common/within.js';
import type { ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import type { VchConfig } from '../config.js';
import { brokeProtocol } from '../interaction/patience.js';
import { cardAddresses } from '../network/endpoints.js';
import type { Networks } from '../network/networks.js';
import type { Layers } from '../storage/layers.js';
import type { VolumeUse } from '../storage/volume-use.js';
import type { Volumes } from '../storage/volumes.js';
import { Container } from './container.js';
import type { ContainerCache } from './container-cache.js';
import type { ContainerSpec } from './container-spec.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { keptSpec } from './kept-spec.js';
import { keepsNothing } from './lasting-disks.js';
import { Pauser } from './pause.js';
import { Starter } from './start.js';
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
import { renewLimits, updateResources } from './update.js';
import { VmObserver } from './vm-observer.js';
import { containerVmSpec, SPEC_KEY, vmName } from './vm-spec.js';

const log = logger('exec');
const KILL_MS = 10_000;
/** What the inventory has taken in is told within this. */
const SEEN_MS = 2000;
const SIGKILL = 9;

/** The exec component of the port layer. */
export class Containers implements ExecService, ExecContext {
  readonly events = new EventEmitter<{ event: [ContainerEvent] }>();
  /** Takes in what is seen of the VMs. */
  readonly observer = new VmObserver(this);
  private readonly starter = new Starter(this, this.observer);
  private readonly pauser = new Pauser(this, this.observer);

  constructor(
    readonly client: VimClient,
    readonly config: VchConfig,
    readonly cache: ContainerCache,
    readonly networks: Networks,
    private readonly layers: Layers,
    readonly volumes: Pick<Volumes, 'keep' | 'recover'>,
    readonly volumeUse: VolumeUse,
  ) {
    this.events.setMaxListeners(0);
  }

  readonly emit = (event: ContainerEvent): void => {
    this.events.emit('event', event);
  };

  readonly track = (container: Container): void => {
    this.cache.add(container);
    container.on('paused', (yes) => {
      if (yes) return;
      this.pauser.goOn(container);
      renewLimits(container);
    });
    container.on('ending', () => void this.starter.lookAfterEnd(container));
    container.on('broken', (how) =>
      this.emit({
        type: 'guestBroken',
        container: container.info(),
        error: brokeProtocol(how).message,
        time: new Date(),
      }),
    );
    container.on('oom', () => this.emit({ type: 'oom', container: container.info(), time: new Date() }));
  };

  // --- looking -------------------------------------------------------------------------------------------------------

  resolve(reference: string): ContainerInfo {
    return this.cache.resolve(reference).info();
  }

  list(): ContainerInfo[] {
    return this.cache.all().map((container) => container.info());
  }

  // --- create --------------------------------------------------------------------------------------------------------

  async create(spec: ContainerSpec, signal?: AbortSignal): Promise<ContainerInfo> {
    const giveBack = this.cache.reserve(spec.name, spec.id);
    const release = this.layers.use(spec.layer);
    let letGo = (): void => undefined;
    try {
      letGo = this.volumes.keep((spec.volumes ?? []).map(({ volume }) => volume));
      this.networks.check(spec);
      const parent = await this.layers.diskOf(spec.layer);
      const vm = (await this.client.runTask(
        'CreateVM_Task',
        this.config.folder,
        { config: containerVmSpec(this.config, spec, parent), pool: this.config.resourcePool },
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
    // It may have been seen already.
    const known = this.cache.get(spec.id);
    const container = known ?? new Container(spec, vm, String(object?.props['config.uuid'] ?? ''));
    container.changeVersion ??= String(object?.props['config.changeVersion'] ?? '');
    container.macs = cardAddresses(object?.props['config.hardware']?.device ?? []);
    if (known === undefined) this.track(container);
    this.emit({ type: 'created', container: container.info(), time: new Date() });
    return container.info();
  }

  // --- start ---------------------------------------------------------------------------------------------------------

  start(id: string, prepare?: () => Promise<Preparation>): Promise<void> {
    const container = this.cache.resolve(id);
    if (container.running && container.reportedExit === null)
      return Promise.reject(notModified(`container ${container.id} is already running`));
    return container.exclusive(() => this.starter.start(container, prepare));
  }

  // --- stop ----------------------------------------------------------------------------------------------------------

  async stop(id: string, options: StopOptions): Promise<void> {
    const container = this.cache.resolve(id);
    await container.settled();
    if (!container.running) throw notModified(`container ${container.id} is not running`);
    container.become('stopping');
    container.kept = options.keep === true;
    const exit = nextExit(container);
    const seconds = options.timeoutSeconds ?? container.spec.stopTimeoutSeconds;
    await container.channel
      ?.signal(0, options.signal ?? container.spec.stopSignal)
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'the stop signal could not be delivered'),
      );
    await this.wake(container);
    if (seconds < 0) {
      await exit;
      return;
    }
    if (!(await settles(exit, seconds * 1000))) await this.killHard(container, exit);
  }

  async kill(id: string, signal: number): Promise<void> {
    const container = this.cache.resolve(id);
    await container.settled();
    if (!container.running) throw conflict(`container ${container.id} is not running`);
    if (signal === SIGKILL) {
      await this.killHard(container, nextExit(container));
      return;
    }
    if (container.channel === null) throw conflict(`container ${container.id} is not running`);
    await container.channel.signal(0, signal);
  }

  /** SIGKILL in the guest, so that its output is kept; a VM that does not obey is powered off. */
  private async killHard(container: Container, exit: Promise<unknown>): Promise<void> {
    await container.channel?.signal(0, SIGKILL).catch(() => undefined);
    await this.wake(container);
    if (await settles(exit, KILL_MS)) return;
    log.warn({ container: container.id }, 'the VM does not end and is powered off');
    await this.powerOff(container, exit);
  }

  /** Asks its guest for nothing. */
  private async powerOff(container: Container, exit: Promise<unknown>): Promise<void> {
    await this.client.runTask('PowerOffVM_Task', container.vm, {}).catch((error: unknown) => {
      if (!isKind(error, 'conflict')) throw error;
    });
    void this.starter.lookAfterEnd(container, SEEN_MS);
    await exit;
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

  readonly foundAwake = (container: Container): Promise<void> => this.pauser.foundAwake(container);

  /** A signal reaches a paused container when its VM runs again. */
  private async wake(container: Container): Promise<void> {
    if (!container.paused) return;
    await this.unpause(container.id).catch((error: unknown) =>
      log.warn({ container: container.id, err: messageOf(error) }, 'a paused container does not go on'),
    );
  }

  async wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<ExitStatus> {
    const container = this.cache.resolve(id);
    if (condition === 'not-running' && !container.running && container.state !== 'starting')
      return container.exitStatus();
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        container.off('exited', onExited);
        container.off('removed', onRemoved);
        signal?.removeEventListener('abort', onAbort);
        act();
      };
      const onExited = (status: ExitStatus): void => {
        if (condition !== 'removed') finish(() => resolve(status));
      };
      const onRemoved = (): void => finish(() => resolve(container.exitStatus()));
      const onAbort = (): void => finish(() => reject(cancelled('the wait was cancelled')));
      container.on('exited', onExited);
      container.on('removed', onRemoved);
      if (signal?.aborted === true) onAbort();
      else signal?.addEventListener('abort', onAbort);
    });
  }

  // --- remove and change ---------------------------------------------------------------------------------------------

  async remove(id: string, options: { force: boolean; volumes?: boolean }): Promise<void> {
    const container = this.cache.resolve(id);
    if (container.removal !== null) throw conflict(`removal of container ${container.id} is already in progress`);
    if ((container.running || container.state === 'starting') && !options.force) {
      throw conflict(
        `cannot remove container "/${container.spec.name}": container is running: stop the container before removing or force remove`,
      );
    }
    container.removal = this.destroy(container, options.volumes === true).finally(() => {
      container.removal = null;
    });
    await container.removal;
  }

  readonly removeIfWished = (container: Container): void => {
    if (
      !container.spec.autoRemove ||
      container.kept ||
      container.removal !== null ||
      this.cache.get(container.id) !== container
    )
      return;
    this.remove(container.id, { force: true }).catch((error: unknown) =>
      log.error({ container: container.id, err: messageOf(error) }, 'automatic removal failed'),
    );
  };

  /** @param disposes see {@link keepsNothing} */
  private async destroy(container: Container, disposes: boolean): Promise<void> {
    container.abortStart?.(conflict('container is marked for removal and cannot be started'));
    await container.settled();
    // A guest that may do what it likes is not asked to end where nothing is lost without.
    if (container.running && keepsNothing(container, this.cache, disposes))
      await this.powerOff(container, nextExit(container));
    else if (container.running) await this.killHard(container, nextExit(container));
    await container.exclusive(async () => {
      if (this.cache.get(container.id) !== container) return;
      container.become('removing');
      try {
        await this.client.runTask('Destroy_Task', container.vm, {});
      } catch (error) {
        if (!isKind(error, 'notFound')) {
          container.state = 'dead';
          container.error = messageOf(error);
          throw error;
        }
      }
      this.observer.forget(container);
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
    await change(this.client, container.vm, container.changeVersion, (handle) => {
      handle.key(SPEC_KEY, keptSpec(spec));
      if (name !== undefined) handle.name(name);
    });
    container.spec = spec;
  }

  /** Lets go of all channels; containers go on running. */
  async close(): Promise<void> {
    await this.pauser.close();
    await Promise.all(this.cache.all().map((container) => container.channel?.close(true)));
  }
}

function nextExit(container: Container): Promise<ExitStatus> {
  return new Promise((resolve) => container.once('exited', resolve));
}

/** True when the promise is kept in time. */
function settles(promise: Promise<unknown>, ms: number): Promise<boolean> {
  return within(
    promise.then(() => true),
    ms,
    () => false,
  );
}
