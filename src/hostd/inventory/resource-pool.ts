/** Resource pools. */
import { cpus, totalmem } from 'node:os';
import { propertyNames } from '../../vim25/table.js';
import type { ManagedObjectReference, ResourceConfigSpec } from '../../vim25/types.generated.js';
import { fault } from '../faults.js';
import type { CallContext } from '../services/session-manager.js';
import type { Host } from './host.js';
import { cpuMhz } from './host-info.js';
import { ManagedObject } from '../objects/managed-object.js';

/** What is kept of a pool. */
export interface PoolRecord {
  id: string;
  name: string;
  /** Id of the parent pool; null for the root pool. */
  parent: string | null;
  cpu: Allocation;
  memory: Allocation;
}

interface Allocation {
  reservation: number;
  expandableReservation: boolean;
  limit: number;
  shares: { level: string; shares: number };
}

export const UNLIMITED: Allocation = {
  reservation: 0,
  expandableReservation: true,
  limit: -1,
  shares: { level: 'normal', shares: 4000 },
};

/** A resource pool. */
export class ResourcePool extends ManagedObject {
  constructor(
    private readonly host: Host,
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
        return this.record.parent === null
          ? this.host.computeResource
          : { type: 'ResourcePool', value: this.record.parent };
      case 'owner':
        return this.host.computeResource;
      case 'resourcePool':
        return this.children().map((pool) => pool.ref);
      case 'vm':
        return this.host.vmsOf(this.ref);
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
    return this.host
      .vms()
      .filter((vm) => vm.pool.value === this.record.id)
      .reduce((sum, vm) => sum + vm.config.memoryMiB, 0);
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
    return this.host.pools().filter((pool) => pool.record.parent === this.record.id);
  }

  async CreateResourcePool(
    args: { name: string; spec: ResourceConfigSpec },
    context: CallContext,
  ): Promise<ManagedObjectReference> {
    const twin = this.children().find((pool) => pool.record.name === args.name);
    if (twin !== undefined)
      throw fault('DuplicateName', `The name '${args.name}' already exists.`, { name: args.name, object: twin.ref });
    checkName(args.name);
    const pool = await this.host.addPool(
      args.name,
      this.record.id,
      allocation(args.spec.cpuAllocation),
      allocation(args.spec.memoryAllocation),
    );
    this.host.events.post('ResourcePoolCreatedEvent', `Created resource pool ${args.name}`, context.userName, {
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
    this.host.registry.touch(this, 'name', 'config', 'summary', 'runtime');
    await this.host.save();
  }

  /** VMs and child pools move to the parent, as in vSphere. */
  Destroy_Task(_args: unknown, context: CallContext): ManagedObjectReference {
    return this.host.tasks.run('ManagedEntity.destroy', this, this.record.name, context.userName, async () => {
      const { parent } = this.record;
      if (parent === null) throw fault('NotSupported', 'The root resource pool cannot be removed');
      for (const child of this.children()) child.record.parent = parent;
      await this.host.removePool(this, { type: 'ResourcePool', value: parent });
      this.host.events.post(
        'ResourcePoolDestroyedEvent',
        `Removed resource pool ${this.record.name}`,
        context.userName,
        { resourcePool: { name: this.record.name, resourcePool: this.ref } },
      );
    });
  }

  Rename_Task(args: { newName: string }, context: CallContext): ManagedObjectReference {
    return this.host.tasks.run('ManagedEntity.rename', this, this.record.name, context.userName, () =>
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
