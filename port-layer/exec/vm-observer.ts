/**
 * What the inventory says of the container VMs becomes the containers' state: a VM appears, is powered on or off (by this
 * endpoint, by its guest, by an administrator), or vanishes.
 */
import { messageOf } from '../../src/common/errors.js';
import { logger } from '../../src/common/log.js';
import { mark } from '../../src/common/trace.js';
import type { ManagedObjectReference } from '../../src/vim25/index.js';
import { Container } from './container.js';
import type { ExecContext } from './context.js';
import { change } from './handle.js';
import { readSpec } from './kept-spec.js';
import { parseRunRecord, RUN_KEY } from './run-record.js';
import { KILLED, outcome, parseRunStatus, type RunStatus, STATUS_KEY } from './run-status.js';
import type { VmQuestion } from './vm-question.js';
import { channelPath, OWNER_KEY, SPEC_KEY } from './vm-spec.js';

const log = logger('exec');

/** What a VM's properties say. */
export interface ObservedVm {
  ref: ManagedObjectReference;
  uuid: string;
  /** Also while it is suspended. */
  poweredOn: boolean;
  suspended: boolean;
  /** It stands still until this is answered. */
  question: VmQuestion | null;
  changeVersion: string;
  keys: ReadonlyMap<string, string>;
}

/** Takes in what is seen of the VMs. */
export class VmObserver {
  /** Work that the first full picture has given; null once that is done. */
  private opening: Promise<unknown>[] | null = [];

  /** VMs that are being taken down and are nobody's any more. */
  private readonly given = new Set<string>();

  constructor(private readonly context: ExecContext) {}

  /** Takes in what the inventory says of a VM. */
  observe(vm: ObservedVm): void {
    const { config, cache } = this.context;
    if (vm.keys.get(OWNER_KEY) !== config.id || this.given.has(vm.ref.value)) return;
    const container = cache.byVm(vm.ref.value) ?? this.discover(vm);
    if (container === null) return;
    container.changeVersion = vm.changeVersion;
    const status = parseRunStatus(vm.keys.get(STATUS_KEY));
    if (status.kind === 'started' && container.running) container.pid = status.pid;
    if (container.poweredOn === vm.poweredOn) {
      if (vm.poweredOn) this.still(container, vm);
      return;
    }
    container.poweredOn = vm.poweredOn;
    mark(`seen ${vm.poweredOn ? 'on' : 'off'}`);
    if (!vm.poweredOn) {
      this.poweredOff(container, status);
    } else if (container.state === 'created' || container.state === 'exited') {
      const adopted = this.adopt(container, vm);
      this.opening?.push(adopted);
    }
    container.emit('power', vm.poweredOn);
    if (vm.poweredOn) this.still(container, vm);
  }

  /** The VM is suspended, asks something, or neither. */
  private still(container: Container, { suspended, question }: ObservedVm): void {
    if (container.question?.id !== question?.id) {
      const before = container.question;
      if (before !== null) container.error = '';
      container.question = question;
      // It is being let go, and went on in between.
      if (before !== null && question !== null && container.held) this.suspended(container, false);
      if (question !== null) {
        container.error = `${question.reason}: the container stands still`;
        log.error({ container: container.id, reason: question.reason }, 'a container stands still');
      }
    }
    this.suspended(container, suspended || question !== null);
  }

  /** The VM of a container is, or is no longer, suspended; whoever did it. */
  suspended(container: Container, yes: boolean): void {
    if (container.suspended !== yes) {
      container.suspended = yes;
      container.emit('suspended', yes);
    }
    if (yes || !container.held) this.paused(container, yes);
  }

  /** A container stands still, or goes on. */
  paused(container: Container, yes: boolean): void {
    if (container.paused === yes) return;
    container.paused = yes;
    if (!yes) container.lastSeen = null;
    log.info({ container: container.id, paused: yes }, 'container paused or resumed');
    if (this.opening === null)
      this.context.emit({ type: yes ? 'paused' : 'unpaused', container: container.info(), time: new Date() });
    container.emit('paused', yes);
  }

  /** A VM left the inventory. */
  vanished(ref: ManagedObjectReference): void {
    this.given.delete(ref.value);
    const container = this.context.cache.byVm(ref.value);
    if (container === undefined) return;
    if (container.poweredOn || container.running) {
      container.poweredOn = false;
      this.poweredOff(container, { kind: 'none' });
      container.emit('power', false);
    }
    this.forget(container);
  }

  /**
   * The process of a container to be removed has ended: so has the container, and it is gone. Its VM is left to the caller; an endpoint
   * that is restarted before the VM is gone finds a container to be removed.
   */
  giveUp(container: Container): void {
    this.given.add(container.vm.value);
    container.removal = Promise.resolve();
    this.poweredOff(container, { kind: 'none' });
    this.forget(container);
  }

  /** Resolves when the containers of the first picture are as they were left. */
  async opened(): Promise<void> {
    const { cache, removeIfWished } = this.context;
    await Promise.all(this.opening ?? []);
    this.opening = null;
    for (const container of cache.all()) if (container.state === 'exited') removeIfWished(container);
  }

  /** Takes a container off the list. */
  forget(container: Container): void {
    const { cache, emit } = this.context;
    if (cache.get(container.id) !== container) return;
    cache.delete(container.id);
    container.closeChannel(true);
    container.state = 'removing';
    emit({ type: 'removed', container: container.info(), time: new Date() });
    container.emit('removed');
  }

  /** The VM of a container that runs, or was started, is off. */
  poweredOff(container: Container, status: RunStatus): void {
    const { networks, emit, removeIfWished } = this.context;
    const { state } = container;
    if (state === 'starting') {
      // Whoever starts it finds this.
      container.endedWhileStarting = status;
      return;
    }
    if (!container.running) return;
    container.closeChannel();
    networks.release(container.id);
    container.endpoints = [];
    container.pid = 0;
    container.suspended = container.paused = container.frozen = container.held = false;
    container.lastSeen = null;
    container.question = null;
    const killed = container.reportedExit ?? { at: new Date(), exitCode: KILLED, oomKilled: container.oomKilled };
    Object.assign(container, outcome(status, killed));
    if (status.kind !== 'exited' && status.kind !== 'failed') this.keepEnd(container, killed);
    container.state = 'exited';
    log.info({ container: container.id, exitCode: container.exitCode }, 'container exited');
    const time = container.finishedAt ?? new Date();
    emit({ type: 'exited', container: container.info(), exitCode: container.exitCode, time });
    container.emit('exited', container.exitStatus());
    removeIfWished(container);
  }

  /** Keeps with the VM how a run ended that the guest can tell nothing of. */
  private keepEnd(container: Container, killed: { at: Date; exitCode: number }): void {
    const { client } = this.context;
    if (container.spec.autoRemove || container.removal !== null) return;
    const { startedAt } = container;
    if (startedAt === null) return;
    const record = { startedAt, endpoints: [], killed };
    change(client, container.vm, container.changeVersion, (handle) => {
      handle.key(RUN_KEY, JSON.stringify(record));
    }).catch((error: unknown) =>
      log.debug({ container: container.id, err: messageOf(error) }, 'the end of a killed VM was not kept'),
    );
  }

  private discover(vm: ObservedVm): Container | null {
    const { cache, track } = this.context;
    const spec = readSpec(vm.keys.get(SPEC_KEY));
    if (spec === null) return null;
    if (cache.get(spec.id) !== undefined) {
      log.warn({ vm: vm.ref.value, container: spec.id }, 'a VM claims to be a container that is another VM: a clone?');
      return null;
    }
    const container = new Container(spec, vm.ref, vm.uuid);
    const run = parseRunRecord(vm.keys.get(RUN_KEY));
    if (run !== null) {
      const status = parseRunStatus(vm.keys.get(STATUS_KEY));
      const killed = run.killed ?? { at: run.startedAt, exitCode: KILLED };
      if (status.kind !== 'failed') container.startedAt = new Date(run.startedAt);
      if (!vm.poweredOn) {
        container.state = status.kind === 'failed' ? 'created' : 'exited';
        Object.assign(container, outcome(status, { at: new Date(killed.at), exitCode: killed.exitCode }));
        if (status.kind === 'failed') container.finishedAt = null;
      }
    }
    track(container);
    return container;
  }

  /** A VM that runs though this endpoint did not start it: before a restart of the endpoint, or by an administrator. */
  private async adopt(container: Container, vm: ObservedVm): Promise<void> {
    const { networks, config, emit } = this.context;
    const opening = this.opening !== null;
    const run = parseRunRecord(vm.keys.get(RUN_KEY));
    const status = parseRunStatus(vm.keys.get(STATUS_KEY));
    container.state = 'running';
    container.startedAt = status.kind === 'started' ? status.at : opening && run ? new Date(run.startedAt) : new Date();
    container.pid = status.kind === 'started' ? status.pid : 0;
    container.error = '';
    container.exitCode = 0;
    container.oomKilled = false;
    container.finishedAt = null;
    container.endpoints = run?.endpoints ?? [];
    try {
      networks.claim(container.id, container.endpoints);
    } catch (error) {
      log.error({ container: container.id, err: messageOf(error) }, 'a running container has an address in use');
    }
    const channel = container.channelOn(channelPath(config, container.id));
    channel.release();
    container.frozen = opening && run?.frozen === true;
    const awake = container.frozen && !vm.suspended;
    if (awake) {
      container.held = true;
      this.paused(container, true);
    }
    try {
      await container.channelClosed();
      if (container.channel === channel) await channel.listen();
      if (awake) await this.context.foundAwake(container);
    } catch (error) {
      log.error({ container: container.id, err: messageOf(error) }, 'no channel to a running container');
    }
    log.info({ container: container.id, name: container.spec.name }, 'found a running container');
    if (!opening) emit({ type: 'started', container: container.info(), time: container.startedAt });
  }
}
