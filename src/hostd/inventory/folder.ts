/** Folders, the datacenter's children, and making VMs in them. */
import type { ManagedObjectReference, VirtualMachineConfigSpec } from '../../vim25/types.generated.js';
import { fault } from '../faults.js';
import type { CallContext } from '../services/session-manager.js';
import type { Host } from './host.js';
import { ManagedObject } from '../objects/managed-object.js';

/** A folder of the inventory. A single host has the fixed ones only. */
export class Folder extends ManagedObject {
  constructor(
    private readonly host: Host,
    id: string,
    private readonly name: string,
    private readonly parent: ManagedObjectReference | undefined,
    private readonly childType: string[],
    private readonly children: () => ManagedObjectReference[],
  ) {
    super('Folder', id);
  }

  property(name: string): unknown {
    switch (name) {
      case 'name':
        return this.name;
      case 'parent':
        return this.parent;
      case 'childType':
        return this.childType;
      case 'childEntity':
        return this.children();
      default:
        return undefined;
    }
  }

  propertyNames(): string[] {
    return ['name', 'parent', 'childType', 'childEntity'];
  }

  CreateVM_Task(
    args: { config: VirtualMachineConfigSpec; pool: ManagedObjectReference },
    context: CallContext,
  ): ManagedObjectReference {
    this.mustHoldVms();
    return this.host.tasks.run('Folder.createVm', this, this.name, context.userName, () =>
      this.host.createVm(args.config, args.pool, this.ref, context.userName),
    );
  }

  RegisterVM_Task(
    args: { path: string; name?: string; asTemplate: boolean; pool?: ManagedObjectReference },
    context: CallContext,
  ): ManagedObjectReference {
    this.mustHoldVms();
    if (args.asTemplate) throw fault('NotSupported', 'Templates need a vCenter');
    return this.host.tasks.run('Folder.registerVm', this, this.name, context.userName, () =>
      this.host.registerVm(args.path, args.name, args.pool, this.ref, context.userName),
    );
  }

  CreateFolder(): never {
    throw fault('NotSupported', 'Folders need a vCenter');
  }

  private mustHoldVms(): void {
    if (!this.childType.includes('VirtualMachine'))
      throw fault('NotSupported', `The folder '${this.name}' holds no virtual machines`);
  }
}
