/**
 * The inventory of the embedded host: one datacenter, one host, one datastore, resource pools, networks and VMs. What was made is
 * kept in `inventory.json`; VMs in their .vmx files.
 */
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { cpus, hostname, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { InstancePaths } from '../../common/paths.js';
import { Saver } from '../../common/saver.js';
import { typeFields } from '../../vim25/table.js';
import type { AboutInfo, ManagedObjectReference, VirtualMachineConfigSpec } from '../../vim25/types.generated.js';
import { callerSees } from '../access/caller.js';
import { FileAccess } from '../datastore/file-access.js';
import { checkDevices, checkKeys } from '../vm/machine-access.js';
import { checkBounds } from '../vm/machine-bounds.js';
import { recordDisks } from '../disks/disk-records.js';
import { fault } from '../faults.js';
import type { VmRuntime } from '../runtime.js';
import { viewsOfSession } from '../services/session-manager.js';
import { REJECT_ALL, type SecurityPolicy, samePolicy } from '../switch/security-policy.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { emptyHardware } from '../vm/hardware/hardware.js';
import { VirtualMachine } from '../vm/virtual-machine.js';
import { loadVmx, newVmConfig } from '../vm/vm-config.js';
import type { Machine, VmHost } from '../vm/vm-host.js';
import { DATASTORE, Datastore } from './datastore.js';
import { EventManager } from '../services/event-manager.js';
import { FileManager, HostDatastoreBrowser, VirtualDiskManager } from '../services/file-manager.js';
import { Folder } from './folder.js';
import {
  cpuMhz,
  hostCapability,
  hostConfig,
  hostHardware,
  hostLicensable,
  hostRuntime,
  hostSummary,
  type RunsMachines,
} from './host-info.js';
import { HostNetworkSystem } from './host-network-system.js';
import { Registry } from '../objects/registry.js';
import { type PoolRecord, ResourcePool, UNLIMITED } from './resource-pool.js';
import { SearchIndex } from './search-index.js';
import { SimpleObject } from '../objects/simple-object.js';
import { TaskManager } from '../services/task-manager.js';
import { ViewManager } from '../services/view-manager.js';

const log = logger('inventory');
const MAX_VMX = 64 * 2 ** 20;
const ROOT_POOL = 'ha-root-pool';
const ref = (type: string, value: string): ManagedObjectReference => ({ type, value });

/** What the inventory needs of the virtual switch. */
export type HostSwitch = Pick<VirtualSwitch, 'addPortGroup' | 'removePortGroup' | 'setPolicy' | 'allow'>;

interface Inventory {
  nextId: number;
  pools: PoolRecord[];
  portGroups: string[];
  /** Of port groups that do not reject everything. */
  policies?: Record<string, SecurityPolicy>;
  vms: { id: string; vmx: string; pool: string }[];
}

const EMPTY: Inventory = {
  nextId: 1,
  pools: [{ id: ROOT_POOL, name: 'Resources', parent: null, cpu: UNLIMITED, memory: UNLIMITED }],
  portGroups: ['VM Network'],
  vms: [],
};

/** The inventory and what its objects share. */
export class Host implements VmHost {
  readonly registry = new Registry();
  readonly events = new EventManager(this.registry);
  readonly tasks = new TaskManager(this.registry);
  readonly hostName = hostname();
  readonly hostSystem = ref('HostSystem', 'ha-host');
  readonly computeResource = ref('ComputeResource', 'ha-compute-res');
  readonly rootFolder = ref('Folder', 'ha-folder-root');
  readonly datacenter = ref('Datacenter', 'ha-datacenter');
  readonly vmFolder = ref('Folder', 'ha-folder-vm');
  readonly environmentBrowser = ref('EnvironmentBrowser', 'ha-env-browser');
  /** What each port group lets its cards do. */
  readonly portGroups = new Map<string, SecurityPolicy>();
  readonly datastore: Datastore;
  readonly fileAccess: FileAccess;
  private inventory: Inventory = structuredClone(EMPTY);
  private readonly saver = new Saver(() => this.write());
  private readonly vmsById = new Map<string, VirtualMachine>();
  /** Machines whose files are being made. */
  private readonly making = new Set<VirtualMachine>();

  constructor(
    readonly paths: InstancePaths,
    readonly runtime: VmRuntime,
    readonly virtualSwitch: HostSwitch | null,
    readonly about: AboutInfo,
    private readonly runs: RunsMachines = {},
  ) {
    const { registry, tasks } = this;
    const browser = registry.add(new HostDatastoreBrowser(() => this.datastore, tasks));
    this.datastore = registry.add(
      new Datastore(paths.datastoreDir, {
        parent: ref('Folder', 'ha-folder-datastore'),
        browser: browser.ref,
        host: this.hostSystem,
        vms: () => this.vms().map((vm) => vm.ref),
        check: (path, need) => this.fileAccess.check(path, need),
      }),
    );
    this.fileAccess = new FileAccess(this.datastore, registry, () => this.allMachines());
    registry.add(new VirtualDiskManager(this.datastore, tasks));
    registry.add(new FileManager(this.datastore, tasks));
    registry.add(new ViewManager(registry, viewsOfSession));
    registry.add(new SearchIndex(this));
    registry.add(new HostNetworkSystem(this));
    registry.add(this.events);
    registry.add(tasks);
    this.addFixedObjects();
  }

  // --- the fixed part -----------------------------------------------------------------------------------------------

  private addFixedObjects(): void {
    const { registry } = this;
    const networks = (): ManagedObjectReference[] => [...this.portGroups.keys()].map((name) => networkRef(name));
    const folder = (
      id: string,
      name: string,
      parent: ManagedObjectReference | undefined,
      childType: string[],
      children: () => ManagedObjectReference[],
    ): void => {
      registry.add(new Folder(this, id, name, parent, childType, children));
    };
    folder('ha-folder-root', 'ha-folder-root', undefined, ['Datacenter'], () => [this.datacenter]);
    folder('ha-folder-vm', 'vm', this.datacenter, ['VirtualMachine'], () => this.vms().map((vm) => vm.ref));
    folder('ha-folder-host', 'host', this.datacenter, ['ComputeResource'], () => [this.computeResource]);
    folder('ha-folder-datastore', 'datastore', this.datacenter, ['Datastore'], () => [this.datastore.ref]);
    folder('ha-folder-network', 'network', this.datacenter, ['Network'], networks);
    const browser = ref('HostDatastoreBrowser', 'ha-datastorebrowser');
    // Nothing starts by itself here: libvirt looks at this for what it says of any VM, and ends by a crash where there is none.
    registry.add(
      new SimpleObject(
        'HostAutoStartManager',
        'ha-autostart-mgr',
        {
          config: {
            defaults: {
              enabled: false,
              startDelay: 120,
              stopDelay: 120,
              waitForHeartbeat: false,
              stopAction: 'powerOff',
            },
            powerInfo: [],
          },
        },
        [],
      ),
    );
    registry.add(new SimpleObject('EnvironmentBrowser', 'ha-env-browser', { datastoreBrowser: browser }, []));
    registry.add(
      new SimpleObject('Datacenter', 'ha-datacenter', {
        name: 'ha-datacenter',
        parent: this.rootFolder,
        vmFolder: this.vmFolder,
        hostFolder: ref('Folder', 'ha-folder-host'),
        datastoreFolder: ref('Folder', 'ha-folder-datastore'),
        networkFolder: ref('Folder', 'ha-folder-network'),
        datastore: [this.datastore.ref],
        network: networks,
        configuration: { defaultHardwareVersionKey: 'vmx-14' },
      }),
    );
    const processors = cpus();
    const mhz = cpuMhz();
    registry.add(
      new SimpleObject('ComputeResource', 'ha-compute-res', {
        name: this.hostName,
        parent: ref('Folder', 'ha-folder-host'),
        resourcePool: ref('ResourcePool', ROOT_POOL),
        host: [this.hostSystem],
        datastore: [this.datastore.ref],
        network: networks,
        environmentBrowser: this.environmentBrowser,
        configurationEx: { $type: 'ComputeResourceConfigInfo', vmSwapPlacement: 'vmDirectory', spbmEnabled: false },
        summary: {
          $type: 'ComputeResourceSummary',
          totalCpu: mhz * processors.length,
          totalMemory: totalmem(),
          numCpuCores: processors.length,
          numCpuThreads: processors.length,
          effectiveCpu: mhz * processors.length,
          effectiveMemory: Math.floor(totalmem() / 2 ** 20),
          numHosts: 1,
          numEffectiveHosts: 1,
          overallStatus: 'green',
        },
      }),
    );
    registry.add(
      new SimpleObject('HostSystem', 'ha-host', {
        name: this.hostName,
        parent: this.computeResource,
        runtime: hostRuntime,
        vm: () => this.vms().map((vm) => vm.ref),
        datastore: [this.datastore.ref],
        network: networks,
        datastoreBrowser: browser,
        configManager: {
          networkSystem: ref('HostNetworkSystem', 'networkSystem'),
          autoStartManager: ref('HostAutoStartManager', 'ha-autostart-mgr'),
        },
        hardware: () => hostHardware(this.about),
        capability: hostCapability(
          (typeFields('HostCapability') ?? []).flatMap(({ name, optional, array }) =>
            optional || array ? [] : [name],
          ),
        ),
        config: () => hostConfig(this.hostSystem, this.about, this.seenPortGroups()),
        licensableResource: hostLicensable,
        summary: () => hostSummary(this.hostSystem, this.hostName, this.about, this.runs),
      }),
    );
  }

  // --- keeping ------------------------------------------------------------------------------------------------------

  private get file(): string {
    return join(this.paths.stateDir, 'inventory.json');
  }

  /** Loads what was kept, and finds running VMs again. */
  async load(): Promise<void> {
    await mkdir(this.datastore.directory, { recursive: true, mode: 0o711 });
    if (existsSync(this.file))
      this.inventory = { ...EMPTY, ...(JSON.parse(await readFile(this.file, 'utf8')) as Inventory) };
    for (const record of this.inventory.pools) this.registry.add(new ResourcePool(this, record));
    for (const name of this.inventory.portGroups)
      await this.plugPortGroup(name, this.inventory.policies?.[name] ?? REJECT_ALL);
    for (const { id, vmx, pool } of this.inventory.vms) {
      const path = join(this.datastore.directory, vmx);
      try {
        const config = await loadVmx(path, this.datastore.pathOf(dirname(path)));
        this.include(new VirtualMachine(id, this, path, config, ref('ResourcePool', pool), this.vmFolder));
      } catch (error) {
        log.error({ vmx, err: messageOf(error) }, 'a registered VM cannot be read and is left out');
      }
    }
    await Promise.all(
      this.vms().map((vm) =>
        vm
          .adopt()
          .catch((error: unknown) =>
            log.error({ err: messageOf(error), vm: vm.config.name }, 'looking for a running VM failed'),
          ),
      ),
    );
  }

  private async write(): Promise<void> {
    this.inventory.pools = this.pools().map((pool) => pool.record);
    this.inventory.portGroups = [...this.portGroups.keys()];
    this.inventory.policies = Object.fromEntries(
      [...this.portGroups].filter(([, policy]) => !samePolicy(policy, REJECT_ALL)),
    );
    this.inventory.vms = this.vms().map((vm) => ({
      id: vm.ref.value,
      vmx: vm.vmx.slice(this.datastore.directory.length + 1),
      pool: vm.pool.value,
    }));
    await writeFile(`${this.file}.new`, JSON.stringify(this.inventory), { mode: 0o600 });
    await rename(`${this.file}.new`, this.file);
  }

  /** Writes the inventory file; writes that follow fast become one. */
  save(): Promise<void> {
    return this.saver.save();
  }

  release(): void {
    for (const vm of this.vms()) vm.release();
  }

  // --- VMs ----------------------------------------------------------------------------------------------------------

  vms(): VirtualMachine[] {
    return [...this.vmsById.values()];
  }

  /** With those that are being made. */
  allMachines(): VirtualMachine[] {
    return [...this.vms(), ...this.making];
  }

  /** Those that the caller may know of. */
  seenVms(): VirtualMachine[] {
    return this.vms().filter(callerSees);
  }

  /** The port groups that the caller may know of. */
  seenPortGroups(): Map<string, SecurityPolicy> {
    return new Map(
      [...this.portGroups].filter(([name]) => {
        const network = this.registry.find(networkRef(name));
        return network !== undefined && callerSees(network);
      }),
    );
  }

  vmsOf(pool: ManagedObjectReference): ManagedObjectReference[] {
    return this.vms().flatMap((vm) => (vm.pool.value === pool.value ? [vm.ref] : []));
  }

  private include(vm: VirtualMachine): VirtualMachine {
    this.vmsById.set(vm.ref.value, this.registry.add(vm));
    this.touchLists(vm.pool);
    return vm;
  }

  private touchLists(pool: ManagedObjectReference): void {
    const lists: [ManagedObjectReference, string][] = [
      [this.vmFolder, 'childEntity'],
      [this.hostSystem, 'vm'],
      [this.datastore.ref, 'vm'],
      [pool, 'vm'],
    ];
    for (const [list, property] of lists) {
      const object = this.registry.find(list);
      if (object !== undefined) this.registry.touch(object, property);
    }
  }

  /** @throws DuplicateName, InvalidName */
  checkVmName(name: string, self?: Machine): string {
    if (name === '') throw fault('InvalidName', 'A VM needs a name', { name });
    const twin = this.vms().find((vm) => vm !== self && vm.config.name === name);
    if (twin !== undefined)
      throw fault('DuplicateName', `The name '${name}' already exists.`, {
        name,
        object: callerSees(twin) ? twin.ref : this.vmFolder,
      });
    return name;
  }

  /** Makes and registers a VM; leaves nothing behind when that fails. */
  async createVm(
    spec: VirtualMachineConfigSpec,
    poolRef: ManagedObjectReference,
    folder: ManagedObjectReference,
    user: string,
  ): Promise<ManagedObjectReference> {
    const pool = this.registry.getAs(poolRef, ResourcePool);
    const name = this.checkVmName(spec.name ?? '');
    const vmx = await this.newVmxPath(spec.files?.vmPathName, name);
    const vm = new VirtualMachine(`vm-${this.inventory.nextId++}`, this, vmx, newVmConfig(name), pool.ref, folder);
    await mkdir(dirname(vm.directory), { recursive: true, mode: 0o711 });
    // Never the directory of a machine that is being made at the same time.
    await mkdir(vm.directory, { mode: 0o711 });
    this.making.add(vm);
    try {
      await vm.configure(spec);
      this.checkVmName(name);
    } catch (error) {
      await rm(vm.directory, { recursive: true, force: true });
      throw error;
    } finally {
      this.making.delete(vm);
    }
    this.include(vm);
    await this.save();
    this.events.post('VmCreatedEvent', `Created virtual machine ${name} on ${this.hostName}`, user, {
      vm: { name, vm: vm.ref },
      template: false,
    });
    return vm.ref;
  }

  /** Path of a new .vmx file: `[datastore1]`, `[datastore1] dir/` or `[datastore1] dir/name.vmx`. */
  private async newVmxPath(wanted: string | undefined, name: string): Promise<string> {
    const safe = name.replace(/[^A-Za-z0-9_.-]/g, '_');
    const given = wanted === undefined || wanted === '' ? `[${DATASTORE}]` : wanted;
    const local = this.datastore.resolve(given);
    let path = local;
    if (local === this.datastore.directory) path = join(local, safe, `${safe}.vmx`);
    else if (!local.endsWith('.vmx')) path = join(local, `${safe}.vmx`);
    await this.datastore.admit(dirname(path), 'own');
    if (existsSync(dirname(path))) {
      if (local !== this.datastore.directory)
        throw fault('FileAlreadyExists', `${this.datastore.pathOf(dirname(path))} already exists`, {
          file: this.datastore.pathOf(path),
        });
      path = join(local, `${safe}_${this.inventory.nextId}`, `${safe}.vmx`);
      await this.datastore.admit(dirname(path), 'own');
    }
    return path;
  }

  async registerVm(
    path: string,
    name: string | undefined,
    poolRef: ManagedObjectReference | undefined,
    folder: ManagedObjectReference,
    user: string,
  ): Promise<ManagedObjectReference> {
    const local = await this.datastore.locate(path, 'read');
    if (this.vms().some((vm) => vm.vmx === local))
      throw fault('AlreadyExists', `${path} is registered already`, { name: path });
    const pool = this.registry.getAs(poolRef ?? ref('ResourcePool', ROOT_POOL), ResourcePool);
    const { size } = await stat(local);
    if (size > MAX_VMX)
      throw fault('InvalidArgument', `A .vmx file has at most ${MAX_VMX} bytes`, { invalidProperty: 'path' });
    const config = await loadVmx(local, this.datastore.pathOf(dirname(local)));
    config.name = this.checkVmName(name ?? config.name);
    const vm = new VirtualMachine(`vm-${this.inventory.nextId++}`, this, local, config, pool.ref, folder);
    checkKeys(this, vm, new Map(), config.extraConfig);
    checkBounds(this, pool.ref.value, config, config);
    await checkDevices(this, vm, emptyHardware(), config.hardware);
    await recordDisks(config.hardware.disks.map(({ file }) => this.datastore.resolve(file)));
    this.include(vm);
    await this.save();
    this.events.post('VmRegisteredEvent', `Registered ${config.name} on ${this.hostName}`, user, {
      vm: { name: config.name, vm: vm.ref },
      template: false,
    });
    return vm.ref;
  }

  /** Takes a VM out of the inventory. */
  async forget(vm: Machine): Promise<void> {
    this.vmsById.delete(vm.ref.value);
    this.registry.remove(vm);
    this.touchLists(vm.pool);
    await this.save();
  }

  // --- pools and networks -------------------------------------------------------------------------------------------

  pools(): ResourcePool[] {
    return [...this.registry.all()].filter((object): object is ResourcePool => object instanceof ResourcePool);
  }

  async addPool(
    name: string,
    parent: string,
    cpu: PoolRecord['cpu'],
    memory: PoolRecord['memory'],
  ): Promise<ResourcePool> {
    const pool = this.registry.add(
      new ResourcePool(this, { id: `pool-${this.inventory.nextId++}`, name, parent, cpu, memory }),
    );
    this.registry.touch(this.registry.get(ref('ResourcePool', parent)), 'resourcePool');
    await this.save();
    return pool;
  }

  async removePool(pool: ResourcePool, parent: ManagedObjectReference): Promise<void> {
    for (const vm of this.vms()) {
      if (vm.pool.value !== pool.ref.value) continue;
      vm.pool = parent;
      this.registry.touch(vm, 'resourcePool');
    }
    this.registry.remove(pool);
    this.registry.touch(this.registry.get(parent), 'resourcePool', 'vm');
    await this.save();
  }

  networkRef(portGroup: string): ManagedObjectReference | undefined {
    return this.portGroups.has(portGroup) ? networkRef(portGroup) : undefined;
  }

  private async plugPortGroup(name: string, policy: SecurityPolicy): Promise<void> {
    await this.virtualSwitch?.addPortGroup(name, policy);
    this.portGroups.set(name, policy);
    const network = networkRef(name);
    this.registry.add(
      new SimpleObject('Network', network.value, {
        name,
        parent: ref('Folder', 'ha-folder-network'),
        summary: { $type: 'NetworkSummary', network, name, accessible: true, ipPoolName: '' },
        host: [this.hostSystem],
        vm: () =>
          this.vms()
            .filter((vm) => vm.config.hardware.nics.some((nic) => nic.portGroup === name))
            .map((vm) => vm.ref),
      }),
    );
  }

  async addPortGroup(name: string, policy: SecurityPolicy): Promise<void> {
    if (name === '' || name.length > 80)
      throw fault('InvalidName', `'${name}' is not a name for a port group`, { name });
    if (this.portGroups.has(name)) throw fault('AlreadyExists', `The port group '${name}' already exists`, { name });
    await this.plugPortGroup(name, policy);
    await this.save();
  }

  /** Lets the cards of a port group do more or less, at once. */
  async changePortGroup(name: string, policy: SecurityPolicy): Promise<void> {
    if (!this.portGroups.has(name)) throw fault('NotFound', `There is no port group '${name}'`);
    await this.virtualSwitch?.setPolicy(name, policy);
    this.portGroups.set(name, policy);
    await this.save();
  }

  async removePortGroup(name: string): Promise<void> {
    if (!this.portGroups.has(name)) throw fault('NotFound', `There is no port group '${name}'`);
    if (this.vms().some((vm) => vm.config.hardware.nics.some((nic) => nic.portGroup === name)))
      throw fault('ResourceInUse', `The port group '${name}' is in use`, { type: 'Network', name });
    await this.virtualSwitch?.removePortGroup(name);
    this.portGroups.delete(name);
    const network = this.registry.find(networkRef(name));
    if (network !== undefined) this.registry.remove(network);
    await this.save();
  }
}

function networkRef(portGroup: string): ManagedObjectReference {
  return ref('Network', `HaNetwork-${portGroup}`);
}
