/**
 * Runs the endpoint VM: the one VM that is not QEMU but a local process. It gets its `guestinfo.*` keys as a file, a network
 * namespace with its cards, and is restarted with back-off when it dies or hangs while the VM is powered on.
 *
 * Relies on: the virtual switch. Never: runs two processes for one VM, or leaves one of its children behind.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { InstancePaths } from '../../common/paths.js';
import { isRunning, type ProcessIdentity } from '../process-id.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { HANG_MS } from '../watchdog.js';
import { EndpointVm } from './endpoint-vm.js';

/** True for a VM that this runtime carries. */
export function isEndpoint(vm: VmDefinition): boolean {
  return vm.extraConfig.get('caisson.appliance') === 'endpoint';
}

/** Local processes as the carrier of endpoint VMs. */
export class ProcessRuntime implements VmRuntime {
  /**
   * @param hangMs an endpoint of which nothing is heard for so long is started again
   * @param program what an endpoint VM runs, a Node program
   */
  constructor(
    private readonly paths: InstancePaths,
    private readonly virtualSwitch: VirtualSwitch,
    private readonly hangMs = HANG_MS,
    private readonly program = fileURLToPath(new URL('../../../appliance/main.js', import.meta.url)),
  ) {}

  async powerOn(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm> {
    const running = await this.vm(vm, hooks, await this.virtualSwitch.connectEndpoint(vm.moid, vm.nics));
    try {
      await running.start();
    } catch (error) {
      await this.virtualSwitch.disconnectEndpoint(vm.moid);
      throw error;
    }
    return running;
  }

  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    const directory = await this.directory();
    const identity = await readFile(join(directory, `${vm.moid}.pid`), 'utf8').then(
      (text) => JSON.parse(text) as ProcessIdentity,
      () => null,
    );
    if (identity === null) {
      await this.virtualSwitch.disconnectEndpoint(vm.moid);
      return null;
    }
    const netns = await this.virtualSwitch.adoptEndpoint(vm.moid, vm.nics);
    if (netns !== null && isRunning(identity)) {
      const running = await this.vm(vm, hooks, netns);
      running.watch(identity);
      return running;
    }
    // It is powered on and its process died while no hostd was there to start it again.
    await this.vm(vm, hooks, '').then((old) => old.killLeftovers(identity));
    return this.powerOn(vm, hooks);
  }

  private async vm(vm: VmDefinition, hooks: VmHooks, netns: string): Promise<EndpointVm> {
    return new EndpointVm(vm, hooks, {
      directory: await this.directory(),
      program: this.program,
      netns,
      hangMs: this.hangMs,
      cleanUp: () => this.virtualSwitch.disconnectEndpoint(vm.moid),
    });
  }

  private async directory(): Promise<string> {
    const directory = join(this.paths.runDir, 'endpoint');
    await mkdir(directory, { recursive: true, mode: 0o700 });
    return directory;
  }
}
