/** Puts the runtime together: QEMU for container VMs, local processes for endpoint VMs, one virtual switch under both. */
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { logger } from '../common/log.js';
import { bootImage, cacheDirectory, type InstancePaths, memoryLibrary } from '../common/paths.js';
import { HANG_MS } from '../common/watchdog.js';
import { EndpointRuntime, isEndpoint } from './endpoint-vm/endpoint-runtime.js';
import { type AccelerationChoice, chooseAcceleration, probeKvm, type WantedAcceleration } from './qemu/acceleration.js';
import { BootSnapshots } from './qemu/boot-snapshots.js';
import { Cages } from './qemu/cage.js';
import type { QemuCapabilities } from './qemu/capabilities.js';
import { snapshotHost } from './qemu/host-identity.js';
import { answersFile, forgetAnswers, keptCapabilities, qemuInPath } from './qemu/kept-answers.js';
import { QemuRuntime } from './qemu/qemu-runtime.js';
import { makeReadable } from './qemu/readable-files.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from './runtime.js';
import { boundSerialFile } from './serial-file-bound.js';
import { VirtualSwitch } from './switch/virtual-switch.js';
import type { Uplink } from './uplinks.js';
import { boundVmLog } from './vm-log-bound.js';

const log = logger('hostd');

/** Runs VMs of both kinds. */
export class HostRuntime implements VmRuntime {
  constructor(
    private readonly qemu: QemuRuntime,
    private readonly endpoints: EndpointRuntime,
    readonly virtualSwitch: VirtualSwitch,
    readonly acceleration: AccelerationChoice,
    readonly capabilities: QemuCapabilities,
    readonly cages: Cages,
    private readonly runDir: string,
  ) {}

  async powerOn(vm: VmDefinition, hooks: VmHooks, signal?: AbortSignal): Promise<RunningVm> {
    const bounded = boundFiles(vm, hooks);
    try {
      return isEndpoint(vm)
        ? await this.endpoints.powerOn(vm, bounded.hooks)
        : await this.qemu.powerOn(vm, bounded.hooks, signal);
    } catch (error) {
      bounded.stop();
      throw error;
    }
  }

  /** Ends what runs only for the runtime; VMs keep running. */
  async close(): Promise<void> {
    await this.qemu.close();
    await this.cages.groups.close();
    await forgetAnswers(this.runDir);
    await rm(bridgeFile(this.runDir), { force: true });
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    const bounded = boundFiles(vm, hooks);
    const running = await (isEndpoint(vm) ? this.endpoints : this.qemu).adopt(vm, bounded.hooks);
    if (running === null) bounded.stop();
    return running;
  }

  async forget(vm: VmDefinition): Promise<void> {
    if (isEndpoint(vm)) await this.endpoints.forget(vm);
  }
}

/** For what bridges can do. */
const bridgeFile = (runDir: string): string => join(runDir, 'bridge.json');

/** Keeps the files small that a VM's process writes, until the VM has ended. */
function boundFiles(vm: VmDefinition, hooks: VmHooks): { hooks: VmHooks; stop(): void } {
  if (isEndpoint(vm)) return boundVmLog(vm, hooks, 'endpoint');
  const serial = boundSerialFile(vm, hooks);
  const log = boundVmLog(vm, serial.hooks, 'qemu');
  const stop = (): void => {
    serial.stop();
    log.stop();
  };
  return { hooks: log.hooks, stop };
}

/**
 * Makes the runtime of an instance. Boot snapshots are shared by all hosts on the machine, unless this one has its own directory for them.
 * @param warmPool how many VMs of the usual shape wait to be powered on
 * @param hangMs an endpoint that is silent for this long is restarted
 * @param uplinks port groups that are joined with interfaces of the machine
 * @param standby whether a second endpoint stands by for each
 * @throws unavailable if QEMU or the requested accelerator cannot be used
 */
export async function createRuntime(
  paths: InstancePaths,
  snapshotDirectory = join(cacheDirectory(), 'snapshots'),
  warmPool = 0,
  wanted: WantedAcceleration = 'auto',
  hangMs = HANG_MS,
  uplinks: readonly Uplink[] = [],
  standby = false,
): Promise<HostRuntime> {
  await mkdir(paths.runDir, { recursive: true, mode: 0o711 });
  const boot = bootImage();
  await makeReadable([boot.kernel, boot.initramfs, memoryLibrary()]);
  const found = await keptCapabilities(answersFile(paths.runDir), await qemuInPath());
  if (!found.snapshots)
    log.warn({ qemu: found.version }, 'this QEMU saves no state without memory: every VM is booted');
  const cages = await Cages.open(paths.runDir, paths.instance);
  const capabilities = { ...found, unfiltered: !cages.filters };
  const choice = await chooseAcceleration(wanted, capabilities, join(paths.stateDir, 'acceleration.json'), (ms) =>
    probeKvm(boot, capabilities, cages, ms),
  );
  const { acceleration } = choice;
  log.info({ ...choice, qemu: capabilities.version }, 'acceleration of virtual machines');
  const virtualSwitch = new VirtualSwitch(paths.instance, uplinks, undefined, bridgeFile(paths.runDir));
  await virtualSwitch.open();
  const snapshots = new BootSnapshots(snapshotDirectory, await snapshotHost(boot, acceleration));
  await snapshots.open();
  const qemu = new QemuRuntime(
    paths,
    boot,
    acceleration,
    capabilities,
    virtualSwitch,
    cages,
    capabilities.snapshots ? snapshots : null,
    warmPool,
  );
  await qemu.open();
  return new HostRuntime(
    qemu,
    new EndpointRuntime(paths, virtualSwitch, hangMs, standby),
    virtualSwitch,
    choice,
    capabilities,
    cages,
    paths.runDir,
  );
}
