/**
 * Runs container VMs as QEMU processes: unprivileged, sandboxed, in the switch's network namespace, detached from hostd and found
 * again when hostd restarts.
 *
 * Relies on: the boot image, the virtual switch, `nsenter` and QEMU on the machine. Never: touches a VM's disks while it runs,
 * trusts a process id alone, or leaves a process, tap or socket of a VM that did not start.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chmod, chown, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { cancelled, insufficientResources, internal, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { BootImage, InstancePaths } from '../../common/paths.js';
import { admit, STARTING_VM_MIB } from '../admission.js';
import { ended, findProcess, identify, isRunning, type ProcessIdentity, signal, usage } from '../process-id.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { QEMU } from './acceleration.js';
import { type Acceleration, qemuArguments } from './command-line.js';
import { lastWords, QemuVm, removeRunFiles, type VmFiles } from './qemu-vm.js';
import { Qmp } from './qmp.js';

const log = logger('qemu');
/** Longest wait for QEMU's monitor: it is there after 0.05 s on an idle machine. */
const MONITOR_MS = 20_000;
const KILL_MS = 5000;
/** A VM this young has yet to take the memory it boots with. */
const YOUNG_MS = 10_000;

/** QEMU as the carrier of VMs. */
export class QemuRuntime implements VmRuntime {
  private starting = 0;
  /** VMs that started lately: process ids, and when. */
  private readonly young = new Map<number, number>();

  constructor(
    private readonly paths: InstancePaths,
    private readonly boot: BootImage,
    private readonly acceleration: Acceleration,
    private readonly virtualSwitch: VirtualSwitch,
  ) {}

  async powerOn(vm: VmDefinition, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    admit(vm, this.promisedMiB());
    this.starting++;
    try {
      return await this.start(vm, hooks, abort);
    } finally {
      this.starting--;
    }
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    const files = await this.files(vm);
    const identity = await runningProcess(files);
    if (identity !== null) {
      try {
        const qmp = await Qmp.connect(files.qmp, () => isRunning(identity), MONITOR_MS);
        await this.virtualSwitch.adopt(vm.moid);
        return new QemuVm(identity, qmp, files, hooks, () => this.virtualSwitch.unplug(vm.moid));
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

  private async start(vm: VmDefinition, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    const files = await this.files(vm);
    let identity: ProcessIdentity | null = null;
    try {
      abort?.throwIfAborted();
      await prepareFiles(vm, files);
      const taps = await this.virtualSwitch.plug(vm.moid, vm.nics);
      const args = qemuArguments(vm, {
        acceleration: this.acceleration,
        boot: this.boot,
        sockets: files,
        taps: vm.nics.flatMap((nic) => {
          const tap = taps.get(nic.index);
          return tap === undefined ? [] : [{ index: nic.index, mac: nic.mac, tap }];
        }),
      });
      const started = await this.spawn(args, files);
      identity = started;
      await writeFile(files.pid, JSON.stringify(started));
      const qmp = await Qmp.connect(files.qmp, () => isRunning(started), MONITOR_MS, abort);
      this.young.set(started.pid, Date.now());
      log.info({ vm: vm.name, moid: vm.moid, pid: started.pid }, 'VM started');
      return new QemuVm(started, qmp, files, hooks, () => this.virtualSwitch.unplug(vm.moid));
    } catch (error) {
      if (identity !== null) {
        signal(identity, 'SIGKILL');
        await ended(identity, KILL_MS);
      }
      await this.virtualSwitch
        .unplug(vm.moid)
        .catch((cause: unknown) => log.warn({ err: cause }, 'removing taps failed'));
      await removeRunFiles(files);
      throw await startFailure(vm, files, error, identity !== null);
    }
  }

  /** Memory in MiB that VMs which were let in have yet to take. */
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
    // QEMU binds its sockets as root: nobody else has business here.
    await chown(directory, 0, 0);
    await chmod(directory, 0o700);
    const path = (suffix: string): string => join(directory, `${vm.moid}.${suffix}`);
    return { pid: path('pid'), qmp: path('qmp'), guestRpc: path('rpc'), log: join(vm.directory, 'qemu.log') };
  }

  private async spawn(args: string[], files: VmFiles): Promise<ProcessIdentity> {
    const output = await open(files.log, 'w', 0o640);
    try {
      // nsenter becomes QEMU: the process id stays.
      const child = spawn('nsenter', [`--net=${this.virtualSwitch.path}`, '--', QEMU, ...args], {
        detached: true,
        stdio: ['ignore', output.fd, output.fd],
        cwd: '/',
      });
      const pid = await new Promise<number>((resolve, reject) => {
        child.once('spawn', () => resolve(child.pid!));
        child.once('error', (error) => reject(internal(`cannot start QEMU: ${error.message}`, error)));
      });
      child.unref();
      const identity = identify(pid);
      if (identity === null) throw internal('QEMU ended at once');
      return identity;
    } finally {
      await output.close();
    }
  }
}

/** The VM's QEMU process, if it runs. One whose hostd was killed before it wrote the pid file is found by its monitor's path. */
async function runningProcess(files: VmFiles): Promise<ProcessIdentity | null> {
  const known = await readFile(files.pid, 'utf8').then(
    (text) => JSON.parse(text) as ProcessIdentity,
    () => null,
  );
  const identity = known ?? (existsSync(files.qmp) ? findProcess(`path=${files.qmp},`) : null);
  return identity !== null && isRunning(identity) ? identity : null;
}

/** QEMU opens a VM's files as root before it drops its rights: they need no other owner. */
async function prepareFiles(vm: VmDefinition, files: VmFiles): Promise<void> {
  await rm(files.qmp, { force: true });
  await rm(files.guestRpc, { force: true });
  for (const { backing } of vm.serials) {
    if (backing.kind === 'file') await (await open(backing.path, 'a', 0o640)).close();
  }
}

/** What to tell of a VM that did not start. */
async function startFailure(vm: VmDefinition, files: VmFiles, error: unknown, spawned: boolean): Promise<Error> {
  if (error instanceof Error && error.name === 'AbortError')
    return cancelled(`starting VM ${vm.name} was cancelled`, error);
  const why = (spawned ? await lastWords(files) : '') || messageOf(error);
  const make = /cannot allocate memory|cannot set up guest memory/i.test(why) ? insufficientResources : internal;
  return make(`VM ${vm.name} could not be started: ${why}`, error);
}
