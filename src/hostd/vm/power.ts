/** A VM's power: turning it on and off, finding it again after a restart of hostd, and what happens while it runs. */
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { DATASTORE } from '../datastore/datastore-places.js';
import { type FaultError, fault } from '../faults.js';
import { HeldHooks } from '../held-hooks.js';
import type { RunningVm, VmDefinition, VmExit, VmHooks, VmRuntime } from '../runtime.js';
import { weigh } from './cpu-shares.js';
import { DiskStall } from './disk-stall.js';
import type { GuestValues } from './guest-values.js';
import type { VmConfig } from './vm-config.js';
import type { PostVmEvent } from './vm-events.js';

const log = logger('vm');

/** VirtualMachinePowerState. */
export type PowerState = 'poweredOff' | 'poweredOn' | 'suspended';

const WORDS: Record<PowerState, string> = {
  poweredOff: 'Powered off',
  poweredOn: 'Powered on',
  suspended: 'Suspended',
};

/** What it needs of its VM. */
export interface PoweredVm {
  readonly directory: string;
  readonly config: VmConfig;
  readonly guestValues: GuestValues;
  readonly postEvent: PostVmEvent;
  definition(): VmDefinition;
  /** Tells watchers that these properties have changed. */
  touch(...properties: string[]): void;
  /** Resolves when its .vmx file is written, if it is being written. */
  fileIdle(): Promise<void>;
  /** Runs work once all operations before it have ended. */
  exclusive<T>(body: () => Promise<T>): Promise<T>;
  /** It has just been powered off. */
  turnedOff(): void;
}

export class VmPower {
  private current: PowerState = 'poweredOff';
  /** What runs the VM; null as soon as that has ended, which is before everybody knows that the VM is off. */
  private carrier: RunningVm | null = null;
  /** Resolves when everybody knows that the last run has ended. */
  private ended: Promise<void> = Promise.resolve();
  /** A reset is under way, which will start the VM again itself. */
  private resetting = false;
  private readonly stall: DiskStall;

  constructor(
    private readonly vm: PoweredVm,
    private readonly runtime: VmRuntime,
  ) {
    this.stall = new DiskStall({
      directory: vm.directory,
      resume: async () => {
        await this.carrier?.resume();
      },
      powerOff: async () => {
        await this.carrier?.powerOff();
      },
      changed: () => vm.touch('runtime', 'summary'),
    });
  }

  get state(): PowerState {
    return this.current;
  }

  /** The VM as it runs; null when it does not. */
  get running(): RunningVm | null {
    return this.carrier;
  }

  get bootTime(): Date | undefined {
    return this.carrier?.startedAt;
  }

  /** What the VM asks when there is no space for its disks. */
  get question(): DiskStall['question'] {
    return this.stall.question;
  }

  answer(questionId: string, choice: string): Promise<void> {
    return this.stall.answer(questionId, choice);
  }

  /** @throws InvalidPowerState */
  mustBe(state: PowerState): void {
    if (this.current !== state) throw this.invalidState();
  }

  // --- operations ---------------------------------------------------------------------------------------------------

  async powerOn(user: string): Promise<void> {
    if (this.current === 'suspended') {
      await this.duringRun((carrier) => carrier.resume());
      this.set('poweredOn');
      return;
    }
    this.mustBe('poweredOff');
    await this.start(user);
  }

  async powerOff(): Promise<void> {
    if (this.current === 'poweredOff') throw this.invalidState();
    await this.carrier?.powerOff();
    // The run must be over by the time the caller learns that the VM is off: it may power it on at once.
    await this.ended;
  }

  async reset(user: string): Promise<void> {
    this.mustBe('poweredOn');
    this.resetting = true;
    try {
      await this.carrier?.reset();
      await this.ended;
    } finally {
      this.resetting = false;
    }
    // The VM must be on when the task is done, since the next operation may need that.
    if (this.current === 'poweredOff') await this.start(user);
  }

  async suspend(user: string): Promise<void> {
    this.mustBe('poweredOn');
    await this.duringRun((carrier) => carrier.suspend());
    this.set('suspended');
    this.vm.postEvent('VmSuspendedEvent', 'is suspended', user);
  }

  async shutdownGuest(user: string): Promise<void> {
    this.mustBe('poweredOn');
    this.vm.postEvent('VmGuestShutdownEvent', 'guest OS shut down', user);
    await this.carrier?.shutdownGuest();
  }

  async rebootGuest(user: string): Promise<void> {
    this.mustBe('poweredOn');
    this.vm.postEvent('VmGuestRebootEvent', 'guest OS rebooted', user);
    await this.carrier?.rebootGuest();
  }

  /** Gives the VM's process the CPU weight from its configuration. */
  weigh(): void {
    const { cpuShares, cpus } = this.vm.config;
    if (this.carrier !== null) weigh(this.carrier.pid, cpuShares ?? 1000 * cpus, cpus);
  }

  /** Finds the VM's process again after a restart of hostd. */
  async adopt(): Promise<void> {
    const hooks = new HeldHooks(this.hooks());
    const carrier = await this.runtime.adopt(this.vm.definition(), hooks);
    if (carrier === null) return;
    this.carrier = carrier;
    // A VM that does not answer has ended, and that will be noticed; until then it counts as on.
    const [suspended, stalled] = await Promise.all([
      carrier.suspended().catch(() => false),
      carrier.stalled().catch(() => false),
    ]);
    this.set(suspended ? 'suspended' : 'poweredOn');
    if (stalled) this.stalled();
    log.info({ vm: this.vm.config.name, pid: carrier.pid }, 'found a running VM');
    hooks.handOver();
  }

  /** Lets go of the VM when hostd stops; the VM keeps running. */
  release(): void {
    this.stall.clear();
    this.vm.guestValues.flush();
    this.carrier?.release();
  }

  // --- the life of a run --------------------------------------------------------------------------------------------

  private async start(user: string): Promise<void> {
    this.vm.guestValues.clear();
    this.vm.touch('config.extraConfig', 'guest', 'summary.guest');
    this.vm.postEvent('VmStartingEvent', 'is starting', user);
    const hooks = new HeldHooks(this.hooks());
    try {
      this.carrier = await this.runtime.powerOn(this.vm.definition(), hooks);
    } catch (error) {
      this.stall.clear();
      this.vm.postEvent('VmFailedToPowerOnEvent', 'could not be powered on', user, {
        reason: { fault: { $type: 'SystemError', reason: messageOf(error) }, localizedMessage: messageOf(error) },
      });
      throw error;
    }
    if (this.vm.config.cpuShares !== null) this.weigh();
    this.set('poweredOn');
    this.vm.postEvent('VmPoweredOnEvent', 'is powered on', user);
    hooks.handOver();
  }

  /**
   * Acts on the running VM. @throws InvalidPowerState if the run ends before that is done: the VM is off then, and must not be reported in
   * any other state
   */
  async duringRun(act: (carrier: RunningVm) => Promise<void>): Promise<void> {
    const { carrier } = this;
    const acting = carrier === null ? Promise.resolve() : act(carrier);
    await acting.catch((error: unknown) => {
      if (this.carrier === carrier) throw error;
    });
    if (carrier !== null && this.carrier === carrier) return;
    await this.ended;
    throw this.invalidState();
  }

  private hooks(): VmHooks {
    return {
      infoGet: (key) => this.vm.guestValues.get(key),
      infoSet: (key, value) => this.vm.guestValues.set(key, value),
      stalled: () => this.stalled(),
      exited: (exit) => this.exited(exit),
    };
  }

  /** A disk could not be written: QEMU has stopped the VM. */
  private stalled(): void {
    if (this.stall.question !== undefined) return;
    this.stall.raise();
    const { name, hardware } = this.vm.config;
    this.vm.postEvent('VmDiskFailedEvent', 'stands still: there is no more space for its disks', '', {
      disk: hardware.disks[0]?.file ?? '',
      reason: {
        fault: { $type: 'NoDiskSpace', file: '', datastore: DATASTORE },
        localizedMessage: 'There is no more space on the datastore',
      },
    });
    log.warn({ vm: name }, 'a VM stands still: there is no more space for its disks');
  }

  private exited(exit: VmExit): void {
    this.stall.clear();
    // What the guest said last is told before the VM is known to be off.
    this.vm.guestValues.flush();
    this.carrier = null;
    this.ended = this.vm.fileIdle().then(() => {
      this.set('poweredOff');
      this.vm.turnedOff();
      const crash = exit.reason === 'crashed' ? `: ${exit.message}` : '';
      this.vm.postEvent('VmPoweredOffEvent', `is powered off${crash}`, exit.reason === 'powerOff' ? 'root' : '');
      if (exit.reason === 'guestReset' && !this.resetting)
        void this.vm
          .exclusive(() => this.start(''))
          .catch((error: unknown) => log.error({ err: error }, 'restart after reset failed'));
    });
  }

  private set(state: PowerState): void {
    this.current = state;
    this.vm.touch('runtime', 'summary', 'guest', 'guestHeartbeatStatus');
  }

  private invalidState(): FaultError {
    const { current } = this;
    return fault(
      'InvalidPowerState',
      `The attempted operation cannot be performed in the current state (${WORDS[current]}).`,
      { existingState: current },
    );
  }
}
