/** Puts the runtime together: QEMU for container VMs, local processes for endpoint VMs, one virtual switch under both. */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { bootImage, cacheDirectory, type InstancePaths } from '../common/paths.js';
import { isEndpoint, ProcessRuntime } from './process/process-runtime.js';
import { probeAcceleration } from './qemu/acceleration.js';
import { BootSnapshots } from './qemu/boot-snapshots.js';
import type { Acceleration } from './qemu/command-line.js';
import { snapshotHost } from './qemu/host-identity.js';
import { QemuRuntime } from './qemu/qemu-runtime.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from './runtime.js';
import { boundSerialFile } from './serial-file-bound.js';
import { VirtualSwitch } from './switch/virtual-switch.js';

/** Runs VMs of both kinds. */
export class HostRuntime implements VmRuntime {
  constructor(
    private readonly qemu: QemuRuntime,
    private readonly processes: ProcessRuntime,
    readonly virtualSwitch: VirtualSwitch,
    readonly acceleration: Acceleration,
  ) {}

  async powerOn(vm: VmDefinition, hooks: VmHooks, signal?: AbortSignal): Promise<RunningVm> {
    if (isEndpoint(vm)) return this.processes.powerOn(vm, hooks);
    const bounded = boundSerialFile(vm, hooks);
    try {
      return await this.qemu.powerOn(vm, bounded.hooks, signal);
    } catch (error) {
      bounded.stop();
      throw error;
    }
  }

  /** Ends what runs for the runtime alone; VMs go on running. */
  close(): Promise<void> {
    return this.qemu.close();
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    if (isEndpoint(vm)) return this.processes.adopt(vm, hooks);
    const bounded = boundSerialFile(vm, hooks);
    const running = await this.qemu.adopt(vm, bounded.hooks);
    if (running === null) bounded.stop();
    return running;
  }
}

/**
 * Makes the runtime of an instance. Boot snapshots are shared with all hosts of the machine, unless they have a directory of their own.
 * @param warmPool how many VMs of the usual shape wait to be powered on
 */
export async function createRuntime(
  paths: InstancePaths,
  snapshotDirectory = join(cacheDirectory(), 'snapshots'),
  warmPool = 0,
): Promise<HostRuntime> {
  await mkdir(paths.runDir, { recursive: true, mode: 0o711 });
  const boot = bootImage();
  const acceleration = await probeAcceleration(boot, join(paths.stateDir, 'acceleration.json'));
  const virtualSwitch = new VirtualSwitch(paths.instance);
  await virtualSwitch.open();
  const snapshots = new BootSnapshots(snapshotDirectory, await snapshotHost(boot, acceleration));
  await snapshots.open();
  const qemu = new QemuRuntime(paths, boot, acceleration, virtualSwitch, snapshots, warmPool);
  await qemu.open();
  return new HostRuntime(qemu, new ProcessRuntime(paths, virtualSwitch), virtualSwitch, acceleration);
}
