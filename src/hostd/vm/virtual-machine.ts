/** VirtualMachine: a VM of the inventory, its operations, and its life as a running one. */

import { rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { invalid, messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { Saver } from '../../common/saver.js';
import { propertyNames, typeField } from '../../vim25/table.js';
import type {
  ManagedObjectReference,
  VirtualDeviceConfigSpec,
  VirtualMachineConfigSpec,
} from '../../vim25/types.generated.js';
import { checkChange, checkDevices, checkKeys, ownerOf } from '../access/machine-access.js';
import { checkBounds } from '../access/machine-bounds.js';
import { forgetRecord, recordDisks } from '../disks/disk-records.js';
import { type FaultError, fault } from '../faults.js';
import { HeldHooks } from '../held-hooks.js';
import { DATASTORE } from '../inventory/datastore.js';
import type { Host } from '../inventory/host.js';
import { ManagedObject } from '../inventory/managed-object.js';
import type { RunningVm, RuntimeNic, VmDefinition, VmExit, VmHooks } from '../runtime.js';
import type { CallContext } from '../server/session.js';
import { ADDRESSES_KEY, assignedAddresses } from './assigned-addresses.js';
import { MAX_SHARES, sharesOf, weigh } from './cpu-shares.js';
import { DiskStall } from './disk-stall.js';
import { isAddressKey } from './guest-addresses.js';
import { applyDeviceChanges } from './hardware.js';
import { Paced } from './paced.js';
import { refuseUnsupported } from './unsupported-options.js';
import { isOwnKey, saveVmx, type VmConfig } from './vm-config.js';
import {
  configInfo,
  fileLayout,
  fileLayoutEx,
  guestInfo,
  resourceConfig,
  runtimeInfo,
  storageInfo,
  type VmView,
  vmCapability,
  vmSummary,
} from './vm-info.js';

const log = logger('vm');
const STATUS_PREFIX = 'guestinfo.caisson.run.';
const MAX_GUEST_VALUE = 4096;
const MAX_NAME = 80;
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const CAPABILITY = vmCapability((name) => typeField('VirtualMachineCapability', name) !== undefined);

type PowerState = 'poweredOff' | 'poweredOn' | 'suspended';

/** A VM. Operations on one VM run one after the other. */
export class VirtualMachine extends ManagedObject {
  private state: PowerState = 'poweredOff';
  private running: RunningVm | null = null;
  private bootTime: Date | undefined;
  private queue: Promise<unknown> = Promise.resolve();
  /** When it is known everywhere that the last run has ended. */
  private ended: Promise<void> = Promise.resolve();
  /** A reset is under way, and starts it again itself. */
  private resetting = false;
  /** Properties of what the guest has set lately: it may set something all the time, which writes a file and wakes all that watch. */
  private readonly guestChanged = new Set<string>();
  private readonly guestTold = new Paced(() => this.tellGuestValues());
  private readonly file = new Saver(async () => {
    if (!this.removed) await saveVmx(this.vmx, this.host.datastore.pathOf(this.directory), this.config);
  });
  private removed = false;
  private readonly stall: DiskStall;

  constructor(
    id: string,
    private readonly host: Host,
    /** Local path of the .vmx file. */
    readonly vmx: string,
    public config: VmConfig,
    public pool: ManagedObjectReference,
    public folder: ManagedObjectReference,
  ) {
    super('VirtualMachine', id);
    this.stall = new DiskStall({
      directory: this.directory,
      resume: async () => {
        await this.running?.resume();
      },
      powerOff: async () => {
        await this.running?.powerOff();
      },
      changed: () => this.host.registry.touch(this, 'runtime', 'summary'),
    });
  }

  get directory(): string {
    return dirname(this.vmx);
  }

  get powerState(): PowerState {
    return this.state;
  }

  // --- properties ---------------------------------------------------------------------------------------------------

  property(name: string): unknown {
    switch (name) {
      case 'name':
        return this.config.name;
      case 'parent':
        return this.folder;
      case 'resourcePool':
        return this.pool;
      case 'config':
        return configInfo(this.view());
      case 'runtime':
        return runtimeInfo(this.view());
      case 'guest':
        return guestInfo(this.view());
      case 'summary':
        return vmSummary(this.view());
      case 'resourceConfig':
        return resourceConfig(this.view());
      case 'storage':
        return storageInfo(this.view());
      case 'layout':
        return fileLayout(this.view());
      case 'layoutEx':
        return fileLayoutEx(this.view());
      case 'datastore':
        return [this.host.datastore.ref];
      case 'network':
        return this.networks();
      case 'capability':
        return CAPABILITY;
      case 'environmentBrowser':
        return this.host.environmentBrowser;
      case 'rootSnapshot':
        return [];
      case 'guestHeartbeatStatus':
        return this.state === 'poweredOn' ? 'green' : 'gray';
      default:
        return undefined;
    }
  }

  propertyNames(): string[] {
    return propertyNames('VirtualMachine');
  }

  private view(): VmView {
    const { ref, host, config, vmx, directory, powerState, bootTime } = this;
    return { ref, host, config, vmx, directory, powerState, bootTime, question: this.stall.question };
  }

  private networks(): ManagedObjectReference[] {
    const names = new Set(this.config.hardware.nics.map((nic) => nic.portGroup));
    return [...names].flatMap((name) => this.host.networkRef(name) ?? []);
  }

  // --- operations ---------------------------------------------------------------------------------------------------

  PowerOnVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.powerOn', context, async () => {
      if (this.state === 'suspended') {
        await this.duringRun((running) => running.resume());
        this.setState('poweredOn');
        return;
      }
      this.mustBe('poweredOff');
      await this.start(context.userName);
    });
  }

  /** Of the question that a VM without room for its disks asks. */
  AnswerVM(args: { questionId: string; answerChoice: string }): Promise<void> {
    return this.stall.answer(args.questionId, args.answerChoice);
  }

  PowerOffVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.powerOff', context, async () => {
      if (this.state === 'poweredOff') throw this.invalidState();
      await this.running?.powerOff();
      // Who was told that it is off may power it on at once.
      await this.ended;
    });
  }

  ResetVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.reset', context, async () => {
      this.mustBe('poweredOn');
      this.resetting = true;
      try {
        await this.running?.reset();
        await this.ended;
      } finally {
        this.resetting = false;
      }
      // It is on when the task is done: the next thing asked of it may need that.
      if (this.state === 'poweredOff') await this.start(context.userName);
    });
  }

  SuspendVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.suspend', context, async () => {
      this.mustBe('poweredOn');
      await this.duringRun((running) => running.suspend());
      this.setState('suspended');
      this.event('VmSuspendedEvent', 'is suspended', context.userName);
    });
  }

  async ShutdownGuest(_args: unknown, context: CallContext): Promise<void> {
    this.mustBe('poweredOn');
    this.event('VmGuestShutdownEvent', 'guest OS shut down', context.userName);
    await this.running?.shutdownGuest();
  }

  async RebootGuest(_args: unknown, context: CallContext): Promise<void> {
    this.mustBe('poweredOn');
    this.event('VmGuestRebootEvent', 'guest OS rebooted', context.userName);
    await this.running?.rebootGuest();
  }

  ReconfigVM_Task(args: { spec: VirtualMachineConfigSpec }, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.reconfigure', context, () => this.reconfigure(args.spec, context.userName));
  }

  Rename_Task(args: { newName: string }, context: CallContext): ManagedObjectReference {
    return this.task('ManagedEntity.rename', context, () => this.reconfigure({ name: args.newName }, context.userName));
  }

  Destroy_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('ManagedEntity.destroy', context, async () => {
      this.mustBe('poweredOff');
      const full = (error: unknown): boolean => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        return true;
      };
      // Where there is no room to write the inventory, there is when the VM's files are gone.
      const again = await this.unregister(context.userName).then(() => false, full);
      // Disks elsewhere (volumes, images) belong to others.
      await rm(this.directory, { recursive: true, force: true });
      if (again && (await this.host.save().then(() => false, full)))
        log.warn({ vm: this.config.name }, 'the datastore is full: the inventory is written without the VM later');
    });
  }

  UnregisterVM(_args: unknown, context: CallContext): Promise<void> {
    return this.exclusive(async () => {
      this.mustBe('poweredOff');
      await this.unregister(context.userName);
    });
  }

  CreateSnapshot_Task(): never {
    throw fault('NotSupported', 'Snapshots are not supported by this host');
  }

  CloneVM_Task(): never {
    throw fault('NotSupported', 'Cloning needs a vCenter');
  }

  MarkAsTemplate(): never {
    throw fault('NotSupported', 'Templates need a vCenter');
  }

  RelocateVM_Task(): never {
    throw fault('NotSupported', 'This is the only host and its only datastore');
  }

  // --- configuration ------------------------------------------------------------------------------------------------

  /** Applies a spec to a VM that is being created or changed. @throws typed faults; the VM is unchanged then */
  async reconfigure(spec: VirtualMachineConfigSpec, user: string, creating = false): Promise<void> {
    if (
      spec.changeVersion !== undefined &&
      spec.changeVersion !== '' &&
      spec.changeVersion !== String(this.config.changeVersion)
    ) {
      throw fault('ConcurrentAccess', 'The object has already been modified by another operation');
    }
    refuseUnsupported(spec, creating);
    if (!creating) checkChange(this, spec);
    const { config } = this;
    const next: VmConfig = { ...config, extraConfig: new Map(config.extraConfig) };
    if (spec.name !== undefined && spec.name !== config.name) next.name = this.host.checkVmName(spec.name, this);
    if (next.name.length > MAX_NAME)
      throw fault('InvalidName', `The name is longer than ${MAX_NAME} characters`, { name: next.name });
    if (spec.numCPUs !== undefined || spec.memoryMB !== undefined) this.mustBeOff();
    next.cpus = inRange('numCPUs', spec.numCPUs ?? config.cpus, 1, 256);
    next.memoryMiB = inRange('memoryMB', spec.memoryMB ?? config.memoryMiB, 32, 16 * 1024 * 1024);
    const shares = spec.cpuAllocation?.shares;
    if (shares !== undefined) {
      next.cpuShares = sharesOf(shares.level, shares.shares, next.cpus);
      if (next.cpuShares !== null) inRange('cpuAllocation.shares', next.cpuShares, 0, MAX_SHARES);
    }
    if (spec.guestId !== undefined) next.guestId = checkText('guestId', spec.guestId, /^\w{1,64}$/);
    if (spec.annotation !== undefined) next.annotation = spec.annotation;
    if (spec.uuid !== undefined && spec.uuid !== '') next.uuid = checkText('uuid', spec.uuid, UUID).toLowerCase();
    if (spec.instanceUuid !== undefined && spec.instanceUuid !== '')
      next.instanceUuid = checkText('instanceUuid', spec.instanceUuid, UUID).toLowerCase();
    for (const option of spec.extraConfig ?? []) setExtra(next.extraConfig, option.key, option.value);
    checkKeys(this.host, this, config.extraConfig, next.extraConfig);
    checkBounds(this.host, this.pool.value, config, next);
    const changes = (spec.deviceChange ?? []) as VirtualDeviceConfigSpec[];
    if (changes.length > 0) await this.changeDevices(next, changes, creating);
    next.changeVersion++;
    this.config = next;
    await this.save();
    if (next.cpuShares !== config.cpuShares) this.weigh();
    if (this.running !== null && next.extraConfig.get(ADDRESSES_KEY) !== config.extraConfig.get(ADDRESSES_KEY))
      await this.host.virtualSwitch?.allow(this.ref.value, this.nics());
    this.host.registry.touch(this, 'config', 'name', 'summary', 'guest', 'network');
    if (creating) return;
    if (next.name !== config.name) {
      const names = { oldName: config.name, newName: next.name };
      this.event('VmRenamedEvent', `was renamed from ${config.name} to ${next.name}`, user, names);
    }
    if (Object.keys(spec).some((key) => key !== 'name' && key !== '$type'))
      this.event('VmReconfiguredEvent', 'was reconfigured', user, { configSpec: {} });
  }

  private async changeDevices(next: VmConfig, changes: VirtualDeviceConfigSpec[], creating: boolean): Promise<void> {
    if (!creating) this.mustBeOff();
    const base = basename(this.vmx, '.vmx');
    const { hardware, create, removedFiles } = applyDeviceChanges(next.hardware, changes, {
      // Those that a caller may not know of are not there.
      portGroups: this.host.seenPortGroups(),
      defaultDiskFile: (index) =>
        this.host.datastore.pathOf(join(this.directory, `${base}${index === 0 ? '' : `_${index}`}.vmdk`)),
    });
    await checkDevices(this.host, this, next.hardware, hardware, { create, removed: removedFiles });
    const made: string[] = [];
    try {
      for (const { disk, parent, capacityBytes } of create) {
        const local = this.host.datastore.resolve(disk.file);
        await this.host.disks.create(
          local,
          parent === null ? null : this.host.datastore.resolve(parent),
          capacityBytes,
        );
        made.push(local);
      }
    } catch (error) {
      for (const file of made) {
        await rm(file, { force: true });
        await forgetRecord(file);
      }
      throw error;
    }
    // Before any QEMU has them.
    await recordDisks(hardware.disks.map(({ file }) => this.host.datastore.resolve(file)));
    next.hardware = hardware;
    for (const file of removedFiles) {
      const local = this.host.datastore.resolve(file);
      await rm(local, { force: true });
      await forgetRecord(local);
    }
  }

  private async save(): Promise<void> {
    await this.file.save();
  }

  // --- running ------------------------------------------------------------------------------------------------------

  private definition(): VmDefinition {
    const { config } = this;
    const { datastore } = this.host;
    return {
      moid: this.ref.value,
      uuid: config.uuid,
      name: config.name,
      directory: this.directory,
      cpus: config.cpus,
      memoryMiB: config.memoryMiB,
      disks: config.hardware.disks.map(({ bus, unit, file, mode }) => ({
        bus,
        unit,
        path: datastore.resolve(file),
        // What a guest writes to such a disk is gone with its run: here it cannot write at all.
        readOnly: mode === 'independent_nonpersistent',
      })),
      nics: this.nics(),
      serials: config.hardware.serials.map(({ backing }, index) => ({
        index,
        backing:
          backing.kind === 'file'
            ? { kind: 'file' as const, path: datastore.resolve(backing.file) }
            : { kind: 'unixClient' as const, path: backing.serviceUri.slice('unix://'.length) },
      })),
      extraConfig: config.extraConfig,
      vch: ownerOf(this.host, this.pool),
    };
  }

  private nics(): RuntimeNic[] {
    const { hardware, extraConfig } = this.config;
    const assigned = assignedAddresses(extraConfig);
    return hardware.nics.map(({ mac, portGroup, connected }, index) => ({
      index,
      mac,
      portGroup,
      connected,
      addresses: assigned === undefined ? undefined : (assigned.get(mac.toLowerCase()) ?? []),
    }));
  }

  private hooks(): VmHooks {
    return {
      infoGet: (key) => (key.startsWith('guestinfo.') ? this.config.extraConfig.get(key) : undefined),
      infoSet: (key, value) => this.guestSets(key, value),
      stalled: () => this.stalled(),
      exited: (exit) => this.exited(exit),
    };
  }

  private guestSets(key: string, value: string): void {
    if (!(key.startsWith(STATUS_PREFIX) && key.length < 128) && !isAddressKey(key))
      throw invalid(`the guest may not set ${key}`);
    if (Buffer.byteLength(value) > MAX_GUEST_VALUE) throw invalid('the value is too long');
    if (this.config.extraConfig.get(key) === value) return;
    this.config.extraConfig.set(key, value);
    this.guestChanged.add('config.extraConfig');
    if (isAddressKey(key)) this.guestChanged.add('guest').add('summary.guest');
    this.guestTold.ask();
  }

  /** Tells of what the guest has set, and writes it down. */
  private tellGuestValues(): void {
    this.host.registry.touch(this, ...this.guestChanged);
    this.guestChanged.clear();
    void this.save().catch((error: unknown) =>
      log.error({ err: error, vm: this.config.name }, 'saving a .vmx file failed'),
    );
  }

  private async start(user: string): Promise<void> {
    for (const key of this.config.extraConfig.keys())
      if (key.startsWith(STATUS_PREFIX) || isAddressKey(key)) this.config.extraConfig.delete(key);
    this.host.registry.touch(this, 'config.extraConfig', 'guest', 'summary.guest');
    this.event('VmStartingEvent', 'is starting', user);
    const hooks = new HeldHooks(this.hooks());
    try {
      this.running = await this.host.runtime.powerOn(this.definition(), hooks);
    } catch (error) {
      this.stall.clear();
      this.event('VmFailedToPowerOnEvent', 'could not be powered on', user, {
        reason: { fault: { $type: 'SystemError', reason: messageOf(error) }, localizedMessage: messageOf(error) },
      });
      throw error;
    }
    this.bootTime = this.running.startedAt;
    if (this.config.cpuShares !== null) this.weigh();
    this.setState('poweredOn');
    this.event('VmPoweredOnEvent', 'is powered on', user);
    hooks.handOver();
  }

  /** Does something to the VM as it runs. @throws InvalidPowerState when the run has ended before that was done: the VM is off then */
  private async duringRun(act: (running: RunningVm) => Promise<void>): Promise<void> {
    const { running } = this;
    let failure: { error: unknown } | undefined;
    if (running !== null)
      await act(running).catch((error: unknown) => {
        failure = { error };
      });
    if (running === null || this.running !== running) {
      await this.ended;
      throw this.invalidState();
    }
    if (failure !== undefined) throw failure.error;
  }

  private weigh(): void {
    const { cpuShares, cpus } = this.config;
    if (this.running !== null) weigh(this.running.pid, cpuShares ?? 1000 * cpus, cpus);
  }

  /** Finds the VM's process again after a restart of hostd. */
  async adopt(): Promise<void> {
    const hooks = new HeldHooks(this.hooks());
    const running = await this.host.runtime.adopt(this.definition(), hooks);
    if (running === null) return;
    this.running = running;
    this.bootTime = running.startedAt;
    // One that does not answer has just ended, or will be found to be ended: until then it is on.
    const [suspended, stalled] = await Promise.all([
      running.suspended().catch(() => false),
      running.stalled().catch(() => false),
    ]);
    this.setState(suspended ? 'suspended' : 'poweredOn');
    if (stalled) this.stalled();
    log.info({ vm: this.config.name, pid: running.pid }, 'found a running VM');
    hooks.handOver();
  }

  /** A disk could not be written: QEMU has stopped the VM. */
  private stalled(): void {
    if (this.stall.question !== undefined) return;
    this.stall.raise();
    const reason = { fault: { $type: 'NoDiskSpace', file: '', datastore: DATASTORE } };
    const localizedMessage = 'There is no more space on the datastore';
    this.event('VmDiskFailedEvent', 'stands still: there is no more space for its disks', '', {
      disk: this.config.hardware.disks[0]?.file ?? '',
      reason: { ...reason, localizedMessage },
    });
    log.warn({ vm: this.config.name }, 'a VM stands still: there is no more space for its disks');
  }

  private exited(exit: VmExit): void {
    this.stall.clear();
    // How it ended is known before that it is off.
    this.guestTold.flush();
    this.running = null;
    this.bootTime = undefined;
    this.ended = this.file.idle().then(() => {
      this.setState('poweredOff');
      const crash = exit.reason === 'crashed' ? `: ${exit.message}` : '';
      this.event('VmPoweredOffEvent', `is powered off${crash}`, exit.reason === 'powerOff' ? 'root' : '');
      if (exit.reason === 'guestReset' && !this.resetting)
        void this.exclusive(() => this.start('')).catch((error: unknown) =>
          log.error({ err: error }, 'restart after reset failed'),
        );
    });
  }

  release(): void {
    this.stall.clear();
    this.guestTold.flush();
    this.running?.release();
  }

  // --- helpers ------------------------------------------------------------------------------------------------------

  private setState(state: PowerState): void {
    this.state = state;
    this.host.registry.touch(this, 'runtime', 'summary', 'guest', 'guestHeartbeatStatus');
  }

  private mustBe(state: PowerState): void {
    if (this.state !== state) throw this.invalidState();
  }

  private mustBeOff(): void {
    if (this.state !== 'poweredOff') throw this.invalidState();
  }

  private invalidState(): FaultError {
    return fault(
      'InvalidPowerState',
      `The attempted operation cannot be performed in the current state (${this.state === 'poweredOn' ? 'Powered on' : this.state === 'suspended' ? 'Suspended' : 'Powered off'}).`,
      { existingState: this.state },
    );
  }

  private event(type: string, what: string, user: string, elements: Record<string, unknown> = {}): void {
    this.host.events.post(type, `${this.config.name} on ${this.host.hostName} ${what}`, user, {
      vm: { name: this.config.name, vm: this.ref },
      host: { name: this.host.hostName, host: this.host.hostSystem },
      template: false,
      ...elements,
    });
  }

  private async unregister(user: string): Promise<void> {
    this.event('VmRemovedEvent', 'was removed', user);
    this.removed = true;
    await this.file.idle();
    await this.host.forget(this);
  }

  private task(operation: string, context: CallContext, body: () => Promise<unknown>): ManagedObjectReference {
    return this.host.tasks.run(operation, this, this.config.name, context.userName, () => this.exclusive(body));
  }

  private exclusive<T>(body: () => Promise<T>): Promise<T> {
    const run = this.queue.then(() => {
      if (this.removed) throw fault('ManagedObjectNotFound', 'The VM has been removed', { obj: this.ref });
      return body();
    });
    this.queue = run.catch(() => undefined);
    return run;
  }
}

function setExtra(extra: Map<string, string>, key: string, value: unknown): void {
  if (isOwnKey(key))
    throw fault('InvalidArgument', `'${key}' is not an extra configuration key`, {
      invalidProperty: 'configSpec.extraConfig',
    });
  if (!/^[^\s="]{1,256}$/.test(key))
    throw fault('InvalidArgument', `'${key}' is not a valid key`, { invalidProperty: 'configSpec.extraConfig' });
  const text = value === undefined || value === null ? '' : String(value);
  if (text === '') extra.delete(key);
  else extra.set(key, text);
}

function checkText(name: string, text: string, pattern: RegExp): string {
  if (!pattern.test(text))
    throw fault('InvalidArgument', `'${text.slice(0, 80)}' cannot be the ${name} of a machine`, {
      invalidProperty: `configSpec.${name}`,
    });
  return text;
}

function inRange(name: string, value: number, least: number, most: number): number {
  if (value < least || value > most)
    throw fault('InvalidArgument', `${name} must be ${least} to ${most}, not ${value}`, {
      invalidProperty: `configSpec.${name}`,
    });
  return value;
}
