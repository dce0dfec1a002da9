/** VirtualMachine: a VM of the inventory and its operations. */
import { basename, dirname, join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import { Saver } from '../../common/saver.js';
import { MAX_GATEWAY_CARDS } from '../../porter/messages.js';
import {
  type ManagedObjectReference,
  propertyNames,
  type VirtualDeviceConfigSpec,
  type VirtualMachineConfigSpec,
} from '../../vim25/server.js';
import { isEndpointConfig, OWNER_KEY } from '../access/scope.js';
import { markFinished, markUnfinished, removeMachineFiles } from '../datastore/unfinished-machines.js';
import { standsOn } from '../disks/disk-records.js';
import type { DiskWriter } from '../disks/point-disks.js';
import { fault } from '../faults.js';
import { NETWORKS_KEY } from '../inventory/wished-settings.js';
import type { CallContext } from '../objects/call-context.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { RuntimeNic, VmDefinition } from '../runtime.js';
import { ADDRESSES_KEY } from './assigned-addresses.js';
import { CONFIG_KEY, TRUST_KEY, trustedNetworks } from './card-trust.js';
import { changedConfig, checkNameLength, checkVersion } from './changed-config.js';
import { deviceOf, runtimeDisk, runtimeNics, runtimeSerial } from './definition.js';
import { deleteDisks, deleteMade, makeDisks } from './device-files.js';
import { checkEndpointDevices, checkEndpointKeys, checkEndpointNetworks } from './endpoint-access.js';
import { enforcePolicy } from './endpoint-policy.js';
import { GuestValues } from './guest-values.js';
import { applyDeviceChanges } from './hardware/devices.js';
import type { Hardware } from './hardware/hardware.js';
import { type HotStep, hotSteps, takeHotSteps } from './hot-changes.js';
import { giveBackWhenIdle } from './idle-disks.js';
import type { Machine } from './machine.js';
import { checkChange, checkDevices, checkKeys, endpointOf } from './machine-access.js';
import { checkBounds } from './machine-bounds.js';
import { type PoweredVm, type PowerState, VmPower } from './power.js';
import { vmProperty } from './properties/vm-properties.js';
import { refuseUnsupported } from './unsupported-options.js';
import { saveVmx, type VmConfig } from './vm-config.js';
import { type PostVmEvent, vmEvents } from './vm-events.js';
import type { VmHost } from './vm-host.js';

const log = logger('vm');
/** As in vSphere. */
const MAX_CARDS = 10;

/** A VM. Operations on one VM run one after the other. */
export class VirtualMachine extends ManagedObject implements Machine, PoweredVm {
  readonly guestValues: GuestValues;
  readonly postEvent: PostVmEvent;
  private readonly power: VmPower;
  private queue: Promise<unknown> = Promise.resolve();
  private removed = false;
  private readonly file = new Saver(async () => {
    if (!this.removed) await saveVmx(this.vmx, this.host.files.pathOf(this.directory), this.config);
  });

  constructor(
    id: string,
    private readonly host: VmHost,
    readonly vmx: string,
    public config: VmConfig,
    public pool: ManagedObjectReference,
    private readonly folder: ManagedObjectReference,
  ) {
    super('VirtualMachine', id);
    this.postEvent = vmEvents(host, this.ref, () => this.config);
    this.guestValues = new GuestValues(
      () => this.config.extraConfig,
      (properties) => {
        this.touch(...properties);
        void this.file
          .save()
          .catch((error: unknown) => log.error({ err: error, vm: this.config.name }, 'saving a .vmx file failed'));
      },
    );
    this.power = new VmPower(this, host.runtime);
  }

  get directory(): string {
    return dirname(this.vmx);
  }

  get powerState(): PowerState {
    return this.power.state;
  }

  property(name: string): unknown {
    const { ref, host, config, vmx, directory, pool, folder, powerState } = this;
    const { bootTime, question } = this.power;
    return vmProperty(name, { ref, host, config, vmx, directory, pool, folder, powerState, bootTime, question });
  }

  propertyNames(): string[] {
    return propertyNames('VirtualMachine');
  }

  // --- power --------------------------------------------------------------------------------------------------------

  PowerOnVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.powerOn', context, () => this.power.powerOn(context.userName));
  }

  PowerOffVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.powerOff', context, () => this.power.powerOff());
  }

  ResetVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.reset', context, () => this.power.reset(context.userName));
  }

  SuspendVM_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.suspend', context, () => this.power.suspend(context.userName));
  }

  ShutdownGuest(_args: unknown, context: CallContext): Promise<void> {
    return this.power.shutdownGuest(context.userName);
  }

  RebootGuest(_args: unknown, context: CallContext): Promise<void> {
    return this.power.rebootGuest(context.userName);
  }

  /** Answers the question that a VM asks when there is no space for its disks. */
  AnswerVM(args: { questionId: string; answerChoice: string }): Promise<void> {
    return this.power.answer(args.questionId, args.answerChoice);
  }

  /** Finds the VM's process again after a restart of hostd. */
  adopt(): Promise<void> {
    return this.power.adopt();
  }

  /** Lets go of the VM when hostd stops; the VM keeps running. */
  release(): void {
    this.power.release();
  }

  /** Local paths of the disks that it writes to when it runs. */
  writtenDisks(): string[] {
    return this.definition().disks.flatMap(({ path, readOnly }) => (readOnly ? [] : [path]));
  }

  /** What writes to a disk while it runs; null for a VM that is off. @param path local */
  writerOf(path: string): DiskWriter | null {
    const { running } = this.power;
    const disk = this.definition().disks.find((one) => one.path === path && !one.readOnly);
    if (running === null || disk === undefined) return null;
    return {
      pid: running.pid,
      switchDisk: (to) => this.power.duringRun((carrier) => carrier.switchDisk(disk, to)),
      release: () => this.power.duringRun((carrier) => carrier.releaseDisk(disk)),
    };
  }

  /** Whether it runs with a disk, to write or only to read. @param path local */
  runsWith(path: string): boolean {
    return this.power.running !== null && this.definition().disks.some((disk) => disk.path === path);
  }

  /** Has the running VM let go of files that its disks do not stand on any more. @param moved the disk that another one took the place of */
  async relinkDisks(moved: string): Promise<void> {
    const vm = this.definition();
    for (const disk of vm.disks)
      if (this.power.running !== null && (await standsOn(disk.path, moved)))
        await this.power.duringRun((carrier) => carrier.relinkDisk(disk, vm));
  }

  definition(): VmDefinition {
    return this.definitionOf(this.config);
  }

  private definitionOf(config: VmConfig): VmDefinition {
    const { ref, directory, host } = this;
    const { uuid, name, cpus, memoryMiB, hardware, extraConfig } = config;
    const resolve = (file: string): string => host.files.resolve(file);
    const { vch, nics } = this.cardsOf(config);
    return {
      moid: ref.value,
      uuid,
      name,
      directory,
      cpus,
      memoryMiB,
      disks: hardware.disks.map((disk) => runtimeDisk(disk, resolve)),
      nics,
      serials: hardware.serials.map((serial, index) => runtimeSerial(serial, index, resolve)),
      extraConfig,
      vch,
    };
  }

  /** Its cards, and the virtual container host that they belong to. */
  private cardsOf(config: VmConfig): { vch: string | undefined; nics: RuntimeNic[] } {
    const endpoint = endpointOf(this.host, this.pool)?.config.extraConfig;
    const vch = endpoint?.get(OWNER_KEY);
    const networks = endpoint === undefined ? undefined : trustedNetworks(endpoint);
    return { vch, nics: runtimeNics(config, vch, networks) };
  }

  async checkCards(): Promise<void> {
    if (this.power.running !== null)
      await this.host.virtualSwitch?.allow(this.ref.value, this.cardsOf(this.config).nics);
  }

  // --- configuration ------------------------------------------------------------------------------------------------

  ReconfigVM_Task(args: { spec: VirtualMachineConfigSpec }, context: CallContext): ManagedObjectReference {
    return this.task('VirtualMachine.reconfigure', context, () => this.reconfigure(args.spec, context.userName));
  }

  Rename_Task(args: { newName: string }, context: CallContext): ManagedObjectReference {
    return this.task('ManagedEntity.rename', context, () => this.reconfigure({ name: args.newName }, context.userName));
  }

  /** Sets the configuration of a VM that is being created. @throws typed faults */
  async configure(spec: VirtualMachineConfigSpec): Promise<void> {
    await this.apply(spec, true);
  }

  private async reconfigure(spec: VirtualMachineConfigSpec, user: string): Promise<void> {
    const { name } = this.config;
    await this.apply(spec, false);
    const { name: newName } = this.config;
    if (newName !== name)
      this.postEvent('VmRenamedEvent', `was renamed from ${name} to ${newName}`, user, { oldName: name, newName });
    if (Object.keys(spec).some((key) => key !== 'name' && key !== '$type'))
      this.postEvent('VmReconfiguredEvent', 'was reconfigured', user, { configSpec: {} });
  }

  /** Applies a spec. @throws typed faults; the VM is unchanged then */
  private async apply(spec: VirtualMachineConfigSpec, creating: boolean): Promise<void> {
    const { config, host } = this;
    checkVersion(config, spec);
    refuseUnsupported(spec, creating);
    if (!creating) checkChange(this, spec);
    const name =
      spec.name !== undefined && spec.name !== config.name ? host.machines.checkName(spec.name, this) : config.name;
    checkNameLength(name);
    if (spec.numCPUs !== undefined || spec.memoryMB !== undefined) this.power.mustBe('poweredOff');
    let next: VmConfig = { ...changedConfig(config, spec), name };
    const endpoint = isEndpointConfig(config.extraConfig);
    const networksChange = endpoint && next.extraConfig.get(NETWORKS_KEY) !== config.extraConfig.get(NETWORKS_KEY);
    if (networksChange) host.portGroups.checkWishes(next.extraConfig);
    if (endpoint) checkEndpointKeys(this, config, next);
    else checkKeys(host, this, config.extraConfig, next.extraConfig);
    checkBounds(host.machines, this.pool.value, config, next);
    const changes = (spec.deviceChange ?? []) as VirtualDeviceConfigSpec[];
    if (changes.length > 0) {
      const hardware = await this.changeDevices(changes, next);
      // The guest may have set keys meanwhile, so start again from the present configuration.
      next = { ...changedConfig(this.config, spec), name, hardware };
    }
    await enforcePolicy(host.virtualSwitch, config.extraConfig, next.extraConfig);
    next.changeVersion++;
    this.config = next;
    await this.file.save();
    if (next.cpuShares !== config.cpuShares) this.power.weigh();
    if (networksChange) await host.portGroups.settle(next.extraConfig.get(OWNER_KEY) ?? '', next.extraConfig);
    const differs = (...keys: string[]): boolean =>
      keys.some((key) => next.extraConfig.get(key) !== config.extraConfig.get(key));
    if (differs(ADDRESSES_KEY, TRUST_KEY)) await this.checkCards();
    // An administrator may trust a network more or less from now on.
    if (endpoint && differs(CONFIG_KEY))
      for (const vm of host.machines.all())
        if (endpointOf(host, vm.pool)?.ref.value === this.ref.value) await vm.checkCards();
    this.touch('config', 'name', 'summary', 'guest', 'network');
  }

  /** @param next the configuration that the VM is about to get, apart from its devices */
  private async changeDevices(changes: readonly VirtualDeviceConfigSpec[], next: VmConfig): Promise<Hardware> {
    if (this.power.state !== 'poweredOn') this.power.mustBe('poweredOff');
    if (this.power.question !== undefined)
      throw fault('InvalidState', 'The virtual machine stands still until its question is answered');
    const before = this.config.hardware;
    const { files: datastore } = this.host;
    const base = basename(this.vmx, '.vmx');
    const changed = applyDeviceChanges(before, changes, {
      // For the caller, port groups that it may not see do not exist.
      portGroups: this.host.portGroups.seen(),
      defaultDiskFile: (index) =>
        datastore.pathOf(join(this.directory, `${base}${index === 0 ? '' : `_${index}`}.vmdk`)),
      maxCards: isEndpointConfig(next.extraConfig) ? MAX_GATEWAY_CARDS : MAX_CARDS,
    });
    const { hardware, create, removedFiles: removed } = changed;
    checkEndpointDevices(this, this.config, before, hardware);
    checkEndpointNetworks(this.host, next, hardware);
    await checkDevices(this.host, this, before, hardware, { create, removed });
    const steps = hotSteps(before, hardware);
    if (steps === null) this.power.mustBe('poweredOff');
    const resolve = (file: string): string => datastore.resolve(file);
    await makeDisks(changed, resolve);
    if (this.power.state === 'poweredOn')
      await this.changeRunning(steps ?? [], changes, { ...next, hardware }).catch(async (error: unknown) => {
        await deleteMade(changed, resolve);
        throw error;
      });
    await deleteDisks(changed, resolve);
    return hardware;
  }

  /** Adds devices to a running VM and removes others: all of them or none. */
  private async changeRunning(
    steps: readonly HotStep[],
    changes: readonly VirtualDeviceConfigSpec[],
    next: VmConfig,
  ): Promise<void> {
    const [before, after] = [this.definitionOf(this.config), this.definitionOf(next)];
    await this.power.duringRun((running) =>
      takeHotSteps(steps, {
        running,
        owner: after,
        device: ({ operation, key, kind }) => deviceOf(operation === 'add' ? after : before, kind, key),
        index: ({ operation, key }) =>
          Math.max(
            0,
            changes.findIndex((one) => one.operation === operation && (operation === 'add' || one.device.key === key)),
          ),
      }),
    );
  }

  // --- the inventory ------------------------------------------------------------------------------------------------

  Destroy_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.task('ManagedEntity.destroy', context, async () => {
      this.power.mustBe('poweredOff');
      const full = (error: unknown): boolean => {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        return true;
      };
      const { extraConfig } = this.config;
      if (isEndpointConfig(extraConfig)) await this.host.runtime.forget?.(this.definition());
      await markUnfinished(this.directory).catch((error: unknown) =>
        log.debug({ vm: this.config.name, err: messageOf(error) }, 'a directory could not be marked'),
      );
      // If there is no space to write the inventory, there will be once the VM's files are gone.
      const again = await this.unregister(context.userName).then(() => false, full);
      const vch = extraConfig.get(OWNER_KEY);
      if (isEndpointConfig(extraConfig) && vch !== undefined) {
        await this.host.portGroups.removeOf(vch).catch(full);
        await this.host.virtualSwitch?.flows.set(vch, null);
      }
      // Disks elsewhere (volumes, images) belong to others.
      await removeMachineFiles(this.directory);
      if (again && (await this.host.save().then(() => false, full)))
        log.warn({ vm: this.config.name }, 'the datastore is full: the inventory is written without the VM later');
    });
  }

  UnregisterVM(_args: unknown, context: CallContext): Promise<void> {
    return this.exclusive(async () => {
      this.power.mustBe('poweredOff');
      // Its files stay, whatever becomes of hostd.
      await markFinished(this.directory);
      await this.unregister(context.userName);
    });
  }

  private async unregister(user: string): Promise<void> {
    this.postEvent('VmRemovedEvent', 'was removed', user);
    this.removed = true;
    await this.file.idle();
    await this.host.machines.forget(this);
  }

  // --- what this host cannot do -------------------------------------------------------------------------------------

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

  // --- helpers ------------------------------------------------------------------------------------------------------

  touch(...properties: string[]): void {
    this.host.registry.touch(this, ...properties);
  }

  fileIdle(): Promise<void> {
    return this.file.idle();
  }

  get isOff(): boolean {
    return this.power.state === 'poweredOff';
  }

  turnedOff(): void {
    const { files, machines } = this.host;
    const has = (vm: Machine, path: string): boolean =>
      vm.config.hardware.disks.some(({ file }) => files.resolve(file) === path);
    giveBackWhenIdle(this, files.places, (path) =>
      machines.withUnfinished().some((vm) => vm !== this && has(vm, path)),
    );
  }

  exclusive<T>(body: () => Promise<T>): Promise<T> {
    const run = this.queue.then(() => {
      if (this.removed) throw fault('ManagedObjectNotFound', 'The VM has been removed', { obj: this.ref });
      return body();
    });
    this.queue = run.catch(() => undefined);
    return run;
  }

  private task(operation: string, context: CallContext, body: () => Promise<unknown>): ManagedObjectReference {
    return this.host.tasks.run(operation, this, this.config.name, context.userName, () => this.exclusive(body));
  }
}
