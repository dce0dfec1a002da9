/** hostd on its own directory with a runtime that only pretends to run VMs: all but QEMU and the network is real. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type InstancePaths, instancePaths } from '../../src/common/paths.js';
import { type Hostd, startHostd } from '../../src/hostd/hostd.js';
import type { HostSwitch } from '../../src/hostd/inventory/inventory.js';
import type { RunningVm, RuntimeDevice, VmDefinition, VmHooks, VmRuntime } from '../../src/hostd/runtime.js';

/** The operation during which a VM ends, for {@link FakeRuntime.endDuring}. */
export type Moment = 'powerOn' | 'adopt' | 'resume' | 'suspend' | 'plug' | 'unplug';

/** Pretends to run VMs; a test plays the guest through `guests`. */
export class FakeRuntime implements VmRuntime {
  /** By name of the VM: hostd's arguments for starting it, and its guest's connection to hostd. */
  readonly guests = new Map<string, { vm: VmDefinition; hooks: VmHooks }>();
  /** Names of VMs that continued. */
  readonly resumed: string[] = [];
  /** The guest powers its VM off while hostd performs this operation, before hostd is done. */
  endDuring: Moment | null = null;
  /** Devices plugged into and removed from running VMs, in order, with the VM's name. */
  readonly plugged: { name: string; operation: 'plug' | 'unplug'; device: RuntimeDevice }[] = [];
  /** Throws for devices that cannot be plugged in or removed. */
  refusePlug: (operation: 'plug' | 'unplug', device: RuntimeDevice) => void = () => undefined;

  async powerOn(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm> {
    this.guests.set(vm.name, { vm, hooks });
    await this.pass('powerOn', vm.name);
    return this.running(vm.name);
  }

  /** Finds a VM again only for it to end. */
  async adopt(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm | null> {
    if (this.endDuring !== 'adopt' || !this.guests.has(vm.name)) return null;
    this.guests.set(vm.name, { vm, hooks });
    await this.pass('adopt', vm.name);
    return this.running(vm.name);
  }

  private async pass(moment: Moment, name: string): Promise<void> {
    if (this.endDuring !== moment) return;
    this.end(name, 'guestPowerOff');
    await sleep(20);
  }

  private async plug(name: string, operation: 'plug' | 'unplug', device: RuntimeDevice): Promise<void> {
    await this.pass(operation, name);
    if (!this.guests.has(name)) throw new Error('QEMU has ended');
    this.refusePlug(operation, device);
    this.plugged.push({ name, operation, device });
  }

  private end(name: string, reason: 'powerOff' | 'guestPowerOff' | 'guestReset'): void {
    const guest = this.guests.get(name);
    this.guests.delete(name);
    guest?.hooks.exited({ reason });
  }

  private running(name: string): RunningVm {
    const answered = async (): Promise<boolean> => {
      if (!this.guests.has(name)) throw new Error('QEMU has ended');
      return false;
    };
    return {
      pid: process.pid,
      startedAt: new Date(),
      powerOff: async () => this.end(name, 'powerOff'),
      shutdownGuest: async () => this.end(name, 'guestPowerOff'),
      reset: async () => this.end(name, 'guestReset'),
      rebootGuest: async () => undefined,
      suspend: () => this.pass('suspend', name),
      suspended: answered,
      stalled: answered,
      resume: async () => {
        await this.pass('resume', name);
        this.resumed.push(name);
      },
      plug: (device) => this.plug(name, 'plug', device),
      unplug: (device) => this.plug(name, 'unplug', device),
      switchDisk: async () => undefined,
      releaseDisk: async () => undefined,
      relinkDisk: async () => undefined,
      usage: async () => ({ residentBytes: 1_000_000, cpuSeconds: 1 }),
      release: () => undefined,
    };
  }
}

/** A running hostd for a test. */
export interface FakeHostd extends Omit<Hostd, 'close'> {
  runtime: FakeRuntime;
  paths: InstancePaths;
  /** Restarts hostd on the same directory and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts hostd on a free port. Needs root, as hostd does. */
export async function startFakeHostd(
  options: { userBytes?: number; virtualSwitch?: HostSwitch } = {},
): Promise<FakeHostd> {
  const paths = instancePaths(await mkdtemp(join(tmpdir(), 'caisson-hostd-')));
  const runtime = new FakeRuntime();
  const start = (port: number): Promise<Hostd> =>
    startHostd({ paths, runtime, virtualSwitch: null, listen: { host: '127.0.0.1', port }, ...options });
  let hostd = await start(0);
  return {
    ...hostd,
    runtime,
    paths,
    async restart() {
      await hostd.close();
      hostd = await start(Number(new URL(hostd.url).port));
    },
    async stop() {
      await hostd.close();
      await rm(paths.stateDir, { recursive: true });
      await rm(paths.runDir, { recursive: true, force: true });
    },
  };
}
