/** Folder: those that a single host has; VMs are made and registered in one of them. */
import type { ManagedObjectReference, VirtualMachineConfigSpec } from '../../vim25/server.js';
import { fault } from '../faults.js';
import type { CallContext } from '../objects/call-context.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { TaskManager } from '../services/tasks/task-manager.js';
import type { Machines } from './machines.js';

export class Folder extends ManagedObject {
  constructor(
    private readonly host: { tasks: TaskManager; machines: Machines },
    folder: ManagedObjectReference,
    private readonly name: string,
    private readonly parent: ManagedObjectReference | undefined,
    private readonly childType: string[],
    private readonly children: () => ManagedObjectReference[],
  ) {
    super('Folder', folder.value);
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
      this.host.machines.create(args.config, args.pool, this.ref, context.userName),
    );
  }

  RegisterVM_Task(
    args: { path: string; name?: string; asTemplate: boolean; pool?: ManagedObjectReference },
    context: CallContext,
  ): ManagedObjectReference {
    this.mustHoldVms();
    if (args.asTemplate) throw fault('NotSupported', 'Templates need a vCenter');
    return this.host.tasks.run('Folder.registerVm', this, this.name, context.userName, () =>
      this.host.machines.registerFile(args.path, args.name, args.pool, this.ref, context.userName),
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
