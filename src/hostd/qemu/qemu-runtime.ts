/**
 * Runs container VMs as QEMU processes: unprivileged, sandboxed, in the switch's network namespace, detached from hostd and found
 * again when hostd restarts.
 */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chown, mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { internal, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { BootImage, InstancePaths } from '../../common/paths.js';
import { admit, STARTING_VM_MIB } from '../admission.js';
import { ended, identify, isRunning, type ProcessIdentity, signal } from '../process-id.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { QEMU } from './acceleration.js';
import { type Acceleration, QEMU_UID, qemuArguments } from './command-line.js';
import { QemuVm, type VmFiles } from './qemu-vm.js';
import { Qmp } from './qmp.js';

const log = logger('qemu');
const MONITOR_MS = 20_000;

/** QEMU as the carrier of VMs. */
export class QemuRuntime implements VmRuntime {
  private starting = 0;

  constructor(
    private readonly paths: InstancePaths,
    private readonly boot: BootImage,
    private readonly acceleration: Acceleration,
    private readonly virtualSwitch: VirtualSwitch,
  ) {}

  async powerOn(vm: VmDefinition, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    admit(vm, this.starting * STARTING_VM_MIB);
    this.starting++;
    try {
      return await this.start(vm, hooks, abort);
    } finally {
      this.starting--;
    }
  }

  private async start(vm: VmDefinition, hooks: VmHooks, abort?: AbortSignal): Promise<RunningVm> {
    const files = await this.files(vm);
    await this.giveFiles(vm, files);
    const taps = await this.virtualSwitch.plug(vm.moid, vm.nics, QEMU_UID);
    let identity: ProcessIdentity | null = null;
    try {
      const args = qemuArguments(vm, {
        acceleration: this.acceleration,
        boot: this.boot,
        sockets: files,
        taps: vm.nics.flatMap((nic) => {
          const tap = taps.get(nic.index);
          return tap === undefined ? [] : [{ index: nic.index, mac: nic.mac, tap }];
        }),
      });
      identity = await this.spawn(vm, args);
      await writeFile(files.pid, JSON.stringify(identity));
      const { pid } = identity;
      const qmp = await Qmp.connect(files.qmp, () => identify(pid) !== null, MONITOR_MS);
      abort?.throwIfAborted();
      log.info({ vm: vm.name, moid: vm.moid, pid }, 'VM started');
      return new QemuVm(identity, qmp, files, hooks, () => this.virtualSwitch.unplug(vm.moid));
    } catch (error) {
      if (identity !== null) {
        signal(identity, 'SIGKILL');
        await ended(identity, 5000);
      }
      await this.virtualSwitch.unplug(vm.moid);
      await removeFiles(files);
      const why = (await lastLines(join(vm.directory, 'qemu.log'))) || messageOf(error);
      throw internal(`VM ${vm.name} could not be started: ${why}`, error);
    }
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    const files = await this.files(vm);
    const identity = await readFile(files.pid, 'utf8').then(
      (text) => JSON.parse(text) as ProcessIdentity,
      () => null,
    );
    if (identity === null) return null;
    if (isRunning(identity)) {
      try {
        const qmp = await Qmp.connect(files.qmp, () => isRunning(identity), MONITOR_MS);
        this.virtualSwitch.adopt(vm.moid, vm.nics);
        return new QemuVm(identity, qmp, files, hooks, () => this.virtualSwitch.unplug(vm.moid));
      } catch (error) {
        log.warn({ vm: vm.name, err: messageOf(error) }, 'a running VM does not answer and is ended');
        signal(identity, 'SIGKILL');
        await ended(identity, 5000);
      }
    }
    await this.virtualSwitch.unplugStale(vm.moid, vm.nics);
    await removeFiles(files);
    return null;
  }

  private async files(vm: VmDefinition): Promise<VmFiles> {
    const directory = join(this.paths.runDir, 'vm');
    if (!existsSync(directory)) {
      await mkdir(directory, { recursive: true, mode: 0o711 });
      await chown(directory, QEMU_UID, QEMU_UID);
    }
    const path = (suffix: string): string => join(directory, `${vm.moid}.${suffix}`);
    return { pid: path('pid'), qmp: path('qmp'), guestRpc: path('rpc') };
  }

  /** QEMU may write the VM's own disks and serial files, and nothing else. */
  private async giveFiles(vm: VmDefinition, files: VmFiles): Promise<void> {
    await rm(files.qmp, { force: true });
    await rm(files.guestRpc, { force: true });
    for (const disk of vm.disks) if (!disk.readOnly) await chown(disk.path, QEMU_UID, QEMU_UID);
    for (const { backing } of vm.serials) {
      if (backing.kind !== 'file') continue;
      const file = await open(backing.path, 'a', 0o640);
      await file.chown(QEMU_UID, QEMU_UID);
      await file.close();
    }
  }

  private async spawn(vm: VmDefinition, args: string[]): Promise<ProcessIdentity> {
    const output = await open(join(vm.directory, 'qemu.log'), 'w', 0o640);
    try {
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

async function removeFiles(files: VmFiles): Promise<void> {
  await Promise.all([files.pid, files.qmp, files.guestRpc].map((path) => rm(path, { force: true })));
}

async function lastLines(path: string): Promise<string> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim().split('\n').slice(-5).join('; ');
}
