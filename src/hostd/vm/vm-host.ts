/** What a VM needs of the host that it is on. */
import type { ManagedObjectReference } from '../../vim25/types.generated.js';
import type { FileAccess } from '../datastore/file-access.js';
import type { Datastore } from '../inventory/datastore.js';
import type { EventManager } from '../services/event-manager.js';
import type { ManagedObject } from '../objects/managed-object.js';
import type { Registry } from '../objects/registry.js';
import type { TaskManager } from '../services/task-manager.js';
import type { VmRuntime } from '../runtime.js';
import type { VirtualSwitch } from '../switch/virtual-switch.js';
import type { VmConfig } from './vm-config.js';

/** A VM of the inventory as all see it who do not run it. */
export interface Machine extends ManagedObject {
  /** Local path of the .vmx file. */
  readonly vmx: string;
  /** Local path of the directory that the .vmx file is in. */
  readonly directory: string;
  readonly config: VmConfig;
  readonly pool: ManagedObjectReference;
}

/** The host, for one of its VMs. */
export interface VmHost {
  readonly hostName: string;
  readonly hostSystem: ManagedObjectReference;
  readonly environmentBrowser: ManagedObjectReference;
  readonly registry: Registry;
  readonly events: EventManager;
  readonly tasks: TaskManager;
  readonly datastore: Datastore;
  readonly fileAccess: FileAccess;
  readonly runtime: VmRuntime;
  readonly virtualSwitch: Pick<VirtualSwitch, 'allow'> | null;
  /** All VMs, and all together with those that are being made. */
  vms(): Machine[];
  allMachines(): Machine[];
  /** The network of a port group. */
  networkRef(portGroup: string): ManagedObjectReference | undefined;
  /** The port groups that the caller may know of. */
  seenPortGroups(): { has(name: string): boolean };
  /** @throws DuplicateName, InvalidName */
  checkVmName(name: string, self: Machine): string;
  /** Takes the VM out of the inventory. */
  forget(vm: Machine): Promise<void>;
  /** Writes the inventory file. */
  save(): Promise<void>;
}
