/** hostd on a directory of its own with a runtime that only pretends to run VMs: everything but QEMU and the network is real. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type InstancePaths, instancePaths } from '../../src/common/paths.js';
import { type Hostd, startHostd } from '../../src/hostd/hostd.js';
import type { RunningVm, VmDefinition, VmHooks, VmRuntime } from '../../src/hostd/runtime.js';

/** Pretends to run VMs; a test plays the guest through `guests`. */
export class FakeRuntime implements VmRuntime {
  /** By name of the VM: what hostd gave to start it, and where its guest speaks to hostd. */
  readonly guests = new Map<string, { vm: VmDefinition; hooks: VmHooks }>();
  /** Names of VMs that went on. */
  readonly resumed: string[] = [];

  async powerOn(vm: VmDefinition, hooks: VmHooks): Promise<RunningVm> {
    this.guests.set(vm.name, { vm, hooks });
    const ended = (reason: 'powerOff' | 'guestPowerOff' | 'guestReset'): void => {
      if (this.guests.delete(vm.name)) hooks.exited({ reason });
    };
    return {
      pid: process.pid,
      startedAt: new Date(),
      powerOff: async () => ended('powerOff'),
      shutdownGuest: async () => ended('guestPowerOff'),
      reset: async () => ended('guestReset'),
      rebootGuest: async () => undefined,
      suspend: async () => undefined,
      suspended: async () => false,
      stalled: async () => false,
      resume: async () => {
        this.resumed.push(vm.name);
      },
      usage: async () => ({ residentBytes: 1_000_000, cpuSeconds: 1 }),
      release: () => undefined,
    };
  }

  async adopt(): Promise<null> {
    return null;
  }
}

/** A running hostd for a test. */
export interface FakeHostd extends Omit<Hostd, 'close'> {
  runtime: FakeRuntime;
  paths: InstancePaths;
  /** Stops hostd and starts it again on the same directory and port. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts hostd on a free port. Needs root, as hostd does. */
export async function startFakeHostd(options: { userBytes?: number } = {}): Promise<FakeHostd> {
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
