/** The inventory of the embedded host: one datacenter, one host, its datastores, resource pools, networks and VMs. */
import { mkdir } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { messageOf } from '../../common/errors.js';
import { logger } from '../../common/log.js';
import type { InstancePaths } from '../../common/paths.js';

import type { AboutInfo, ManagedObjectReference } from '../../vim25/server.js';
import { isEndpointConfig } from '../access/scope.js';
import { DatastoreFiles } from '../datastore/datastore-files.js';
import { FileAccess } from '../datastore/file-access.js';
import { Registry } from '../objects/registry.js';
import {
  COMPUTE_RESOURCE,
  DATACENTER,
  DATASTORE_FOLDER,
  datastoreRef,
  HOST_FOLDER,
  NETWORK_FOLDER,
  ROOT_FOLDER,
  VM_FOLDER,
} from '../references.js';
import type { VmRuntime } from '../runtime.js';
import { EventManager } from '../services/events/event-manager.js';
import { FileManager } from '../services/files/file-manager.js';
import { HostDatastoreBrowser } from '../services/files/host-datastore-browser.js';
import { VirtualDiskManager } from '../services/files/virtual-disk-manager.js';
import { viewsOfSession } from '../services/sessions/session.js';
import { TaskManager } from '../services/tasks/task-manager.js';
import { ViewManager } from '../services/views/view-manager.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import { restorePolicies } from '../vm/endpoint-policy.js';
import { vchsOf } from '../vm/machine-access.js';
import type { VmHost } from '../vm/vm-host.js';
import { ComputeResource } from './compute-resource.js';
import { Datacenter } from './datacenter.js';
import { Datastore } from './datastore.js';
import { EnvironmentBrowser } from './environment-browser.js';
import { Folder } from './folder.js';
import type { RunsMachines } from './host/runs-machines.js';
import { HostAutoStartManager } from './host-auto-start-manager.js';
import { HostNetworkSystem } from './host-network-system.js';
import { HostSystem } from './host-system.js';
import { InventoryFile } from './inventory-file.js';
import { Machines } from './machines.js';
import { PortGroups } from './port-groups.js';
import { ResourcePools } from './resource-pools.js';
import { SearchIndex } from './search-index.js';

/** What the inventory needs of the virtual switch. */
export type HostSwitch = Pick<
  VirtualSwitch,
  'addPortGroups' | 'removePortGroup' | 'removeSpareBridges' | 'setPolicy' | 'configurePortGroup' | 'allow' | 'flows'
>;

const log = logger('inventory');

/** Makes all objects that every host has, and holds the parts that change. */
export class Inventory implements VmHost {
  readonly hostName = hostname();
  readonly registry = new Registry();
  readonly events = new EventManager(this.registry);
  readonly tasks = new TaskManager(this.registry);
  readonly files: DatastoreFiles;
  readonly fileAccess: FileAccess;
  readonly machines: Machines;
  readonly portGroups: PortGroups;
  private readonly pools: ResourcePools;
  private readonly file: InventoryFile;

  constructor(
    paths: InstancePaths,
    readonly runtime: VmRuntime,
    readonly virtualSwitch: HostSwitch | null,
    about: AboutInfo,
    runs: RunsMachines = {},
  ) {
    const { registry, events, tasks } = this;
    this.file = new InventoryFile(join(paths.stateDir, 'inventory.json'), () => ({
      pools: this.pools.records(),
      portGroups: new Map(this.portGroups.all()),
      owners: new Map(this.portGroups.owners()),
      vms: this.machines.records(),
    }));
    this.files = new DatastoreFiles(paths.datastoreDir, paths.moreDatastores ?? [], (local, need) =>
      this.fileAccess.check(local, need),
    );
    this.machines = new Machines(this, this.file);
    this.fileAccess = new FileAccess(this.files, registry, () => this.machines.withUnfinished());
    this.portGroups = new PortGroups({
      registry,
      virtualSwitch,
      vmsIn: (name) => this.machines.inPortGroup(name).map((vm) => vm.ref),
      vchsOf: (caller) => vchsOf(this, caller),
      save: () => this.save(),
    });
    this.pools = new ResourcePools(registry, events, tasks, this.machines, this.file);
    this.addServices(about);
    this.addEntities(about, runs);
  }

  private addEntities(about: AboutInfo, runs: RunsMachines): void {
    const { registry, hostName, portGroups } = this;
    const vms = (): ManagedObjectReference[] => this.machines.refs();
    const networks = (): ManagedObjectReference[] => portGroups.networks();
    const datastores = this.files.places.map(({ name }) => datastoreRef(name));
    const folders: ConstructorParameters<typeof Folder>[] = [
      [this, ROOT_FOLDER, ROOT_FOLDER.value, undefined, ['Datacenter'], () => [DATACENTER]],
      [this, VM_FOLDER, 'vm', DATACENTER, ['VirtualMachine'], vms],
      [this, HOST_FOLDER, 'host', DATACENTER, ['ComputeResource'], () => [COMPUTE_RESOURCE]],
      [this, DATASTORE_FOLDER, 'datastore', DATACENTER, ['Datastore'], () => datastores],
      [this, NETWORK_FOLDER, 'network', DATACENTER, ['Network'], networks],
    ];
    for (const folder of folders) registry.add(new Folder(...folder));
    registry.add(new Datacenter(networks, datastores));
    registry.add(new ComputeResource(hostName, networks, datastores));
    registry.add(new HostSystem({ name: hostName, about, runs, portGroups, datastores, vms }));
    registry.add(new EnvironmentBrowser());
    registry.add(new HostNetworkSystem(portGroups));
    registry.add(new HostAutoStartManager());
  }

  private addServices(about: AboutInfo): void {
    const { registry, events, tasks, files, machines, hostName } = this;
    for (const place of files.places) {
      const datastore = registry.add(new Datastore(place, () => machines.on(place.name)));
      registry.add(new HostDatastoreBrowser(datastore, files, tasks));
    }
    registry.add(new FileManager(files, tasks));
    registry.add(new VirtualDiskManager(files, tasks, machines));
    registry.add(new ViewManager(registry, viewsOfSession));
    registry.add(new SearchIndex({ registry, machines, files, hostName, uuid: about.instanceUuid }));
    registry.add(events);
    registry.add(tasks);
  }

  /** Loads what was kept, and finds running VMs again. */
  async load(): Promise<void> {
    await mkdir(this.files.directory, { recursive: true, mode: 0o711 });
    const { pools, portGroups, owners, vms } = await this.file.load();
    this.pools.load(pools);
    await this.portGroups.open(portGroups, owners);
    await this.virtualSwitch?.removeSpareBridges();
    await this.machines.load(vms);
    await this.restorePolicies();
  }

  /** Until then, what the hostd before this one enforced is in force. */
  private async restorePolicies(): Promise<void> {
    if (this.virtualSwitch === null) return;
    const endpoints = this.machines
      .all()
      .map(({ config }) => config.extraConfig)
      .filter(isEndpointConfig);
    await restorePolicies(this.virtualSwitch, endpoints).catch((error: unknown) =>
      log.error({ err: messageOf(error) }, 'a policy cannot be enforced: what an earlier hostd enforced stays'),
    );
  }

  save(): Promise<void> {
    return this.file.save();
  }

  /** hostd is stopping: the VMs go on without it. */
  release(): void {
    this.machines.release();
  }
}
