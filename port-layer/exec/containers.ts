/**
 * Containers as virtual machines: create, start, stop, remove. State is what vim25 says of the VMs; this keeps a picture of it
 * and turns Docker's verbs into VM operations.
 */
import { EventEmitter } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { cancelled, conflict, internal, isKind, messageOf, notModified, timeout } from '../../src/common/errors.js';
import { isFullId } from '../../src/common/ids.js';
import { logger } from '../../src/common/log.js';
import type { ManagedObjectReference, VimClient } from '../../src/vim25/index.js';
import { compileProgram } from '../../tether/program/compile.js';
import type { VchConfig } from '../config.js';
import { StartError } from '../errors.js';
import { ContainerChannel } from '../interaction/container-channel.js';
import type { Networks } from '../network/networks.js';
import type { Layers } from '../storage/layers.js';
import type { ContainerEvent, ContainerInfo, ContainerSpec, ExecService, ExitStatus, WaitCondition } from '../types.js';
import { Container, type RunRecord } from './container.js';
import type { ContainerCache } from './container-cache.js';
import { change } from './handle.js';
import { programSpec } from './program-spec.js';
import { parseRunStatus, type RunStatus, STATUS_KEY } from './run-status.js';
import { channelPath, containerVmSpec, OWNER_KEY, PROGRAM_KEY, SPEC_KEY, vmName } from './vm-spec.js';

const log = logger('exec');
export const RUN_KEY = 'caisson.run';
const START_MS = 120_000;
const KILL_MS = 10_000;
const SIGKILL = 9;
/** What runc and the daemon put before the cause, and clients look for. */
const START_PREFIX =
  'failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: ';

/** What a VM's properties say; see {@link Containers.observe}. */
export interface ObservedVm {
  ref: ManagedObjectReference;
  uuid: string;
  poweredOn: boolean;
  changeVersion: string;
  keys: ReadonlyMap<string, string>;
}

/** The exec component of the port layer. */
export class Containers implements ExecService {
  readonly events = new EventEmitter<{ event: [ContainerEvent] }>();

  constructor(
    private readonly client: VimClient,
    private readonly config: VchConfig,
    readonly cache: ContainerCache,
    private readonly networks: Networks,
    private readonly layers: Layers,
  ) {
    this.events.setMaxListeners(0);
  }

  // --- what is seen of the VMs ---------------------------------------------------------------------------------------

  /** Takes in what the inventory says of a VM. */
  observe(vm: ObservedVm): void {
    if (vm.keys.get(OWNER_KEY) !== this.config.id) return;
    const container = this.cache.byVm(vm.ref.value) ?? this.discover(vm);
    if (container === null) return;
    container.changeVersion = vm.changeVersion;
    const status = parseRunStatus(vm.keys.get(STATUS_KEY));
    if (status.kind === 'started') container.pid = status.pid;
    if (container.poweredOn === vm.poweredOn) return;
    container.poweredOn = vm.poweredOn;
    if (!vm.poweredOn) this.ended(container, status);
    else if (container.state === 'created' || container.state === 'exited') void this.adopt(container, vm);
  }

  /** A VM left the inventory. */
  vanished(ref: ManagedObjectReference): void {
    const container = this.cache.byVm(ref.value);
    if (container === undefined) return;
    if (container.poweredOn) {
      container.poweredOn = false;
      this.ended(container, { kind: 'none' });
    }
    this.forget(container);
  }

  private discover(vm: ObservedVm): Container | null {
    const text = vm.keys.get(SPEC_KEY);
    if (text === undefined) return null;
    const spec = JSON.parse(text) as ContainerSpec;
    if (!isFullId(spec.id)) return null;
    const known = this.cache.get(spec.id);
    if (known !== undefined) return known;
    const container = new Container(spec, vm.ref, vm.uuid);
    const run = runRecord(vm.keys);
    const status = parseRunStatus(vm.keys.get(STATUS_KEY));
    if (run !== null) container.startedAt = new Date(run.startedAt);
    if (!vm.poweredOn && run !== null) {
      container.state = status.kind === 'failed' ? 'created' : 'exited';
      Object.assign(container, outcome(status));
    }
    this.cache.add(container);
    return container;
  }

  /** A VM that runs though this endpoint did not start it: before a restart of the endpoint, or by an admin. */
  private async adopt(container: Container, vm: ObservedVm): Promise<void> {
    const run = runRecord(vm.keys);
    container.state = 'running';
    container.startedAt = run === null ? new Date() : new Date(run.startedAt);
    container.endpoints = run?.endpoints ?? [];
    try {
      this.networks.claim(container.endpoints);
    } catch (error) {
      log.error(
        { container: container.id, err: messageOf(error) },
        'a running container has an address that is in use',
      );
    }
    const channel = new ContainerChannel(channelPath(this.config, container.id));
    container.channel = channel;
    channel.release();
    await channel
      .listen()
      .catch((error: unknown) =>
        log.error({ container: container.id, err: messageOf(error) }, 'no channel to a running container'),
      );
    log.info({ container: container.id, name: container.spec.name }, 'found a running container');
    this.emit({ type: 'started', container: container.info(), time: new Date() });
  }

  /** The VM is powered off. */
  private ended(container: Container, status: RunStatus): void {
    const wasRunning = container.running;
    void container.channel?.close();
    container.channel = null;
    this.networks.release(container.endpoints);
    container.endpoints = [];
    container.pid = 0;
    if (container.state === 'starting' || !wasRunning) {
      // `start` waits for this and reports it.
      if (status.kind === 'failed') container.failure = new StartError(status.code, `${START_PREFIX}${status.message}`);
      container.emit('exited', { exitCode: container.exitCode, oomKilled: false, error: '' });
      return;
    }
    Object.assign(container, outcome(status));
    container.state = 'exited';
    log.info({ container: container.id, exitCode: container.exitCode }, 'container exited');
    this.emit({
      type: 'exited',
      container: container.info(),
      exitCode: container.exitCode,
      time: container.finishedAt ?? new Date(),
    });
    container.emit('exited', container.exitStatus());
    if (container.spec.autoRemove) this.removeLater(container);
  }

  private removeLater(container: Container): void {
    void this.remove(container.id, { force: true }).catch((error: unknown) =>
      log.error({ container: container.id, err: messageOf(error) }, 'automatic removal failed'),
    );
  }

  private emit(event: ContainerEvent): void {
    this.events.emit('event', event);
  }

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
    try {
      this.networks.check(spec);
      const parent = await this.layers.diskOf(spec.layer);
      const release = this.layers.use(spec.layer);
      try {
        const vm = (await this.client.runTask(
          'CreateVM_Task',
          this.config.folder,
          { config: containerVmSpec(this.config, spec, parent), pool: this.config.resourcePool },
          { signal },
        )) as ManagedObjectReference;
        const [object] = await this.client.retrieve([vm], 'VirtualMachine', [
          'config.hardware',
          'config.uuid',
          'config.changeVersion',
        ]);
        const known = this.cache.get(spec.id);
        const container = known ?? new Container(spec, vm, String(object?.props['config.uuid'] ?? ''));
        container.changeVersion ??= String(object?.props['config.changeVersion'] ?? '');
        const devices = object?.props['config.hardware']?.device ?? [];
        container.mac =
          devices.flatMap((device) =>
            'macAddress' in device && device.macAddress !== undefined ? [device.macAddress] : [],
          )[0] ?? null;
        if (known === undefined) this.cache.add(container);
        this.emit({ type: 'created', container: container.info(), time: new Date() });
        return container.info();
      } finally {
        release();
      }
    } finally {
      giveBack();
    }
  }

  // --- start ---------------------------------------------------------------------------------------------------------

  start(id: string, prepare?: () => Promise<Record<string, string>>): Promise<void> {
    const container = this.cache.resolve(id);
    return container.exclusive(async () => {
      if (container.running || container.state === 'starting')
        throw notModified(`container ${container.id} is already running`);
      if (container.state === 'removing') throw conflict(`container is marked for removal and cannot be started`);
      const before = container.state;
      container.become('starting');
      try {
        await this.run(container, (await prepare?.()) ?? {});
      } catch (error) {
        await this.startFailed(container, before, error);
        throw error;
      }
    });
  }

  private async run(container: Container, annotations: Record<string, string>): Promise<void> {
    const spec = { ...container.spec, annotations: { ...container.spec.annotations, ...annotations } };
    container.spec = spec;
    container.failure = null;
    container.endpoints = this.networks.bind(spec, container.mac ?? (await this.readMac(container)));
    const channel = container.channel ?? new ContainerChannel(channelPath(this.config, container.id));
    container.channel = channel;
    channel.release();
    await channel.listen();
    const started = this.awaitStart(container, channel);
    started.catch(() => undefined);
    const program = compileProgram(programSpec(spec, container.endpoints)).toString('base64');
    const startedAt = new Date();
    const run: RunRecord = { startedAt: startedAt.toISOString(), endpoints: container.endpoints };
    await change(this.client, container.vm, container.changeVersion, (handle) => {
      if (Object.keys(annotations).length > 0) handle.key(SPEC_KEY, JSON.stringify(spec));
      handle.key(PROGRAM_KEY, program).key(RUN_KEY, JSON.stringify(run)).powerOn();
    });
    const pid = await started;
    container.pid = pid;
    container.startedAt = new Date();
    container.error = '';
    container.exitCode = 0;
    container.oomKilled = false;
    container.finishedAt = null;
    container.become('running');
    this.emit({ type: 'started', container: container.info(), time: container.startedAt });
    // It may have ended before this point was reached, and before the watcher told that it ran.
    if (!container.poweredOn) {
      container.poweredOn = true;
      await this.recheck(container);
    }
  }

  /** The power state may have been told before the container was taken for running: look again. */
  private async recheck(container: Container): Promise<void> {
    const [object] = await this.client.retrieve([container.vm], 'VirtualMachine', [
      'runtime.powerState',
      'config.extraConfig',
    ]);
    if (object === undefined || object.props['runtime.powerState'] === 'poweredOn' || !container.poweredOn) return;
    const keys = new Map(
      (object.props['config.extraConfig'] ?? []).map((option) => [option.key, String(option.value ?? '')]),
    );
    container.poweredOn = false;
    this.ended(container, parseRunStatus(keys.get(STATUS_KEY)));
  }

  /** Resolves with the process id when the process runs. */
  private awaitStart(container: Container, channel: ContainerChannel): Promise<number> {
    return new Promise((resolve, reject) => {
      const finish = (act: () => void): void => {
        clearTimeout(timer);
        channel.off('started', onStarted);
        channel.off('failed', onFailed);
        container.off('exited', onExited);
        act();
      };
      const onStarted = (session: number, pid: number): void => {
        if (session === 0) finish(() => resolve(pid));
      };
      const onFailed = (session: number, code: number, message: string): void => {
        if (session === 0) finish(() => reject(new StartError(code, `${START_PREFIX}${message}`)));
      };
      const onExited = (): void =>
        finish(() => reject(container.failure ?? internal('container VM has unexpectedly powered off')));
      const timer = setTimeout(
        () => finish(() => reject(timeout('the container VM does not start its process in time'))),
        START_MS,
      );
      channel.on('started', onStarted);
      channel.on('failed', onFailed);
      container.on('exited', onExited);
    });
  }

  private async startFailed(container: Container, before: Container['state'], error: unknown): Promise<void> {
    if (error instanceof StartError) {
      // The VM reports, unmounts and powers off by itself; give it the time.
      for (let waited = 0; waited < KILL_MS && container.poweredOn; waited += 20) await sleep(20);
      container.exitCode = error.exitCode;
    }
    await this.client.runTask('PowerOffVM_Task', container.vm, {}).catch((failure: unknown) => {
      if (!isKind(failure, 'conflict') && !isKind(failure, 'notFound'))
        log.error({ container: container.id, err: messageOf(failure) }, 'powering off after a failed start failed');
    });
    await container.channel?.close();
    container.channel = null;
    this.networks.release(container.endpoints);
    container.endpoints = [];
    container.error = messageOf(error);
    container.state = before;
    if (!(error instanceof StartError)) container.exitCode = 128;
    this.emit({ type: 'startFailed', container: container.info(), error: container.error, time: new Date() });
    container.emit('exited', container.exitStatus());
    if (container.spec.autoRemove) this.removeLater(container);
  }

  private async readMac(container: Container): Promise<string> {
    const [object] = await this.client.retrieve([container.vm], 'VirtualMachine', ['config.hardware']);
    const devices = object?.props['config.hardware']?.device ?? [];
    container.mac =
      devices.flatMap((device) =>
        'macAddress' in device && device.macAddress !== undefined ? [device.macAddress] : [],
      )[0] ?? '';
    return container.mac;
  }

  // --- stop ----------------------------------------------------------------------------------------------------------

  async stop(id: string, options: { signal?: number; timeoutSeconds?: number }): Promise<void> {
    const container = this.cache.resolve(id);
    if (!container.running) throw notModified(`container ${container.id} is not running`);
    container.become('stopping');
    const exit = this.nextExit(container);
    const seconds = options.timeoutSeconds ?? container.spec.stopTimeoutSeconds;
    await container.channel
      ?.signal(0, options.signal ?? container.spec.stopSignal)
      .catch((error: unknown) =>
        log.warn({ container: container.id, err: messageOf(error) }, 'the stop signal could not be delivered'),
      );
    if (seconds < 0) {
      await exit;
      return;
    }
    if (!(await within(exit, seconds * 1000))) await this.killHard(container, exit);
  }

  async kill(id: string, signal: number): Promise<void> {
    const container = this.cache.resolve(id);
    if (!container.running) throw conflict(`container ${container.id} is not running`);
    if (signal === SIGKILL) {
      await this.killHard(container, this.nextExit(container));
      return;
    }
    if (container.channel === null) throw conflict(`container ${container.id} is not running`);
    await container.channel.signal(0, signal);
  }

  /** SIGKILL in the guest, so that its output is kept; a VM that does not obey is powered off. */
  private async killHard(container: Container, exit: Promise<unknown>): Promise<void> {
    await container.channel?.signal(0, SIGKILL).catch(() => undefined);
    if (await within(exit, KILL_MS)) return;
    log.warn({ container: container.id }, 'the VM does not end and is powered off');
    await this.client.runTask('PowerOffVM_Task', container.vm, {}).catch((error: unknown) => {
      if (!isKind(error, 'conflict')) throw error;
    });
    await exit;
  }

  private nextExit(container: Container): Promise<ExitStatus> {
    return new Promise((resolve) => container.once('exited', resolve));
  }

  async restart(id: string, options: { signal?: number; timeoutSeconds?: number }): Promise<void> {
    const container = this.cache.resolve(id);
    if (container.running) await this.stop(container.id, options);
    await this.start(container.id);
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
      signal?.addEventListener('abort', onAbort);
    });
  }

  // --- remove and change ---------------------------------------------------------------------------------------------

  async remove(id: string, options: { force: boolean }): Promise<void> {
    const container = this.cache.resolve(id);
    if (container.state === 'removing') throw conflict(`removal of container ${container.id} is already in progress`);
    if ((container.running || container.state === 'starting') && !options.force) {
      throw conflict(
        `cannot remove container "/${container.spec.name}": container is running: stop the container before removing or force remove`,
      );
    }
    if (container.running) await this.killHard(container, this.nextExit(container));
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
      this.forget(container);
    });
  }

  private forget(container: Container): void {
    if (this.cache.get(container.id) !== container) return;
    this.cache.delete(container.id);
    container.state = 'removing';
    this.emit({ type: 'removed', container: container.info(), time: new Date() });
    container.emit('removed');
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

  annotate(id: string, annotations: Record<string, string>): Promise<void> {
    const container = this.cache.resolve(id);
    return container.exclusive(() =>
      this.saveSpec(container, { ...container.spec, annotations: { ...container.spec.annotations, ...annotations } }),
    );
  }

  private async saveSpec(container: Container, spec: ContainerSpec, name?: string): Promise<void> {
    await change(this.client, container.vm, container.changeVersion, (handle) => {
      handle.key(SPEC_KEY, JSON.stringify(spec));
      if (name !== undefined) handle.name(name);
    });
    container.spec = spec;
  }

  /** Lets go of all channels; containers go on running. */
  async close(): Promise<void> {
    await Promise.all(this.cache.all().map((container) => container.channel?.close()));
  }
}

function runRecord(keys: ReadonlyMap<string, string>): RunRecord | null {
  const text = keys.get(RUN_KEY);
  return text === undefined ? null : (JSON.parse(text) as RunRecord);
}

/** How a run ended, from what the guest could still say. A VM that was killed says nothing: 137, as for SIGKILL. */
function outcome(status: RunStatus): { exitCode: number; oomKilled: boolean; error: string; finishedAt: Date } {
  switch (status.kind) {
    case 'exited':
      return { exitCode: status.code, oomKilled: status.oomKilled, error: '', finishedAt: status.at };
    case 'failed':
      return {
        exitCode: status.code,
        oomKilled: false,
        error: `${START_PREFIX}${status.message}`,
        finishedAt: new Date(),
      };
    default:
      return { exitCode: 137, oomKilled: false, error: '', finishedAt: new Date() };
  }
}

/** True when the promise settles in time. */
async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const timer = new AbortController();
  try {
    return await Promise.race([promise.then(() => true), sleep(ms, false, { signal: timer.signal })]);
  } finally {
    timer.abort();
  }
}
