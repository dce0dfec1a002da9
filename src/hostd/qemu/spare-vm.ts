/**
 * A VM of the warm pool: resumed from a boot snapshot ahead of time, rehearsed, and waiting to become a VM of the inventory. Until then its
 * disks are placeholders, its taps are not plugged in, and nothing is behind its serial ports. No container's code has run in it. Its QEMU
 * has a user of its own and keeps it.
 *
 * To become another VM, hostd opens the files and hands over their descriptors (`descriptor-sender.ts`), disks are put behind the existing
 * devices (`qom-set drive`), the ports are connected (`chardev-change`), and the taps are renamed and plugged in. Only then is the guest
 * told, and takes its seed, its clock and its program. Never: given to a second VM, or kept if any of that failed.
 */
import { readdirSync } from 'node:fs';
import { copyFile, mkdir, open, readdir, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { internal, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { keepBounded, SPARE_LOG } from '../../common/log-bound.js';
import { argumentsOf, ended, identityOf, isRunning, type ProcessIdentity, signal } from '../../common/process-id.js';
import { span } from '../../common/trace.js';
import { within } from '../../common/within.js';
import { writeWhole } from '../../common/write-whole.js';
import type { OpenDisks } from '../disks/open-disks.js';
import type { VmDefinition, VmHooks } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { BootSnapshot } from './boot-snapshots.js';
import { VM_OOM_SCORE } from './cage.js';
import type { LaunchQemu } from './caged-qemu.js';
import type { QemuDialect } from './capabilities.js';
import {
  type DiskBacking,
  FIRST_GIVEN_SET,
  incomingState,
  MIGRATION_CAPABILITIES,
  type VmSockets,
  type VmTap,
} from './command-line.js';
import type { ControlGroups } from './control-groups.js';
import type { FileToSend } from './descriptor-sender.js';
import { checkReadOnly, diskNodes, Inherited, openRaw, openSerialFiles, putDisks } from './given-files.js';
import { GuestRpcServer, SpareAnswers } from './guest-rpc.js';
import type { QemuHost } from './hot-device.js';
import { QemuVm, type VmFiles } from './qemu-vm.js';
import { Qmp } from './qmp.js';
import { connectForeignPorts, connectPorts, isForeign, socketPorts } from './serial-ports.js';
import { placeholder, placeholderMac, type VmShape } from './snapshot-builder.js';

const log = logger('pool');
const MONITOR_MS = 60_000;
/** Resuming and rehearsing take 0.4 s on an idle machine, but much longer on a busy one, since they run at the lowest priority. */
const READY_MS = 120_000;
const KILL_MS = 5000;

/** What each spare VM gets for itself. */
export interface SpareDevices {
  sockets: VmSockets;
  taps: VmTap[];
  /** The descriptor of the snapshot's memory. */
  memory: number;
  disks: DiskBacking[];
  serialFiles: Map<number, number>;
}

/** What spare VMs are made with. */
export interface SpareMaker {
  /** For its sockets; only root may enter it. */
  runDirectory: string;
  /** For its log and placeholders; on the datastore's filesystem. */
  directory: string;
  virtualSwitch: VirtualSwitch;
  host: QemuHost;
  dialect: QemuDialect;
  /** The arguments for QEMU. */
  commandLine(vm: VmDefinition, devices: SpareDevices): string[];
  launch: LaunchQemu;
  groups: ControlGroups;
}

/** See the file's head. */
export class SpareVm {
  private disposed: Promise<void> | null = null;
  private spent = false;

  private constructor(
    readonly key: string,
    readonly moid: string,
    private readonly maker: SpareMaker,
    private readonly identity: ProcessIdentity,
    private readonly qmp: Qmp,
    private readonly rpc: GuestRpcServer,
    private readonly sockets: Required<VmSockets>,
    private readonly logFile: string,
    private readonly bound: { stop(): void },
    gone: (spare: SpareVm) => void,
  ) {
    qmp.once('close', () => {
      if (this.spent) return;
      gone(this);
      void this.dispose();
    });
  }

  /**
   * Resumes a VM and lets it rehearse.
   * @param number unique among the spare VMs of this host
   * @param gone called if it ends by itself before it becomes a VM
   * @throws internal, timeout; it leaves nothing behind then
   */
  static async make(
    maker: SpareMaker,
    number: number,
    shape: VmShape,
    snapshot: BootSnapshot,
    gone: (spare: SpareVm) => void,
  ): Promise<SpareVm> {
    const moid = `vm-pool${number}`;
    const path = (suffix: string): string => join(maker.runDirectory, `${number}.${suffix}`);
    const sockets = { qmp: path('qmp'), guestRpc: path('rpc'), handOver: path('handover') };
    const logFile = join(maker.directory, `${number}.log`);
    const bound = keepBounded(logFile, SPARE_LOG, (error) =>
      log.warn({ err: messageOf(error), path: logFile }, 'the log of a spare VM cannot be kept small'),
    );
    const inherited = new Inherited();
    let identity: ProcessIdentity | null = null;
    let qmp: Qmp | null = null;
    let rpc: GuestRpcServer | null = null;
    try {
      inherited.give(await snapshot.files.again('state'));
      const memoryFile = await snapshot.files.again('memory');
      const memory = inherited.give(memoryFile);
      const disks = await makeDisks(shape, snapshot, join(maker.directory, String(number)), inherited);
      const plugged = await maker.virtualSwitch.plugSpare(moid, shape.nics);
      const definition = { ...placeholder(shape, maker.directory), moid, name: `spare-${number}` };
      const serialFiles = await openSerialFiles(definition, inherited, '/dev/null');
      const taps = shape.nics.map((index) => ({ index, mac: placeholderMac(index), tap: plugged.get(index)! }));
      const args = maker.commandLine(definition, { sockets, taps, memory, disks, serialFiles });
      const process = await maker.launch({
        vm: definition,
        use: 'spare',
        args,
        sockets,
        taps,
        logFile,
        inherited: inherited.handles,
      });
      identity = process;
      const monitor = await Qmp.connect(sockets.qmp, () => isRunning(process), MONITOR_MS);
      qmp = monitor;
      await process.enclose();
      await checkReadOnly(process.pid, memoryFile);
      await monitor.command('migrate-set-capabilities', MIGRATION_CAPABILITIES);
      await monitor.command('migrate-incoming', incomingState(maker.dialect));
      const answers = new SpareAnswers();
      rpc = new GuestRpcServer(sockets.guestRpc, null, answers);
      await ready(monitor, answers);
      return new SpareVm(snapshot.key, moid, maker, process, monitor, rpc, sockets, logFile, bound, gone);
    } catch (error) {
      bound.stop();
      rpc?.close();
      qmp?.release();
      await end(identity);
      await clear(maker, moid, sockets, logFile);
      throw error;
    } finally {
      await inherited.close();
    }
  }

  get pid(): number {
    return this.identity.pid;
  }

  /**
   * Becomes the given VM.
   * @param disks its disks, which the caller still owns
   * @param files where the VM's sockets, pid file and log belong
   * @param cleanUp called once when the VM has ended
   * @throws internal; the spare VM has ended then and left nothing behind
   */
  async become(
    vm: VmDefinition,
    disks: OpenDisks,
    hooks: VmHooks,
    files: VmFiles,
    cleanUp: () => Promise<void>,
  ): Promise<QemuVm> {
    this.spent = true;
    const { host } = this.maker;
    try {
      raisePriority(this.identity.pid);
      // Waits for all of them: if one fails while another is still going, cleaning up would come too early.
      const parts = await span('hand over', () =>
        Promise.allSettled([
          span('wire', () => this.maker.virtualSwitch.handOver(this.moid, vm.moid, vm.nics)),
          this.handOver(vm, disks),
          raiseScore(this.identity.pid),
        ]),
      );
      for (const part of parts) if (part.status === 'rejected') throw part.reason;
      await Promise.all([
        rename(this.sockets.handOver, files.handOver),
        rename(this.sockets.qmp, files.qmp),
        rename(this.sockets.guestRpc, files.guestRpc),
        rename(this.logFile, files.log),
      ]);
      this.bound.stop();
      const since = new Date();
      // From here on a restarted hostd takes the process for this VM; before that it would end it.
      await writeWhole(files.pid, JSON.stringify({ ...identityOf(this.identity), poweredOn: since.getTime() }), 0o600);
      // From now on, the monitor's end is the VM's end, even if it came in the meantime.
      const running = new QemuVm(this.identity, this.qmp, files, vm, host, hooks, cleanUp, {
        rpc: this.rpc,
        since,
      });
      // Tries again the ports whose endpoint was not listening a moment ago.
      void running.connectPorts();
      if (!isRunning(this.identity)) throw internal('QEMU has ended');
      this.rpc.take(files.guestRpc, hooks);
      return running;
    } catch (error) {
      await this.dispose();
      throw error;
    }
  }

  /** Ends it and removes everything it had. */
  dispose(): Promise<void> {
    this.spent = true;
    this.disposed ??= this.end();
    return this.disposed;
  }

  private async end(): Promise<void> {
    this.rpc.close();
    this.qmp.release();
    await end(this.identity);
    await clear(this.maker, this.moid, this.sockets, this.logFile);
  }

  /** Hands over disks and serial ports. */
  private async handOver(vm: VmDefinition, opened: OpenDisks): Promise<void> {
    const toSend: FileToSend[] = [];
    const send = (path: string, access: FileToSend['access']): string => {
      const set = FIRST_GIVEN_SET + toSend.length;
      toSend.push({ set, path, access });
      return `/dev/fdset/${set}`;
    };
    // Named by hostd's own descriptors, so that these are the files that were checked.
    const nodes = diskNodes(opened.disks, ({ handle }, access) => send(`/proc/${process.pid}/fd/${handle.fd}`, access));
    const logs = vm.serials.flatMap(({ index, backing }) =>
      backing.kind === 'file'
        ? [
            {
              id: `serial${index}`,
              backend: { type: 'file', data: { out: send(backing.path, 'append'), append: true } },
            },
          ]
        : [],
    );
    const { sender, runDir } = this.maker.host;
    await sender.send(this.sockets.handOver, toSend);
    const ports = socketPorts(vm.serials).filter(({ backing }) => !isForeign(backing.path, runDir));
    await Promise.all([
      putDisks(this.qmp, nodes),
      // Tried again once it is the VM.
      connectPorts(sender, this.sockets.handOver, ports).catch(() => false),
      connectForeignPorts(this.qmp, vm.serials, runDir),
      ...logs.map((change) => this.qmp.command('chardev-change', change)),
    ]);
  }
}

/**
 * The highest number of the spare VMs that became VMs and still run. They keep the name of their control group, though not those of their
 * taps and sockets.
 * @param processes process ids of running VMs
 */
export function lastSpare({ runDirectory }: Pick<SpareMaker, 'runDirectory'>, processes: Iterable<number>): number {
  let last = 0;
  for (const pid of processes) {
    const name = argumentsOf(pid).find((one) => one.startsWith(`guest=${runDirectory}/`)) ?? '';
    last = Math.max(last, Number(/\/(\d+)\.qmp/.exec(name)?.[1] ?? 0));
  }
  return last;
}

/** Ends the spare VMs that an earlier hostd left, and removes their files. @param processes those that did not become VMs */
export async function removeStaleSpares(
  maker: Pick<SpareMaker, 'runDirectory' | 'directory' | 'virtualSwitch'>,
  processes: readonly ProcessIdentity[],
): Promise<void> {
  for (const process of processes) await end(process);
  for (const directory of [maker.runDirectory, maker.directory]) {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (const name of await readdir(directory)) await rm(join(directory, name), { force: true });
  }
  await maker.virtualSwitch.unplugSpares();
}

/** Waits until the guest has rehearsed. */
async function ready(qmp: Qmp, answers: SpareAnswers): Promise<void> {
  let ended = (): void => undefined;
  const gone = new Promise<never>((_, reject) => {
    ended = () => reject(internal('a spare VM has ended'));
    qmp.once('close', ended);
  });
  try {
    await within(Promise.race([answers.waits, gone]), READY_MS, () => {
      throw internal('a spare VM is not ready in time');
    });
  } finally {
    qmp.off('close', ended);
  }
}

/** Makes the placeholders: open files whose names are gone. */
async function makeDisks(
  shape: VmShape,
  snapshot: BootSnapshot,
  name: string,
  inherited: Inherited,
): Promise<DiskBacking[]> {
  const disks: DiskBacking[] = [];
  for (const [index, { readOnly, capacityBytes }] of shape.disks.entries()) {
    const path = `${name}.disk${index}`;
    try {
      if (index === 0) await copyRehearsal(snapshot, path);
      else await (await open(path, 'w', 0o600)).close();
      await truncate(path, capacityBytes);
      disks.push(await openRaw(path, readOnly, inherited));
    } finally {
      await rm(path, { force: true });
    }
  }
  return disks;
}

async function copyRehearsal({ files }: BootSnapshot, path: string): Promise<void> {
  const file = await files.again('rehearsal');
  try {
    await copyFile(`/proc/self/fd/${file.fd}`, path);
  } finally {
    await file.close();
  }
}

/** Makes it no longer the first to be killed when memory runs out. */
async function raiseScore(pid: number): Promise<void> {
  await writeFile(`/proc/${pid}/oom_score_adj`, String(VM_OOM_SCORE)).catch(() => undefined);
}

/** Sets it for each thread, since each has its own priority. */
function raisePriority(pid: number): void {
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      setPriority(Number(thread), constants.priority.PRIORITY_NORMAL);
    } catch {
      // The thread has ended.
    }
  }
}

async function end(identity: ProcessIdentity | null): Promise<void> {
  if (identity === null) return;
  signal(identity, 'SIGKILL');
  if (!(await ended(identity, KILL_MS))) log.warn({ pid: identity.pid }, 'a spare VM does not end');
}

async function clear(maker: SpareMaker, moid: string, sockets: Required<VmSockets>, logFile: string): Promise<void> {
  await Promise.all([...Object.values(sockets), logFile].map((path) => rm(path, { force: true })));
  await maker.groups.remove(moid);
  await maker.virtualSwitch
    .unplug(moid)
    .catch((error: unknown) => log.warn({ err: messageOf(error) }, 'removing taps failed'));
}
