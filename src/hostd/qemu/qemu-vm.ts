/** A VM that runs in a QEMU process: found by its pid file and monitor, watched until it ends. */
import { rm } from 'node:fs/promises';
import { logger } from '../../common/log.js';
import { ended, type ProcessIdentity, parentOf, signal, startedAt, usage } from '../../common/process-id.js';
import type {
  RunningVm,
  RuntimeDevice,
  RuntimeDisk,
  RuntimeSerial,
  VmDefinition,
  VmExit,
  VmHooks,
} from '../runtime.js';
import { GuestRpcServer } from './guest-rpc.js';
import type { DiskOwner, QemuHost } from './hot-device.js';
import { HotDevices } from './hot-plug.js';
import { complaints, ownComplaints, printedIn, refusedCalls } from './qemu-words.js';
import type { Qmp } from './qmp.js';
import { disconnectedPorts, SocketPorts, tellOfDisconnection } from './serial-ports.js';

const log = logger('qemu');
/** How long QEMU may take to end by itself before it is killed. */
const QUIT_MS = 3000;
/** The launcher is normally done as soon as QEMU has ended. */
const WORDS_MS = 2000;
/** Even on a busy emulated machine, a guest has booted and asked for something within this time. */
const SILENT_MS = 60_000;

/** A VM's process. `poweredOn`: when it became the VM, in Unix ms, if it ran before that. */
export interface VmProcess extends ProcessIdentity {
  poweredOn?: number;
}

/** Files of a running VM. */
export interface VmFiles {
  /** {@link VmProcess} as JSON. */
  pid: string;
  qmp: string;
  /** A second monitor, over which QEMU is given descriptors. */
  handOver: string;
  guestRpc: string;
  /** What QEMU prints; kept after the VM has ended. */
  log: string;
}

/** Removes what only a running VM has. */
export async function removeRunFiles(files: VmFiles): Promise<void> {
  await Promise.all([files.pid, files.qmp, files.handOver, files.guestRpc].map((path) => rm(path, { force: true })));
}

/** Logs the system calls that a QEMU was refused: either it needs one that no QEMU needed so far, or it was taken over. */
export async function tellRefused(logFile: string): Promise<void> {
  const calls = refusedCalls(await printedIn(logFile));
  if (calls.length > 0) log.warn({ logFile, calls }, 'QEMU was refused system calls');
}

/** The end of what QEMU printed, on one line. @param of picks the lines that count */
export async function lastWords(files: Pick<VmFiles, 'log'>, of = complaints): Promise<string> {
  return of(await printedIn(files.log))
    .slice(-5)
    .join('; ')
    .slice(-1000);
}

/** True if QEMU itself printed why it gave up; a QEMU that was killed says nothing. */
export async function saidWhy(files: Pick<VmFiles, 'log'>): Promise<boolean> {
  return (await lastWords(files, ownComplaints)) !== '';
}

/** The running VM. `cleanUp` is called once after the process has ended, before the inventory is told. */
export class QemuVm implements RunningVm {
  readonly startedAt: Date;
  private readonly rpc: GuestRpcServer;
  private exit: VmExit | null = null;
  private rebooting = false;
  private readonly gone: Promise<void>;
  private readonly ports: SocketPorts;
  private readonly serials: readonly RuntimeSerial[];
  private readonly devices: HotDevices;
  /** Its launcher, which notes in QEMU's log if a signal ended QEMU. */
  private readonly launcher: ProcessIdentity | null;

  constructor(
    private readonly identity: ProcessIdentity,
    private readonly qmp: Qmp,
    private readonly files: VmFiles,
    vm: Pick<VmDefinition, 'moid' | 'serials'>,
    host: QemuHost,
    private readonly hooks: VmHooks,
    private readonly cleanUp: () => Promise<void>,
    /**
     * `since` and `rpc`, for a VM from the warm pool: when it became this VM, and what has served its GuestRPC port so far. `older`: an
     * earlier version's hostd started it, and it has no monitor for receiving descriptors.
     */
    past: { since?: Date | undefined; rpc?: GuestRpcServer; older?: boolean } = {},
  ) {
    this.launcher = parentOf(identity.pid);
    this.startedAt = past.since ?? startedAt(identity);
    this.rpc = past.rpc ?? new GuestRpcServer(files.guestRpc, hooks);
    this.serials = vm.serials;
    this.ports = new SocketPorts(qmp, files.handOver, vm.serials, host, past.older);
    const monitor = past.older === true ? null : files.handOver;
    this.devices = new HotDevices({ moid: vm.moid, pid: identity.pid, qmp, monitor, host });
    qmp.on('event', (name, data) => this.event(name, data));
    this.gone = new Promise((resolve) => {
      const over = (): void => void this.finish().finally(resolve);
      // A spare VM's monitor may have closed just before it became this VM.
      if (qmp.closed) over();
      else qmp.once('close', over);
    });
  }

  /** Resolves with true when the guest has asked for something, or with false if it ends before that. */
  lives(): Promise<boolean> {
    return Promise.race([this.rpc.alive.then(() => true), this.gone.then(() => false)]);
  }

  /** Warns if the guest, which was just started, asks for nothing: one that hangs while it boots cannot say so. */
  watchSilence(moid: string): void {
    const timer = setTimeout(() => {
      void Promise.all([this.qmp.command('query-status'), this.usage()]).then(
        ([status, { cpuSeconds }]) =>
          log.warn({ moid, pid: this.pid, status, cpuSeconds }, 'a guest has asked for nothing since it was started'),
        () => undefined,
      );
    }, SILENT_MS).unref();
    const over = (): void => clearTimeout(timer);
    void this.rpc.alive.then(over);
    void this.gone.then(over);
  }

  get pid(): number {
    return this.identity.pid;
  }

  async powerOff(): Promise<void> {
    this.exit ??= { reason: 'powerOff' };
    await this.end();
  }

  async reset(): Promise<void> {
    this.exit ??= { reason: 'guestReset' };
    await this.end();
  }

  async shutdownGuest(): Promise<void> {
    this.rpc.command('OS_Halt');
  }

  async rebootGuest(): Promise<void> {
    this.rebooting = true;
    this.rpc.command('OS_Reboot');
  }

  async suspend(): Promise<void> {
    await this.qmp.command('stop');
  }

  async resume(): Promise<void> {
    // QEMU does not notice listeners that went away while the VM was stopped.
    const gone = await disconnectedPorts(this.qmp, this.serials);
    await this.qmp.command('cont');
    for (const serial of gone) await tellOfDisconnection(this.qmp, serial);
    await this.ports.renew(gone);
    void this.connectPorts();
    // The guest has to set its clock, which stood still.
    this.rpc.command('OS_Resume');
  }

  /** Connects the serial ports that are not connected. Resolves when that is done, or cannot be done now. */
  connectPorts(): Promise<void> {
    return this.ports.look();
  }

  async suspended(): Promise<boolean> {
    const answer = (await this.qmp.command('query-status')) as { status?: unknown } | null;
    return answer?.status === 'paused';
  }

  plug(device: RuntimeDevice, owner: DiskOwner): Promise<void> {
    return this.devices.plug(device, owner);
  }

  unplug(device: RuntimeDevice): Promise<void> {
    return this.devices.unplug(device);
  }

  switchDisk(disk: RuntimeDisk, to: string): Promise<void> {
    return this.devices.switchDisk(disk, to);
  }

  releaseDisk(disk: RuntimeDisk): Promise<void> {
    return this.devices.releaseDisk(disk);
  }

  relinkDisk(disk: RuntimeDisk, owner: DiskOwner): Promise<void> {
    return this.devices.relinkDisk(disk, owner);
  }

  /** See {@link HotDevices.sweep}. */
  sweep(vm: VmDefinition): Promise<void> {
    return this.devices.sweep(vm);
  }

  async usage(): Promise<{ residentBytes: number; cpuSeconds: number }> {
    return usage(this.pid);
  }

  release(): void {
    this.ports.close();
    this.qmp.release();
    this.rpc.close();
  }

  async stalled(): Promise<boolean> {
    const answer = (await this.qmp.command('query-status')) as { status?: unknown } | null;
    return answer?.status === 'io-error';
  }

  private event(name: string, data: Record<string, unknown>): void {
    // QEMU's policy for disks (`werror=enospc`): it stops the VM when there is no space left, and reports other failures to the guest.
    if (name === 'BLOCK_IO_ERROR' && data.action === 'stop') this.hooks.stalled();
    if (name !== 'SHUTDOWN') return;
    if (data.reason === 'guest-shutdown') this.exit ??= { reason: 'guestPowerOff' };
    // A kernel that panics resets the machine (`panic=-1`). It must not be restarted over and over, so a reset that nobody asked for counts
    // as a crash.
    else if (data.reason === 'guest-reset')
      this.exit ??= this.rebooting
        ? { reason: 'guestReset' }
        : { reason: 'crashed', message: 'the guest kernel panicked or reset the machine' };
  }

  /** Kills QEMU: the kernel already has everything the guest wrote, so QEMU has nothing left to do. */
  private async end(): Promise<void> {
    signal(this.identity, 'SIGKILL');
    await this.gone;
  }

  /** The monitor is gone, so QEMU has ended, is ending, or is no longer to be trusted. */
  private async finish(): Promise<void> {
    let killed = false;
    if (!(await ended(this.identity, QUIT_MS))) {
      killed = true;
      signal(this.identity, 'SIGKILL');
      await ended(this.identity, QUIT_MS);
    }
    this.rpc.close();
    this.ports.close();
    // The end is reported even if cleaning up fails: otherwise the VM would count as on for ever.
    await Promise.all([removeRunFiles(this.files), this.cleanUp()]).catch((error: unknown) =>
      log.error({ err: error }, 'cleaning up after a VM failed'),
    );
    await tellRefused(this.files.log);
    this.hooks.exited(this.exit ?? { reason: 'crashed', message: await this.why(killed) });
  }

  private async why(killed: boolean): Promise<string> {
    // A QEMU of an older version has another parent, which does not end with it.
    if (this.launcher !== null && this.launcher.pid > 1) await ended(this.launcher, WORDS_MS);
    const words = await lastWords(this.files);
    const what = killed ? 'QEMU lost its monitor and was ended' : 'QEMU ended unexpectedly';
    return words === '' ? what : `${what}: ${words}`;
  }
}
