/**
 * Runs container VMs as QEMU processes: unprivileged, sandboxed, in the switch's network namespace, and detached from hostd, which finds
 * them again after a restart.
 *
 * Relies on: the boot image, the virtual switch, `nsenter` and QEMU on the machine. Never: touches a VM's disks while it runs,
 * trusts a process id alone, or leaves a process, tap or socket of a VM that did not start.
 */
import { existsSync } from 'node:fs';
import { chmod, chown, type FileHandle, mkdir, open, readdir, readFile, rm } from 'node:fs/promises';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { cancelled, insufficientResources, internal, invalid, isKind, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { BootImage, InstancePaths } from '../../common/paths.js';
import {
  ended,
  findProcess,
  findProcesses,
  identityOf,
  isRunning,
  type ProcessIdentity,
  signal,
  usage,
} from '../../common/process-id.js';
import { Semaphore } from '../../common/semaphore.js';
import { span } from '../../common/trace.js';
import { within } from '../../common/within.js';
import { writeWhole } from '../../common/write-whole.js';
import { admit, STARTING_VM_MIB } from '../admission.js';
import { datastorePlaces } from '../datastore/datastore-places.js';
import { recordDisks } from '../disks/disk-records.js';
import { OpenDisks } from '../disks/open-disks.js';
import { HeldHooks } from '../held-hooks.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { BootSnapshot, BootSnapshots } from './boot-snapshots.js';
import type { Cages } from './cage.js';
import { connectsBelow, type LaunchQemu, qemuLauncher } from './caged-qemu.js';
import type { QemuDialect } from './capabilities.js';
import { ChannelWatch } from './channel-watch.js';
import { type Acceleration, processName, qemuArguments } from './command-line.js';
import { DescriptorSender } from './descriptor-sender.js';
import { checkReadOnly, Inherited, putDisks, startFiles } from './given-files.js';
import type { QemuHost } from './hot-device.js';
import { BadSnapshot, loadState, onSnapshot } from './load-state.js';
import { lastWords, QemuVm, removeRunFiles, saidWhy, type VmFiles, type VmProcess } from './qemu-vm.js';
import { complaints, ownComplaints } from './qemu-words.js';
import { Qmp } from './qmp.js';
import { connectForeignPorts } from './serial-ports.js';
import { SnapshotBuilder } from './snapshot-builder.js';
import type { SnapshotFile } from './snapshot-files.js';
import { SnapshotService } from './snapshot-service.js';
import { lastSpare, removeStaleSpares, type SpareMaker, SpareVm } from './spare-vm.js';
import { readUsualShape, writeUsualShape } from './usual-shape.js';
import { freeMemoryMiB, WarmPool } from './warm-pool.js';

const log = logger('qemu');
/** Longest wait for QEMU's monitor. On an idle machine it answers within 0.05 s. */
const MONITOR_MS = 20_000;
const KILL_MS = 5000;
/** A start spends about half of its time waiting for QEMU and the guest, so twice as many as CPUs keep the machine busy. */
const STARTS_AT_ONCE = Math.max(4, 2 * cpus().length);
/** A resumed VM asks for its program within 0.1 s on an idle machine. */
const RESUME_MS = 30_000;
/** A VM younger than this has not yet taken all the memory it boots with. */
const YOUNG_MS = 10_000;

/** Runs VMs in QEMU. */
export class QemuRuntime implements VmRuntime {
  private readonly snapshots: SnapshotService | null;
  private readonly launchQemu: LaunchQemu;
  private readonly pool: WarmPool<SpareVm>;
  private readonly sender = new DescriptorSender();
  private readonly host: QemuHost;
  private readonly spareMaker: SpareMaker;
  private readonly usualShapeFile: string;
  private spares = 0;
  /** Limits concurrent starts: with more at once each would take longer and none would be ready sooner. The others wait in order. */
  private readonly starts = new Semaphore(STARTS_AT_ONCE);
  private starting = 0;
  /** A QEMU resumed by this host was checked: it has the snapshot's memory open read-only. */
  private memoryChecked = false;
  /** When recently started VMs started, by process id. */
  private readonly young = new Map<number, number>();

  constructor(
    private readonly paths: InstancePaths,
    private readonly boot: BootImage,
    private readonly acceleration: Acceleration,
    private readonly dialect: QemuDialect,
    private readonly virtualSwitch: VirtualSwitch,
    private readonly cages: Cages,
    /** Null: no snapshots, every VM boots. */
    snapshots: BootSnapshots | null = null,
    /** How many resumed VMs are kept ready to be powered on. */
    warmPool = 0,
  ) {
    this.launchQemu = qemuLauncher(cages, { boot, acceleration, netns: virtualSwitch.path, runDir: paths.runDir });
    this.snapshots =
      snapshots === null
        ? null
        : new SnapshotService(
            snapshots,
            new SnapshotBuilder(boot, acceleration, dialect, virtualSwitch, this.launchQemu, cages.groups, this.sender),
            () => this.pool.fill(),
          );
    this.host = {
      sender: this.sender,
      watch: new ChannelWatch(),
      runDir: paths.runDir,
      virtualSwitch,
      datastores: datastorePlaces(paths),
    };
    this.usualShapeFile = join(paths.stateDir, 'usual-shape.json');
    this.spareMaker = {
      runDirectory: join(paths.runDir, 'pool'),
      directory: join(paths.stateDir, 'pool'),
      virtualSwitch,
      host: this.host,
      dialect,
      commandLine: (vm, { memory, ...devices }) =>
        qemuArguments(vm, { acceleration, dialect, boot, ...devices, snapshot: { use: 'spare', memory } }),
      launch: this.launchQemu,
      groups: cages.groups,
    };
    this.pool = new WarmPool<SpareVm>(snapshots === null ? 0 : warmPool, {
      snapshot: (key) => this.snapshots?.have(key) ?? Promise.resolve(null),
      make: async (shape, snapshot, gone) => {
        this.sender.prepare();
        return SpareVm.make(this.spareMaker, ++this.spares, shape, snapshot, gone);
      },
      busy: () => this.starting > 0,
      freeMiB: () => freeMemoryMiB(this.promisedMiB()),
    });
  }

  /** Ends leftovers of an earlier runtime that belong to no VM. Call it before any VM is powered on or adopted. */
  async open(): Promise<void> {
    const given = await this.givenProcesses();
    this.sender.prepare();
    const left = findProcesses(processName({ qmp: `${this.spareMaker.runDirectory}/` })).filter(
      ({ pid }) => !given.has(pid),
    );
    this.spares = lastSpare(this.spareMaker, given);
    await removeStaleSpares(this.spareMaker, left);
    await this.cages.groups.sweep();
    const usual = await readUsualShape(this.usualShapeFile);
    const key = usual === null ? undefined : this.snapshots?.keyOf(usual);
    if (usual === null || key === undefined) return;
    this.pool.note(key, usual);
    this.pool.fill();
  }

  async powerOn(vm: VmDefinition, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    const start = async (): Promise<RunningVm> => {
      await this.admit(vm);
      this.starting++;
      try {
        return await this.start(vm, hooks, abort);
      } finally {
        this.starting--;
        if (this.starts.available) this.pool.fill();
      }
    };
    return this.starts.run(start, abort).catch((error: unknown) => {
      // Cancelled while it waited for its turn.
      if (abort?.aborted && error === abort.reason) throw cancelled(`starting VM ${vm.name} was cancelled`, error);
      throw error;
    });
  }

  private async admit(vm: VmDefinition): Promise<void> {
    try {
      admit(vm, this.promisedMiB());
    } catch (error) {
      // Spare VMs, which wait for nobody in particular, give way.
      if (!isKind(error, 'insufficientResources') || !(await this.pool.giveUp())) throw error;
      admit(vm, this.promisedMiB());
    }
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    // For VMs created before disks were recorded.
    await recordDisks(vm.disks.map(({ path }) => path));
    const files = await this.files(vm);
    const identity = await runningProcess(files);
    if (identity !== null) {
      try {
        const qmp = await Qmp.connect(files.qmp, () => isRunning(identity), MONITOR_MS);
        await this.virtualSwitch.adopt(vm.moid, vm.nics);
        const since = identity.poweredOn === undefined ? undefined : new Date(identity.poweredOn);
        const cleanUp = this.cleanUp(vm.moid, await this.cages.groups.adopt(identity.pid));
        const older = !existsSync(files.handOver);
        if (older)
          log.warn(
            { vm: vm.name, moid: vm.moid },
            'a VM that an earlier version has started goes on as that version confined it, until it is stopped and started',
          );
        const found = new QemuVm(identity, qmp, files, vm, this.host, hooks, cleanUp, { since, older });
        void found.connectPorts();
        void found.sweep(vm);
        return found;
      } catch (error) {
        log.warn({ vm: vm.name, err: messageOf(error) }, 'a running VM does not answer and is ended');
        signal(identity, 'SIGKILL');
        await ended(identity, KILL_MS);
      }
    }
    await this.virtualSwitch.unplugStale(vm.moid);
    await removeRunFiles(files);
    return null;
  }

  /** Ends what runs only for this runtime; VMs keep running. */
  async close(): Promise<void> {
    await Promise.all([this.pool.close(), this.snapshots?.close()]);
    this.host.watch.close();
    this.sender.close();
  }

  private async start(vm: VmDefinition, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    let disks: OpenDisks;
    try {
      disks = await span('disks', () => OpenDisks.open(vm, datastorePlaces(this.paths)));
    } catch (error) {
      throw isKind(error, 'invalid')
        ? invalid(`VM ${vm.name} could not be started: ${messageOf(error)}`, error)
        : error;
    }
    try {
      return await this.startWith(vm, disks, hooks, abort);
    } finally {
      await disks.close();
    }
  }

  /** Takes a VM from the warm pool, or else resumes a snapshot of the VM's shape, or else boots it. */
  private async startWith(vm: VmDefinition, disks: OpenDisks, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    const shaped = hasManyDisks(vm) ? null : (this.snapshots?.shapeOf(vm, disks.disks) ?? null);
    if (shaped !== null) {
      if (this.pool.note(shaped.key, shaped.shape))
        await writeUsualShape(this.usualShapeFile, shaped.shape).catch((error: unknown) =>
          log.warn({ err: messageOf(error) }, 'the usual shape of VMs is not kept'),
        );
      const running = await this.startSpare(vm, disks, hooks, shaped.key, abort);
      if (running !== null) return running;
    }
    const snapshot = shaped === null ? null : ((await this.snapshots?.find(vm, shaped.key, shaped.shape)) ?? null);
    if (snapshot !== null) {
      try {
        const running = await this.launch(vm, disks, hooks, snapshot, abort);
        this.snapshots?.succeeded(snapshot);
        return running;
      } catch (error) {
        if (abort?.aborted || isKind(error, 'insufficientResources')) throw error;
        if ((error as Error).cause instanceof BadSnapshot) {
          await this.snapshots?.discard(snapshot);
          // Has a new one made for the next VM.
          if (shaped !== null) await this.snapshots?.find(vm, shaped.key, shaped.shape);
        }
        // A disk that QEMU cannot read would not work for a booted VM either.
        else if (isKind(error, 'invalid')) throw error;
        else this.snapshots?.failed(snapshot);
        log.warn({ vm: vm.name, err: messageOf(error) }, 'the VM does not go on from its boot snapshot and is booted');
      }
    }
    return this.launch(vm, disks, hooks, null, abort);
  }

  /** Starts the VM from the warm pool; null if there is no spare VM, or it fails to become this one. */
  private async startSpare(
    vm: VmDefinition,
    disks: OpenDisks,
    hooks: VmHooks,
    key: string,
    abort?: AbortSignal,
  ): Promise<RunningVm | null> {
    if (!connectsBelow(vm, this.paths.runDir)) return null;
    const spare = this.pool.take(key);
    if (spare === null) return null;
    const files = await this.files(vm);
    try {
      abort?.throwIfAborted();
      await prepareFiles(vm, files);
      const held = new HeldHooks(hooks);
      const running = await spare.become(vm, disks, held, files, this.cleanUp(vm.moid, spare.moid));
      if (!(await span('taken', () => within(running.lives(), RESUME_MS, () => false))))
        throw internal('it asks for nothing');
      log.info({ vm: vm.name, moid: vm.moid, pid: running.pid, spare: true }, 'VM started');
      held.handOver();
      return running;
    } catch (error) {
      await spare.dispose();
      await this.virtualSwitch
        .unplug(vm.moid)
        .catch((cause: unknown) => log.warn({ err: cause }, 'removing taps failed'));
      await removeRunFiles(files);
      if (abort?.aborted) throw await startFailure(vm, files, error, none);
      log.warn({ vm: vm.name, err: messageOf(error) }, 'a spare VM does not become the VM, which is started otherwise');
      return null;
    }
  }

  private async launch(
    vm: VmDefinition,
    disks: OpenDisks,
    hooks: VmHooks,
    snapshot: BootSnapshot | null,
    abort?: AbortSignal,
  ): Promise<RunningVm> {
    const files = await this.files(vm);
    let identity: ProcessIdentity | null = null;
    const inherited = new Inherited();
    try {
      abort?.throwIfAborted();
      await prepareFiles(vm, files);
      const taps = await span('plug', () => this.virtualSwitch.plug(vm.moid, vm.nics));
      const cards = vm.nics.flatMap((nic) => {
        const tap = taps.get(nic.index);
        return tap === undefined ? [] : [{ index: nic.index, mac: nic.mac, tap }];
      });
      if (snapshot !== null) inherited.give(await snapshotFile(snapshot, 'state'));
      const memoryFile = snapshot === null ? null : await snapshotFile(snapshot, 'memory');
      const memory = memoryFile === null ? -1 : inherited.give(memoryFile);
      const { nodes, ...start } = await startFiles(vm, disks, inherited);
      const args = qemuArguments(vm, {
        acceleration: this.acceleration,
        dialect: this.dialect,
        boot: this.boot,
        sockets: files,
        taps: cards,
        ...start,
        ...(snapshot === null ? {} : { snapshot: { use: 'resume', memory } }),
      });
      const use = snapshot === null ? 'boot' : 'resume';
      const started = await span('spawn', () =>
        this.launchQemu({
          vm,
          use,
          args,
          sockets: files,
          taps: cards,
          logFile: files.log,
          inherited: inherited.handles,
        }),
      );
      identity = started;
      await writeWhole(files.pid, JSON.stringify(identityOf(started)), 0o600);
      const qmp = await span('monitor', () => Qmp.connect(files.qmp, () => isRunning(started), MONITOR_MS, abort));
      this.young.set(started.pid, Date.now());
      await span('enclose', () => started.enclose());
      if (memoryFile !== null) {
        // Checking one is enough: all are started the same way.
        if (!this.memoryChecked) await checkReadOnly(started.pid, memoryFile);
        this.memoryChecked = true;
        // If the state is bad, QEMU says why and ends.
        await span('load', () =>
          onSnapshot(
            () => saidWhy(files),
            () => loadState(qmp, this.dialect),
          ),
        );
      }
      // QEMU has dropped its rights by now, and the VM is still stopped.
      await span('give', () => putDisks(qmp, nodes));
      const held = new HeldHooks(hooks);
      const cleanUp = this.cleanUp(vm.moid, vm.moid);
      const running = new QemuVm(started, qmp, files, vm, this.host, held, cleanUp);
      // Ports cannot be changed before the VM has run, so this goes along with `cont`.
      await Promise.all([qmp.command('cont'), connectForeignPorts(qmp, vm.serials, this.paths.runDir)]);
      void running.connectPorts();
      running.watchSilence(vm.moid);
      if (snapshot !== null && !(await span('resume', () => within(running.lives(), RESUME_MS, () => false)))) {
        const wasEnded = !isRunning(started) && !(await saidWhy(files));
        await running.powerOff();
        const why = `it does not come to life: ${(await lastWords(files)) || 'it asks for nothing'}`;
        throw wasEnded ? internal(why) : new BadSnapshot(why);
      }
      log.info({ vm: vm.name, moid: vm.moid, pid: started.pid, resumed: snapshot !== null }, 'VM started');
      held.handOver();
      return running;
    } catch (error) {
      // If we kill QEMU below, its launcher will only report that, so its words do not count.
      const words = identity === null ? none : isRunning(identity) ? ownComplaints : complaints;
      if (identity !== null) {
        signal(identity, 'SIGKILL');
        await ended(identity, KILL_MS);
      }
      await this.virtualSwitch
        .unplug(vm.moid)
        .catch((cause: unknown) => log.warn({ err: cause }, 'removing taps failed'));
      await this.cages.groups.remove(vm.moid);
      await removeRunFiles(files);
      throw await startFailure(vm, files, error, words);
    } finally {
      await inherited.close();
    }
  }

  /** Removes what a VM had on this machine apart from its files. @param group its control group */
  private cleanUp(moid: string, group: string): () => Promise<void> {
    return async () => {
      // Not awaited: no other VM gets a group of this name before it is gone.
      void this.cages.groups.remove(group);
      await this.virtualSwitch.unplug(moid);
    };
  }

  /** Ids of the processes that are VMs of the inventory. */
  private async givenProcesses(): Promise<Set<number>> {
    const directory = join(this.paths.runDir, 'vm');
    const names = existsSync(directory) ? await readdir(directory) : [];
    const pids = names
      .filter((name) => name.endsWith('.pid'))
      .map((name) => readFile(join(directory, name), 'utf8').then((text) => (JSON.parse(text) as VmProcess).pid));
    return new Set((await Promise.allSettled(pids)).flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])));
  }

  /** Memory in MiB that admitted VMs have not taken yet. */
  private promisedMiB(): number {
    let promised = this.starting * STARTING_VM_MIB;
    for (const [pid, since] of this.young) {
      const taken = usage(pid).residentBytes / 2 ** 20;
      if (Date.now() - since > YOUNG_MS || taken === 0) this.young.delete(pid);
      else promised += Math.max(0, STARTING_VM_MIB - taken);
    }
    return Math.ceil(promised);
  }

  private async files(vm: VmDefinition): Promise<VmFiles> {
    const directory = join(this.paths.runDir, 'vm');
    if (!existsSync(directory)) await mkdir(directory, { recursive: true });
    // It holds the monitors' sockets, which only root may use.
    await chown(directory, 0, 0);
    await chmod(directory, 0o700);
    const path = (suffix: string): string => join(directory, `${vm.moid}.${suffix}`);
    const handOver = path('handover');
    return { pid: path('pid'), qmp: path('qmp'), handOver, guestRpc: path('rpc'), log: join(vm.directory, 'qemu.log') };
  }
}

/** @throws BadSnapshot if the file is no longer the one that was checked */
async function snapshotFile({ files }: BootSnapshot, name: SnapshotFile): Promise<FileHandle> {
  return onSnapshot(
    () => Promise.resolve(true),
    () => files.again(name),
  );
}

/**
 * The VM's QEMU process, if it runs. If hostd was killed before it wrote the pid file, the process is found by its monitor's path, which is
 * its name.
 */
async function runningProcess(files: VmFiles): Promise<VmProcess | null> {
  const known = await readFile(files.pid, 'utf8').then(
    (text) => JSON.parse(text) as VmProcess,
    () => null,
  );
  const identity = known ?? (existsSync(files.qmp) ? findProcess(`${processName(files)}\0`) : null);
  return identity !== null && isRunning(identity) ? identity : null;
}

/** Prepares the files that hostd opens for a VM; they can stay root's. */
async function prepareFiles(vm: VmDefinition, files: VmFiles): Promise<void> {
  const logs = vm.serials.flatMap(({ backing }) => (backing.kind === 'file' ? [backing.path] : []));
  await Promise.all([
    ...[files.qmp, files.guestRpc, files.handOver].map((path) => rm(path, { force: true })),
    ...logs.map(async (path) => (await open(path, 'a', 0o640)).close()),
  ]);
}

/** For a start in which nothing has been printed yet. */
const none = (): string[] => [];

/** The error for a VM that did not start. @param words picks the lines that count from QEMU's output */
async function startFailure(
  vm: VmDefinition,
  files: VmFiles,
  error: unknown,
  words: typeof complaints,
): Promise<Error> {
  if (error instanceof Error && error.name === 'AbortError')
    return cancelled(`starting VM ${vm.name} was cancelled`, error);
  const why = (await lastWords(files, words)) || messageOf(error);
  const make = /cannot allocate memory|cannot set up guest memory/i.test(why)
    ? insufficientResources
    : isKind(error, 'invalid')
      ? invalid
      : internal;
  return make(`VM ${vm.name} could not be started: ${why}`, error);
}

/** Such a VM gets no snapshot: making it would take long and much space, and hardly any other VM has the same shape. */
function hasManyDisks(vm: VmDefinition): boolean {
  return vm.disks.some(({ bus }) => bus > 0);
}
