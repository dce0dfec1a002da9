/**
 * A port layer for tests of its users: containers are child processes of the test (`fake-process.ts`), everything else
 * is kept in memory. It fulfils the contract in `port-layer`.
 */
import { EventEmitter, once } from 'node:events';
import { Readable } from 'node:stream';
import { errorRecord, exitCodeOf, PortLayerError } from '../../port-layer/errors.js';
import type {
  AttachedStreams,
  AttachOptions,
  ContainerEvent,
  ContainerInfo,
  ContainerSpec,
  ExecInfo,
  ExecService,
  ExitStatus,
  HostInfo,
  InteractionService,
  KeyValueStore,
  LayerStore,
  LogOptions,
  NetworkEndpoint,
  NetworkWish,
  OutputChunk,
  PortLayer,
  Preparation,
  ResourceUpdate,
  VolumeArchiveStore,
  VolumeBackupStore,
  WaitCondition,
} from '../../port-layer/index.js';
import { StorageReserve, storageLimits } from '../../port-layer/storage/storage-reserve.js';

import { cancelled, internal } from '../../src/common/errors.js';
import { newId } from '../../src/common/ids.js';
import type { ProcessSpec } from '../../tether/program/spec.js';
import { FakeFiles } from './fake-files.js';
import { FakeNetworks } from './fake-networks.js';
import { FakeObserve } from './fake-observe.js';
import { FakeProcess, NotStarted, waitingStdin } from './fake-process.js';
import { FakeVolumeLife, FakeVolumes } from './fake-volumes.js';

/** Exit code of an exec that was not started for a reason other than its program. */
const NOT_STARTED = 128;

/** A container of the fake. */
class FakeContainer extends EventEmitter<{ started: [FakeProcess]; exited: [ExitStatus]; removed: [] }> {
  info: ContainerInfo;
  process: FakeProcess | null = null;
  /** Attached before the start. */
  readonly early = new Set<Readable>();
  readonly pastRuns: OutputChunk[] = [];

  constructor(spec: ContainerSpec, number: number) {
    super();
    this.setMaxListeners(0);
    this.info = {
      spec,
      state: 'created',
      startedAt: null,
      finishedAt: null,
      exitCode: 0,
      error: null,
      oomKilled: false,
      paused: false,
      pid: 0,
      endpoints: [],
      vm: { moid: `vm-${number}`, uuid: spec.id.slice(0, 32) },
    };
  }

  get running(): boolean {
    return this.info.state === 'running' || this.info.state === 'stopping';
  }

  get log(): OutputChunk[] {
    return [...this.pastRuns, ...(this.process?.log ?? [])];
  }
}

class FakeExecService implements ExecService {
  readonly containers = new Map<string, FakeContainer>();
  readonly events = new EventEmitter<{ event: [ContainerEvent] }>().setMaxListeners(0);
  /** The next start fails with this. */
  failStart: Error | null = null;
  /** The real address of containers' ports: the process runs on the machine itself. */
  address = '127.0.0.1';
  /** Gives a container its place on a network. */
  join = (_wish: NetworkWish, _address: string): NetworkEndpoint => {
    throw internal('the fake has no networks');
  };
  private count = 0;

  container(reference: string): FakeContainer {
    const name = reference.replace(/^\//, '');
    const all = [...this.containers.values()];
    const exact = this.containers.get(name) ?? all.find(({ info }) => info.spec.name === name);
    if (exact !== undefined) return exact;
    const matching = all.filter(({ info }) => name !== '' && info.spec.id.startsWith(name));
    if (matching.length > 1) throw new PortLayerError('container.ambiguous', { prefix: name });
    if (matching.length === 0) throw new PortLayerError('container.notFound', { reference });
    return matching[0]!;
  }

  private emit(
    type: 'created' | 'starting' | 'started' | 'paused' | 'unpaused' | 'removed',
    container: FakeContainer,
  ): void {
    this.events.emit('event', { type, container: { ...container.info }, time: new Date() });
  }

  async create(spec: ContainerSpec): Promise<ContainerInfo> {
    this.checkName(spec.name);
    const container = new FakeContainer(spec, ++this.count);
    this.containers.set(spec.id, container);
    this.emit('created', container);
    return { ...container.info };
  }

  private checkName(name: string): void {
    const holder = [...this.containers.values()].find(({ info }) => info.spec.name === name);
    if (holder !== undefined) throw new PortLayerError('container.nameTaken', { name, holder: holder.info.spec.id });
  }

  resolve(reference: string): ContainerInfo {
    return { ...this.container(reference).info };
  }

  list(): ContainerInfo[] {
    return [...this.containers.values()].map(({ info }) => ({ ...info }));
  }

  async start(id: string, prepare?: () => Promise<Preparation>): Promise<void> {
    const container = this.container(id);
    const { info } = container;
    if (container.running) throw new PortLayerError('container.alreadyRunning', { container: info.spec.id });
    const before = info.state;
    info.state = 'starting';
    try {
      await this.annotate(id, (await prepare?.())?.annotations ?? {});
      this.emit('starting', container);
      if (this.failStart !== null) throw this.failStart;
      if (container.process !== null) container.pastRuns.push(...container.process.log);
      container.process = new FakeProcess(info.spec.process);
    } catch (thrown) {
      const error = notStarted(thrown, 'container');
      this.failStart = null;
      Object.assign(info, {
        state: before,
        error: errorRecord(error),
        exitCode: exitCodeOf(error),
      });
      this.events.emit('event', {
        type: 'startFailed',
        container: { ...info },
        time: new Date(),
      });
      for (const reader of container.early) reader.push(null);
      container.early.clear();
      container.emit('exited', this.status(container));
      if (info.spec.autoRemove) void this.remove(info.spec.id, { force: true });
      throw error;
    }
    const process = container.process;
    process.adopt(container.early);
    container.early.clear();
    Object.assign(info, {
      state: 'running',
      pid: process.pid,
      startedAt: new Date(),
      finishedAt: null,
      exitCode: 0,
      error: null,
      endpoints: info.spec.networks.map((wish) => this.join(wish, this.address)),
    });
    this.emit('started', container);
    container.emit('started', process);
    void process.over.then((code) => this.ended(container, code));
  }

  private ended(container: FakeContainer, exitCode: number): void {
    const { info } = container;
    Object.assign(info, { state: 'exited', exitCode, pid: 0, finishedAt: new Date(), endpoints: [] });
    this.events.emit('event', { type: 'exited', container: { ...info }, exitCode, time: new Date() });
    container.emit('exited', this.status(container));
    if (info.spec.autoRemove && this.containers.has(info.spec.id)) void this.remove(info.spec.id, { force: true });
  }

  private status(container: FakeContainer): ExitStatus {
    return { exitCode: container.info.exitCode, oomKilled: false, error: container.info.error };
  }

  async stop(id: string, options: { signal?: number; timeoutSeconds?: number }): Promise<void> {
    const container = this.container(id);
    if (!container.running) throw new PortLayerError('container.alreadyStopped', { container: container.info.spec.id });
    const exit = once(container, 'exited');
    container.process!.signal(options.signal ?? container.info.spec.stopSignal);
    this.wake(container);
    const seconds = options.timeoutSeconds ?? container.info.spec.stopTimeoutSeconds;
    const timer = seconds < 0 ? undefined : setTimeout(() => container.process!.signal(9), seconds * 1000);
    await exit;
    clearTimeout(timer);
  }

  async kill(id: string, signal: number): Promise<void> {
    const container = this.container(id);
    if (!container.running) throw new PortLayerError('container.notRunning', { container: container.info.spec.id });
    const exit = once(container, 'exited');
    container.process!.signal(signal);
    if (signal === 9) this.wake(container);
    if (signal === 9) await exit;
  }

  async pause(id: string): Promise<void> {
    const container = this.container(id);
    const { info } = container;
    if (!container.running) throw new PortLayerError('container.notRunning', { container: info.spec.id });
    if (info.paused) throw new PortLayerError('container.alreadyPaused', { container: info.spec.id });
    container.process!.signal(19);
    info.paused = true;
    this.emit('paused', container);
  }

  async unpause(id: string): Promise<void> {
    const container = this.container(id);
    const { info } = container;
    if (!info.paused) throw new PortLayerError('container.notPaused', { container: info.spec.id });
    this.wake(container);
  }

  private wake(container: FakeContainer): void {
    if (!container.info.paused) return;
    container.process!.signal(18);
    container.info.paused = false;
    this.emit('unpaused', container);
  }

  wait(id: string, condition: WaitCondition, signal?: AbortSignal): Promise<ExitStatus> {
    const container = this.container(id);
    if (condition === 'not-running' && !container.running) return Promise.resolve(this.status(container));
    return new Promise((resolve, reject) => {
      if (condition !== 'removed') container.once('exited', resolve);
      container.once('removed', () => resolve(this.status(container)));
      signal?.addEventListener('abort', () => reject(cancelled('the wait was cancelled')));
    });
  }

  async remove(id: string, options: { force: boolean }): Promise<void> {
    const container = this.container(id);
    const { spec } = container.info;
    if (container.running && !options.force)
      throw new PortLayerError('container.stillRunning', { container: spec.id, name: spec.name });
    if (container.running) await this.kill(spec.id, 9);
    if (!this.containers.delete(spec.id)) return;
    this.emit('removed', container);
    container.emit('removed');
  }

  async rename(id: string, name: string): Promise<void> {
    this.checkName(name);
    const { info } = this.container(id);
    info.spec = { ...info.spec, name };
  }

  async update(id: string, { annotations, ...update }: ResourceUpdate): Promise<{ cpus: number; memoryMiB: number }> {
    const { info, running } = this.container(id);
    const { cpus, memoryMiB } = info.spec;
    info.spec = { ...info.spec, ...update, annotations: { ...info.spec.annotations, ...annotations } };
    return running ? { cpus, memoryMiB } : update;
  }

  async annotate(id: string, annotations: Record<string, string>): Promise<void> {
    const { info } = this.container(id);
    info.spec = { ...info.spec, annotations: { ...info.spec.annotations, ...annotations } };
  }
}

class FakeInteraction implements InteractionService {
  /** Terminal sizes set so far, by container or exec id. */
  readonly sizes: { id: string; rows: number; cols: number }[] = [];
  private readonly execs = new Map<string, { info: ExecInfo; process: FakeProcess | null }>();

  constructor(private readonly service: FakeExecService) {}

  async attach(id: string, options: AttachOptions): Promise<AttachedStreams> {
    const container = this.service.container(id);
    let output: Readable;
    if (container.running) {
      output = container.process!.attach(options.logs ? container.log : [], options.stream);
    } else if (!options.stream) {
      output = Readable.from(options.logs ? container.log : []);
    } else {
      output = new Readable({ objectMode: true, read: () => undefined });
      container.early.add(output);
    }
    const started = container.running
      ? Promise.resolve(container.process!)
      : new Promise<FakeProcess>((resolve) => container.once('started', resolve));
    const open = options.stdin && options.stream && container.info.spec.process.openStdin;
    return {
      output,
      stdin: open ? waitingStdin(started.then((process) => process.stdin)) : null,
      close: () => void output.destroy(),
    };
  }

  async resize(id: string, size: { rows: number; cols: number }): Promise<void> {
    const container = this.service.container(id);
    if (!container.running) throw new PortLayerError('container.notRunning', { container: container.info.spec.id });
    this.sizes.push({ id: container.info.spec.id, ...size });
  }

  async logs(id: string, options: LogOptions): Promise<Readable> {
    const container = this.service.container(id);
    const wanted = ({ stream, timeNs }: OutputChunk): boolean =>
      (stream === 'stdout' ? options.stdout : options.stderr) &&
      timeNs >= (options.sinceNs ?? 0n) &&
      timeNs <= (options.untilNs ?? 1n << 63n);
    const stored = container.log.flatMap(lines);
    const last = (
      options.tail === undefined ? stored : stored.slice(stored.length - Math.min(options.tail, stored.length))
    ).filter(wanted);
    if (!options.follow || !container.running) return Readable.from([last]);
    const live = container.process!.attach(last);
    return Readable.from(
      (async function* () {
        for await (const chunk of live) yield lines(chunk as OutputChunk).filter(wanted);
      })(),
    );
  }

  async checkUser(_containerId: string, user: string): Promise<void> {
    if (user === 'nosuch')
      throw new PortLayerError('process.unknownUser', {
        of: 'exec',
        exitCode: 126,
        reason: 'unable to find user nosuch: no matching entries in passwd file',
      });
  }

  async execCreate(containerId: string, process: ProcessSpec, streams: ExecInfo['openedStreams']): Promise<ExecInfo> {
    const container = this.service.container(containerId);
    if (!container.running) throw new PortLayerError('container.notRunning', { container: container.info.spec.id });
    if (process.args.length === 0) throw new PortLayerError('exec.noCommand', {});
    const info: ExecInfo = {
      id: newId(),
      containerId: container.info.spec.id,
      process,
      running: false,
      exitCode: null,
      pid: 0,
      openedStreams: streams,
    };
    this.execs.set(info.id, { info, process: null });
    return { ...info };
  }

  private known(id: string): { info: ExecInfo; process: FakeProcess | null } {
    const exec = this.execs.get(id);
    if (exec === undefined) throw new PortLayerError('exec.notFound', { exec: id });
    return exec;
  }

  async execStart(id: string, options: { detach: boolean }): Promise<AttachedStreams | null> {
    const exec = this.known(id);
    if (exec.process !== null || exec.info.exitCode !== null)
      throw new PortLayerError(exec.info.exitCode === null ? 'exec.alreadyRunning' : 'exec.alreadyRun', { exec: id });
    const { cwd } = exec.info.process;
    if (cwd !== '' && !cwd.startsWith('/')) {
      exec.info.exitCode = NOT_STARTED;
      throw new PortLayerError('exec.relativeDirectory', { of: 'exec', exitCode: NOT_STARTED, directory: cwd });
    }
    let process: FakeProcess;
    try {
      process = new FakeProcess(exec.info.process);
    } catch (error) {
      const failure = notStarted(error, 'exec');
      exec.info.exitCode = exitCodeOf(failure);
      throw failure;
    }
    exec.process = process;
    Object.assign(exec.info, { running: true, pid: process.pid });
    void process.over.then((exitCode) => Object.assign(exec.info, { running: false, exitCode, pid: 0 }));
    if (options.detach) return null;
    const output = process.attach();
    return { output, stdin: exec.info.openedStreams.stdin ? process.stdin : null, close: () => void output.destroy() };
  }

  async execResize(id: string, size: { rows: number; cols: number }): Promise<void> {
    if (this.known(id).info.exitCode !== null) throw new PortLayerError('exec.ended', { exec: id });
    this.sizes.push({ id, ...size });
  }

  async execKill(id: string, signal: number): Promise<void> {
    this.known(id).process?.signal(signal);
  }

  async execWait(id: string): Promise<number> {
    const { process } = this.known(id);
    if (process === null) throw new PortLayerError('exec.notStarted', { exec: id });
    return process.over;
  }

  execInspect(id: string): ExecInfo {
    return { ...this.known(id).info };
  }

  execIds(containerId: string): string[] {
    return [...this.execs.values()]
      .filter(({ info }) => info.containerId === containerId && info.exitCode === null)
      .map(({ info }) => info.id);
  }

  killAll(): void {
    for (const { process } of this.execs.values()) process?.signal(9);
  }
}

/** The port layer's error for the guest's reason not to start a process. */
function notStarted(thrown: unknown, of: 'container' | 'exec'): Error {
  if (!(thrown instanceof NotStarted)) return thrown as Error;
  const { exitCode, reason } = thrown;
  return new PortLayerError('process.notStarted', { of, exitCode, reason });
}

/** A chunk's lines. */
function lines(chunk: OutputChunk): OutputChunk[] {
  return (chunk.data.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? []).map((line) => ({
    ...chunk,
    data: Buffer.from(line, 'latin1'),
  }));
}

/** The whole port layer. `close` kills everything that still runs. */
export class FakePortLayer implements PortLayer {
  readonly exec = new FakeExecService();
  readonly interaction = new FakeInteraction(this.exec);
  readonly observe = new FakeObserve(this.exec);
  readonly files = new FakeFiles();
  readonly network = new FakeNetworks(this.exec);
  readonly volumes = new FakeVolumes((name) =>
    this.exec.list().some(({ spec }) => (spec.volumes ?? []).some(({ volume }) => volume === name)),
  );
  readonly volumeLife = new FakeVolumeLife(this.volumes);
  readonly volumeArchives: VolumeArchiveStore = {
    export: async () => Readable.from([Buffer.from('archive')]),
    import: async (volume, archive) => {
      for await (const _piece of archive);
      return this.volumes.create(volume);
    },
  };
  readonly volumeBackups: VolumeBackupStore = {
    async *read(volumes) {
      const all = { capacityBytes: 2 ** 30, unitBytes: 2 ** 20, base: null, mark: null };
      for (const { volume } of volumes) {
        yield { type: 'volume', volume, ...all };
        yield { type: 'unit', unit: 0, data: Buffer.alloc(2 ** 20, 1) };
        yield { type: 'volumeEnd', volume };
      }
    },
  };
  readonly stored = new Map<string, Buffer>();
  room = new StorageReserve({}, storageLimits());
  readonly kv: KeyValueStore = {
    get: async (key) => this.stored.get(key),
    put: async (key, value) => void this.stored.set(key, value),
    delete: async (key) => void this.stored.delete(key),
    keys: async () => [...this.stored.keys()],
  };

  get layers(): LayerStore {
    throw internal('the fake keeps no layers');
  }

  hostInfo(): Promise<HostInfo> {
    return Promise.resolve({
      cpus: 2,
      memoryBytes: 4 * 2 ** 30,
      product: 'Test host',
      version: '1.0',
      kernelVersion: '6.1.0',
      hostName: 'test',
      acceleration: 'kvm: it works here',
      api: 'HostAgent',
      cage: 'user seccomp mount pid',
      emulator: 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18)',
      containerKernel: '6.1.0-50-cloud-amd64',
      lacks: [],
    });
  }

  onEvent(listener: (event: ContainerEvent) => void): () => void {
    this.exec.events.on('event', listener);
    return () => this.exec.events.off('event', listener);
  }

  async close(): Promise<void> {
    this.interaction.killAll();
    for (const container of this.exec.containers.values()) {
      container.info.spec = { ...container.info.spec, autoRemove: false };
      container.process?.signal(9);
      await container.process?.over;
    }
  }
}
