/** The VMs of the host: registered ones and those that are being made. */
import { existsSync } from 'node:fs';
import { mkdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { ManagedObjectReference, VirtualMachineConfigSpec } from '../../vim25/server.js';
import { callerSees } from '../access/caller.js';
import { isEndpointConfig, OWNER_KEY } from '../access/scope.js';
import { DATASTORE } from '../datastore/datastore-places.js';
import { markFinished, markUnfinished, removeMachineFiles } from '../datastore/unfinished-machines.js';
import { recordDisks } from '../disks/disk-records.js';
import { pointDirectories, settlePoints } from '../disks/merge-disks.js';
import { type DiskWriter, settleSwitch } from '../disks/point-disks.js';
import { fault } from '../faults.js';
import type { ManagedObject } from '../objects/managed-object.js';
import { datastoreRef, HOST_SYSTEM, ROOT_POOL, ref, VM_FOLDER } from '../references.js';
import { emptyHardware } from '../vm/hardware/hardware.js';
import type { Machine } from '../vm/machine.js';
import { checkDevices, checkKeys } from '../vm/machine-access.js';
import { checkBounds } from '../vm/machine-bounds.js';
import { datastoresOf } from '../vm/properties/vm-files.js';
import { VirtualMachine } from '../vm/virtual-machine.js';
import { loadVmx, newVmConfig, type VmConfig } from '../vm/vm-config.js';
import type { MachineList, VmHost } from '../vm/vm-host.js';
import type { InventoryFile, VmRecord } from './inventory-file.js';
import { ResourcePool } from './resource-pool.js';

const log = logger('inventory');
const MAX_VMX = 64 * 2 ** 20;

export class Machines implements MachineList {
  private readonly byId = new Map<string, VirtualMachine>();
  /** VMs whose files are being made. */
  private readonly making = new Set<VirtualMachine>();

  constructor(
    private readonly host: VmHost,
    private readonly file: InventoryFile,
  ) {}

  all(): VirtualMachine[] {
    return [...this.byId.values()];
  }

  withUnfinished(): VirtualMachine[] {
    return [...this.all(), ...this.making];
  }

  /** Those that the caller may know of. */
  seen(): VirtualMachine[] {
    return this.all().filter(callerSees);
  }

  refs(): ManagedObjectReference[] {
    return this.all().map((vm) => vm.ref);
  }

  /** Those with files on a datastore. */
  on(datastore: string): ManagedObjectReference[] {
    return this.all()
      .filter((vm) => datastoresOf(vm, this.host.files).includes(datastore))
      .map((vm) => vm.ref);
  }

  inPool(pool: ManagedObjectReference): VirtualMachine[] {
    return this.all().filter((vm) => vm.pool.value === pool.value);
  }

  inPortGroup(name: string): VirtualMachine[] {
    return this.all().filter((vm) => vm.config.hardware.nics.some((nic) => nic.portGroup === name));
  }

  /** The resource pool of a virtual container host. */
  poolOf(vch: string): ManagedObject | undefined {
    const endpoint = this.all().find(
      ({ config: { extraConfig } }) => isEndpointConfig(extraConfig) && extraConfig.get(OWNER_KEY) === vch,
    );
    return endpoint === undefined ? undefined : this.host.registry.find(endpoint.pool);
  }

  // --- keeping ------------------------------------------------------------------------------------------------------

  /** Loads registered VMs, and finds those that run. */
  async load(records: readonly VmRecord[]): Promise<void> {
    for (const { id, vmx, pool } of records) {
      try {
        const path = vmx.startsWith('[') ? this.host.files.resolve(vmx) : join(this.host.files.directory, vmx);
        const config = await loadVmx(path, this.host.files.pathOf(dirname(path)));
        this.include(new VirtualMachine(id, this.host, path, config, ref('ResourcePool', pool), VM_FOLDER));
      } catch (error) {
        log.error({ vmx, err: messageOf(error) }, 'a registered VM cannot be read and is left out');
      }
    }
    // Before running VMs are found, whose cards are treated as their port groups say.
    for (const { config } of this.all()) await this.settle(config);
    const failed = (vm: VirtualMachine, error: unknown): void =>
      log.error({ err: messageOf(error), vm: vm.config.name }, 'looking for a running VM failed');
    await Promise.all(this.all().map((vm) => vm.adopt().catch((error: unknown) => failed(vm, error))));
    await this.settleSwitches();
  }

  /** A hostd that was killed may have been making a point of a disk. */
  private async settleSwitches(): Promise<void> {
    const written = this.all().flatMap((vm) => vm.writtenDisks());
    for (const directory of await pointDirectories(this.host.files.places, written)) await settlePoints(directory);
    for (const path of new Set(written))
      await settleSwitch(
        path,
        this.all().flatMap((vm) => vm.writerOf(path) ?? []),
      ).catch((error: unknown) =>
        log.error({ disk: path, err: messageOf(error) }, 'a disk stays between two files: it was being switched'),
      );
  }

  /**
   * Runs `body` while no VM starts or stops that has the disk for writing. @param path local
   * @throws InvalidState when several running VMs write to it
   */
  withDisk<T>(path: string, body: (writer: DiskWriter | null) => Promise<T>): Promise<T> {
    const users = this.all().filter((vm) => vm.writtenDisks().includes(path));
    // In the same order everywhere, so that two calls cannot wait for each other.
    users.sort((a, b) => (a.ref.value < b.ref.value ? -1 : 1));
    const held = (at: number): Promise<T> => {
      const vm = users[at];
      if (vm !== undefined) return vm.exclusive(() => held(at + 1));
      const writers = users.flatMap((one) => one.writerOf(path) ?? []);
      if (writers.length > 1) throw fault('InvalidState', 'Several running virtual machines write to the disk');
      return body(writers[0] ?? null);
    };
    return held(0);
  }

  /** Whether a running VM has a disk, to write or only to read. @param path local */
  isOpen(path: string): boolean {
    return this.all().some((vm) => vm.runsWith(path));
  }

  /** Has running VMs let go of files that their disks do not stand on any more. Never throws: they do so at the latest when they are off. */
  async relink(moved: string): Promise<void> {
    for (const vm of this.all())
      await vm
        .relinkDisks(moved)
        .catch((error: unknown) =>
          log.warn(
            { vm: vm.config.name, err: messageOf(error) },
            'a running VM keeps files that its disks do not need',
          ),
        );
  }

  private async settle({ name, extraConfig }: VmConfig): Promise<void> {
    const vch = extraConfig.get(OWNER_KEY);
    if (!isEndpointConfig(extraConfig) || vch === undefined) return;
    await this.host.portGroups
      .settle(vch, extraConfig)
      .catch((error: unknown) =>
        log.error({ err: messageOf(error), vm: name }, 'settings of port groups could not be restored'),
      );
  }

  records(): VmRecord[] {
    return this.all().map(({ ref: { value: id }, vmx, pool }) => ({
      id,
      // As ever for the first datastore, so that an earlier version finds it too.
      vmx:
        this.host.files.placeOf(vmx).name === DATASTORE ? this.host.files.relative(vmx) : this.host.files.pathOf(vmx),
      pool: pool.value,
    }));
  }

  /** hostd is stopping: the VMs go on without it. */
  release(): void {
    for (const vm of this.all()) vm.release();
  }

  // --- making and registering ---------------------------------------------------------------------------------------

  checkName(name: string, self?: Machine): string {
    if (name === '') throw fault('InvalidName', 'A VM needs a name', { name });
    const twin = this.all().find((vm) => vm !== self && vm.config.name === name);
    if (twin !== undefined)
      throw fault('DuplicateName', `The name '${name}' already exists.`, {
        name,
        object: callerSees(twin) ? twin.ref : VM_FOLDER,
      });
    return name;
  }

  /** Makes and registers a VM; leaves nothing behind when that fails. */
  async create(
    spec: VirtualMachineConfigSpec,
    poolRef: ManagedObjectReference,
    folder: ManagedObjectReference,
    user: string,
  ): Promise<ManagedObjectReference> {
    const pool = this.host.registry.getAs(poolRef, ResourcePool);
    const name = this.checkName(spec.name ?? '');
    const vmx = await this.newVmxPath(spec.files?.vmPathName, name);
    const vm = new VirtualMachine(this.newId(), this.host, vmx, newVmConfig(name), pool.ref, folder);
    await mkdir(dirname(vm.directory), { recursive: true, mode: 0o711 });
    // Never the directory of a VM that is being made at the same time.
    await mkdir(vm.directory, { mode: 0o711 });
    this.making.add(vm);
    try {
      await markUnfinished(vm.directory);
      await vm.configure(spec);
      this.checkName(name);
      await this.register(vm, 'VmCreatedEvent', `Created virtual machine ${name}`, name, user);
    } catch (error) {
      await removeMachineFiles(vm.directory);
      throw error;
    } finally {
      this.making.delete(vm);
    }
    return vm.ref;
  }

  /** Path of a new .vmx file: `[datastore1]`, `[datastore1] dir/` or `[datastore1] dir/name.vmx`. */
  private async newVmxPath(wanted: string | undefined, name: string): Promise<string> {
    const { files } = this.host;
    const safe = name.replace(/[^A-Za-z0-9_.-]/g, '_');
    const given = wanted === undefined || wanted === '' ? `[${DATASTORE}]` : wanted;
    const local = files.resolve(given);
    let path = local;
    if (files.isRoot(local)) path = join(local, safe, `${safe}.vmx`);
    else if (!local.endsWith('.vmx')) path = join(local, `${safe}.vmx`);
    await files.admit(dirname(path), 'own');
    if (existsSync(dirname(path))) {
      if (!files.isRoot(local))
        throw fault('FileAlreadyExists', `${files.pathOf(dirname(path))} already exists`, {
          file: files.pathOf(path),
        });
      path = join(local, `${safe}_${this.file.upcomingId}`, `${safe}.vmx`);
      await files.admit(dirname(path), 'own');
    }
    return path;
  }

  /** Registers a VM by its .vmx file. */
  async registerFile(
    path: string,
    name: string | undefined,
    poolRef: ManagedObjectReference | undefined,
    folder: ManagedObjectReference,
    user: string,
  ): Promise<ManagedObjectReference> {
    const { files, registry } = this.host;
    const local = await files.locate(path, 'read');
    if (this.all().some((vm) => vm.vmx === local))
      throw fault('AlreadyExists', `${path} is registered already`, { name: path });
    const pool = registry.getAs(poolRef ?? ROOT_POOL, ResourcePool);
    const { size } = await stat(local);
    if (size > MAX_VMX)
      throw fault('InvalidArgument', `A .vmx file has at most ${MAX_VMX} bytes`, { invalidProperty: 'path' });
    const config = await loadVmx(local, files.pathOf(dirname(local)));
    config.name = this.checkName(name ?? config.name);
    const vm = new VirtualMachine(this.newId(), this.host, local, config, pool.ref, folder);
    checkKeys(this.host, vm, new Map(), config.extraConfig);
    checkBounds(this, pool.ref.value, config, config);
    await checkDevices(this.host, vm, emptyHardware(), config.hardware);
    await recordDisks(config.hardware.disks.map(({ file }) => files.resolve(file)));
    await this.register(vm, 'VmRegisteredEvent', `Registered ${config.name}`, config.name, user);
    return vm.ref;
  }

  private newId(): string {
    return `vm-${this.file.nextId()}`;
  }

  private async register(vm: VirtualMachine, event: string, what: string, name: string, user: string): Promise<void> {
    this.include(vm);
    try {
      await this.file.save();
    } catch (error) {
      // Whoever asked for it is told that it is not there.
      this.exclude(vm);
      throw error;
    }
    await markFinished(vm.directory);
    this.host.events.post(event, `${what} on ${this.host.hostName}`, user, {
      vm: { name, vm: vm.ref },
      template: false,
    });
  }

  /** Takes a VM out of the inventory. */
  async forget(vm: Machine): Promise<void> {
    this.exclude(vm);
    await this.file.save();
  }

  private exclude(vm: Machine): void {
    this.byId.delete(vm.ref.value);
    this.host.registry.remove(vm);
    this.touchLists(vm.pool);
  }

  /** Moves all VMs of a pool to another one. */
  movePool(from: ManagedObjectReference, to: ManagedObjectReference): void {
    for (const vm of this.inPool(from)) {
      vm.pool = to;
      this.host.registry.touch(vm, 'resourcePool');
    }
  }

  private include(vm: VirtualMachine): void {
    this.byId.set(vm.ref.value, this.host.registry.add(vm));
    this.touchLists(vm.pool);
  }

  /** Tells of a change in all lists that have VMs. */
  private touchLists(pool: ManagedObjectReference): void {
    const { registry } = this.host;
    const lists: [ManagedObjectReference, string][] = [
      [VM_FOLDER, 'childEntity'],
      [HOST_SYSTEM, 'vm'],
      ...this.host.files.places.map(({ name }): [ManagedObjectReference, string] => [datastoreRef(name), 'vm']),
      [pool, 'vm'],
    ];
    for (const [list, property] of lists) {
      const object = registry.find(list);
      if (object !== undefined) registry.touch(object, property);
    }
  }
}
