/**
 * Runs the endpoint VM: the one VM that is not a QEMU but a local process, with a user of its own. It gets its `guestinfo.*` keys as a
 * file, a network namespace with its cards, and a porter that does what takes rights (`src/porter`). It is restarted with back-off when it
 * dies or hangs while the VM is powered on.
 *
 * Relies on the virtual switch. Never runs two processes for one VM, never leaves one of its children behind.
 */
import { chmod, mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { logger } from '../../common/log.js';
import type { InstancePaths } from '../../common/paths.js';
import { isRunning } from '../../common/process-id.js';
import { programPath } from '../../common/programs.js';
import { HANG_MS } from '../../common/watchdog.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { removeChannels } from './endpoint-files.js';
import { type EndpointIdentity, EndpointVm } from './endpoint-vm.js';
import { type ProgramPlace, programPlace } from './program-place.js';
import { VchUsers } from './vch-users.js';

const log = logger('endpoint-vm');

/** True for a VM that this runtime carries. */
export function isEndpoint(vm: VmDefinition): boolean {
  return vm.extraConfig.get('caisson.appliance') === 'endpoint';
}

/** Runs endpoint VMs as local processes. */
export class EndpointRuntime implements VmRuntime {
  private readonly users: VchUsers;
  private readable: Promise<ProgramPlace> | null = null;

  /**
   * @param hangMs an endpoint that is silent for so long is started again
   * @param standby whether a second endpoint stands by for each
   * @param program what an endpoint VM runs, a Node program; undefined: the endpoint
   */
  constructor(
    private readonly paths: InstancePaths,
    private readonly virtualSwitch: VirtualSwitch,
    private readonly hangMs = HANG_MS,
    private readonly standby = false,
    private readonly program?: string,
  ) {
    this.users = new VchUsers(join(paths.stateDir, 'endpoint-users.json'));
  }

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
      (text) => JSON.parse(text) as EndpointIdentity,
      () => null,
    );
    if (identity === null) {
      await this.virtualSwitch.disconnectEndpoint(vm.moid);
      return null;
    }
    const netns = await this.virtualSwitch.adoptEndpoint(vm.moid, vm.nics);
    if (isRunning(identity) && identity.porter === undefined)
      log.warn(
        { vm: vm.name },
        'the endpoint was started by an earlier version and runs as root: it is ended and started again under a user of its own',
      );
    else if (netns !== null && isRunning(identity)) {
      const running = await this.vm(vm, hooks, netns);
      await running.adopted(identity);
      return running;
    }
    // It is powered on and its process died while no hostd was there to start it again.
    const old = await this.vm(vm, hooks, '');
    await old.endLeftSpare();
    await old.killLeftovers(identity);
    return this.powerOn(vm, hooks);
  }

  /** Removes its directory for sockets, with what processes that were killed have left there. */
  async forget(vm: VmDefinition): Promise<void> {
    const user = await this.users.kept(vm.directory);
    if (user !== null) await removeChannels(vm, user.endpoint);
  }

  private async vm(vm: VmDefinition, hooks: VmHooks, netns: string): Promise<EndpointVm> {
    const directory = await this.directory();
    this.readable ??= programPlace(directory).catch((error: unknown) => {
      this.readable = null;
      throw error;
    });
    return new EndpointVm(vm, hooks, {
      directory,
      program: this.program ?? programPath('appliance/main.js'),
      readable: await this.readable,
      users: this.users,
      netns,
      filesSocket: this.paths.filesSocket,
      hangMs: this.hangMs,
      standby: this.standby,
      plugCard: (nic) => this.virtualSwitch.plugEndpointCard(vm.moid, nic),
      unplugCard: async (nic) => this.virtualSwitch.unplugEndpointCard(vm.moid, nic),
      cleanUp: () => this.virtualSwitch.disconnectEndpoint(vm.moid),
    });
  }

  private async directory(): Promise<string> {
    const directory = join(this.paths.runDir, 'endpoint');
    await mkdir(directory, { recursive: true, mode: 0o711 });
    // An endpoint reads its keys there. An earlier version made it closed to everybody.
    await chmod(directory, 0o711);
    return directory;
  }
}
