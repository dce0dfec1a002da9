/** What a VM needs of its host. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import type { DatastoreFiles } from '../datastore/datastore-files.js';
import type { FileAccess } from '../datastore/file-access.js';
import type { Registry } from '../objects/registry.js';
import type { VmRuntime } from '../runtime.js';
import type { EventManager } from '../services/events/event-manager.js';
import type { TaskManager } from '../services/tasks/task-manager.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { Machine } from './machine.js';

/** The host, for one of its VMs. */
export interface VmHost {
  readonly hostName: string;
  readonly registry: Registry;
  readonly events: EventManager;
  readonly tasks: TaskManager;
  readonly files: DatastoreFiles;
  readonly fileAccess: FileAccess;
  readonly runtime: VmRuntime;
  readonly virtualSwitch: Pick<VirtualSwitch, 'allow' | 'flows'> | null;
  readonly machines: MachineList;
  readonly portGroups: PortGroupList;
  /** Writes the inventory file. */
  save(): Promise<void>;
}

/** The VMs of the host. */
export interface MachineList {
  all(): Machine[];
  /** All VMs, including those that are being created. */
  withUnfinished(): Machine[];
  /** @param self the VM that will have the name @throws DuplicateName, InvalidName */
  checkName(name: string, self?: Machine): string;
  /** Takes a VM out of the inventory. */
  forget(vm: Machine): Promise<void>;
}

/** The port groups of the host. */
export interface PortGroupList {
  /** The network of a port group; undefined if there is no such port group. */
  networkOf(portGroup: string): ManagedObjectReference | undefined;
  /** The port groups that the caller may see. */
  seen(): { has(name: string): boolean };
  /** Refuses an endpoint's keys that {@link settle} would not understand. @throws InvalidArgument */
  checkWishes(extraConfig: ReadonlyMap<string, string>): void;
  /** Treats the port groups that a virtual container host has made as its endpoint's keys say. @throws InvalidArgument, internal */
  settle(vch: string, extraConfig: ReadonlyMap<string, string>): Promise<void>;
  /** Removes those that a virtual container host has made, apart from those that are in use. */
  removeOf(vch: string): Promise<void>;
}
