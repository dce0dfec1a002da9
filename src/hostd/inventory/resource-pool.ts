/** ResourcePool. */
import { cpus, totalmem } from 'node:os';
import { type ManagedObjectReference, propertyNames, type ResourceConfigSpec } from '../../vim25/server.js';
import { fault } from '../faults.js';
import { cpuMhz } from '../host-cpu.js';
import type { CallContext } from '../objects/call-context.js';
import { ManagedObject } from '../objects/managed-object.js';
import type { Registry } from '../objects/registry.js';
import { COMPUTE_RESOURCE, ref } from '../references.js';
import type { EventManager } from '../services/events/event-manager.js';
import type { TaskManager } from '../services/tasks/task-manager.js';
import type { Machine } from '../vm/machine.js';
import { type Allocation, type PoolRecord, UNLIMITED } from './inventory-file.js';

/** The other pools, and what pools need of the host. */
export interface PoolTree {
  readonly registry: Registry;
  readonly events: EventManager;
  readonly tasks: TaskManager;
  readonly machines: { inPool(pool: ManagedObjectReference): Machine[] };
  children(parent: ManagedObjectReference): ResourcePool[];
  add(name: string, parent: string, cpu: Allocation, memory: Allocation): Promise<ResourcePool>;
  remove(pool: ResourcePool, to: ManagedObjectReference): Promise<void>;
  save(): Promise<void>;
}

export class ResourcePool extends ManagedObject {
  constructor(
    private readonly tree: PoolTree,
    readonly record: PoolRecord,
  ) {
    super('ResourcePool', record.id);
  }

  property(name: string): unknown {
    const config = { entity: this.ref, cpuAllocation: this.record.cpu, memoryAllocation: this.record.memory };
    switch (name) {
      case 'name':
        return this.record.name;
      case 'parent':
        return this.record.parent === null ? COMPUTE_RESOURCE : ref('ResourcePool', this.record.parent);
      case 'owner':
        return COMPUTE_RESOURCE;
      case 'resourcePool':
        return this.children().map((pool) => pool.ref);
      case 'vm':
        return this.machines().map((vm) => vm.ref);
      case 'config':
        return config;
      case 'runtime':
        return {
          memory: this.usage(this.record.memory, totalmem()),
          cpu: this.usage(this.record.cpu, cpuMhz() * cpus().length),
          overallStatus: 'green',
        };
      case 'summary':
        return {
          $type: 'ResourcePoolSummary',
          name: this.record.name,
          config,
          runtime: this.property('runtime'),
          quickStats: { overallCpuUsage: 0, overallCpuDemand: 0, guestMemoryUsage: 0, hostMemoryUsage: 0 },
          configuredMemoryMB: this.configuredMemory(),
        };
      case 'childConfiguration':
        return [];
      default:
        return undefined;
    }
  }

  propertyNames(): string[] {
    return propertyNames('ResourcePool');
  }

  private configuredMemory(): number {
    return this.machines().reduce((sum, vm) => sum + vm.config.memoryMiB, 0);
  }

  /** @param most what the machine has: bytes of memory or MHz */
  private usage(allocation: Allocation, most: number): object {
    return {
      reservationUsed: 0,
      reservationUsedForVm: 0,
      unreservedForPool: most,
      unreservedForVm: most,
      overallUsage: 0,
      maxUsage: allocation.limit === -1 ? most : allocation.limit,
    };
  }

  private children(): ResourcePool[] {
    return this.tree.children(this.ref);
  }

  private machines(): Machine[] {
    return this.tree.machines.inPool(this.ref);
  }

  async CreateResourcePool(
    args: { name: string; spec: ResourceConfigSpec },
    context: CallContext,
  ): Promise<ManagedObjectReference> {
    const twin = this.children().find((pool) => pool.record.name === args.name);
    if (twin !== undefined)
      throw fault('DuplicateName', `The name '${args.name}' already exists.`, { name: args.name, object: twin.ref });
    checkName(args.name);
    const pool = await this.tree.add(
      args.name,
      this.record.id,
      allocation(args.spec.cpuAllocation),
      allocation(args.spec.memoryAllocation),
    );
    this.tree.events.post('ResourcePoolCreatedEvent', `Created resource pool ${args.name}`, context.userName, {
      resourcePool: { name: args.name, resourcePool: pool.ref },
      parent: { name: this.record.name, resourcePool: this.ref },
    });
    return pool.ref;
  }

  async UpdateConfig(args: { name?: string; config?: ResourceConfigSpec }): Promise<void> {
    if (args.name !== undefined && args.name !== '') this.record.name = checkName(args.name);
    if (args.config !== undefined) {
      this.record.cpu = allocation(args.config.cpuAllocation);
      this.record.memory = allocation(args.config.memoryAllocation);
    }
    this.tree.registry.touch(this, 'name', 'config', 'summary', 'runtime');
    await this.tree.save();
  }

  /** VMs and child pools move to the parent, as in vSphere. */
  Destroy_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.tree.tasks.run('ManagedEntity.destroy', this, this.record.name, context.userName, async () => {
      const { parent } = this.record;
      if (parent === null) throw fault('NotSupported', 'The root resource pool cannot be removed');
      for (const child of this.children()) child.record.parent = parent;
      await this.tree.remove(this, ref('ResourcePool', parent));
      this.tree.events.post(
        'ResourcePoolDestroyedEvent',
        `Removed resource pool ${this.record.name}`,
        context.userName,
        { resourcePool: { name: this.record.name, resourcePool: this.ref } },
      );
    });
  }

  Rename_Task(args: { newName: string }, context: CallContext): ManagedObjectReference {
    return this.tree.tasks.run('ManagedEntity.rename', this, this.record.name, context.userName, () =>
      this.UpdateConfig({ name: args.newName }),
    );
  }
}

/** @throws InvalidName */
function checkName(name: string): string {
  if (name === '' || name.length > 80)
    throw fault('InvalidName', `'${name.slice(0, 80)}' is not a name for a resource pool`, { name: name.slice(0, 80) });
  return name;
}

function allocation(
  spec:
    | {
        reservation?: number;
        expandableReservation?: boolean;
        limit?: number;
        shares?: { level: string; shares: number };
      }
    | undefined,
): Allocation {
  return {
    reservation: spec?.reservation ?? 0,
    expandableReservation: spec?.expandableReservation ?? true,
    limit: spec?.limit ?? -1,
    shares: spec?.shares ?? UNLIMITED.shares,
  };
}
