/** SearchIndex: finding entities by UUID, path, address or name. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import type { DatastorePaths } from '../datastore/datastore-paths.js';
import { fault } from '../faults.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { Registry } from '../objects/registry.js';
import { HOST_SYSTEM, ROOT_FOLDER, SEARCH_INDEX } from '../references.js';
import { hasAddress } from '../vm/guest-addresses.js';
import type { Machines } from './machines.js';

const MAX_PATH = 4096;

/** What is searched. */
export interface Searched {
  readonly registry: Registry;
  readonly machines: Machines;
  readonly files: DatastorePaths;
  readonly hostName: string;
  /** The UUID of the host. */
  readonly uuid: string | undefined;
}

export class SearchIndex extends ManagedObject {
  constructor(private readonly host: Searched) {
    super('SearchIndex', SEARCH_INDEX.value);
  }

  override get types(): string[] {
    return ['SearchIndex'];
  }

  property(): unknown {
    return undefined;
  }

  propertyNames(): string[] {
    return [];
  }

  FindByUuid(args: { uuid: string; vmSearch: boolean; instanceUuid?: boolean }): ManagedObjectReference | undefined {
    return this.FindAllByUuid(args)[0];
  }

  FindAllByUuid(args: { uuid: string; vmSearch: boolean; instanceUuid?: boolean }): ManagedObjectReference[] {
    if (!args.vmSearch) return args.uuid === this.host.uuid ? [HOST_SYSTEM] : [];
    const wanted = args.uuid.toLowerCase();
    return this.host.machines
      .seen()
      .filter((vm) => (args.instanceUuid === true ? vm.config.instanceUuid : vm.config.uuid) === wanted)
      .map((vm) => vm.ref);
  }

  FindByIp(args: { ip: string; vmSearch: boolean }): ManagedObjectReference | undefined {
    return args.vmSearch
      ? this.host.machines
          .seen()
          .find((vm) => vm.powerState === 'poweredOn' && hasAddress(vm.config.extraConfig, args.ip))?.ref
      : undefined;
  }

  FindByDnsName(args: { dnsName: string; vmSearch: boolean }): ManagedObjectReference | undefined {
    if (!args.vmSearch) return args.dnsName === this.host.hostName ? HOST_SYSTEM : undefined;
    return this.host.machines.seen().find((vm) => vm.config.name === args.dnsName)?.ref;
  }

  FindByDatastorePath(args: { path: string }): ManagedObjectReference | undefined {
    return this.host.machines.seen().find((vm) => this.host.files.pathOf(vm.vmx) === args.path)?.ref;
  }

  FindByInventoryPath(args: { inventoryPath: string }): ManagedObjectReference | undefined {
    if (args.inventoryPath.length > MAX_PATH)
      throw fault('InvalidArgument', `An inventory path has at most ${MAX_PATH} characters`, {
        invalidProperty: 'inventoryPath',
      });
    let at: ManagedObjectReference | undefined = ROOT_FOLDER;
    for (const name of args.inventoryPath.split('/').filter((part) => part !== '')) {
      at = at === undefined ? undefined : this.child(at, decodeURIComponent(name));
    }
    return at;
  }

  FindChild(args: { entity: ManagedObjectReference; name: string }): ManagedObjectReference | undefined {
    this.host.registry.get(args.entity);
    return this.child(args.entity, args.name);
  }

  private child(entity: ManagedObjectReference, name: string): ManagedObjectReference | undefined {
    const object = this.host.registry.find(entity);
    const children = [
      'childEntity',
      'vmFolder',
      'hostFolder',
      'datastoreFolder',
      'networkFolder',
      'resourcePool',
      'host',
      'vm',
    ].flatMap((property) => (object?.property(property) ?? []) as ManagedObjectReference | ManagedObjectReference[]);
    return children.find((child) => this.host.registry.find(child)?.property('name') === name);
  }
}
