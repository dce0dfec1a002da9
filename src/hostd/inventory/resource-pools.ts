/** The tree of resource pools. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import type { Registry } from '../objects/registry.js';
import { ref } from '../references.js';
import type { EventManager } from '../services/events/event-manager.js';
import type { TaskManager } from '../services/tasks/task-manager.js';
import type { Allocation, InventoryFile, PoolRecord } from './inventory-file.js';
import type { Machines } from './machines.js';
import { type PoolTree, ResourcePool } from './resource-pool.js';

export class ResourcePools implements PoolTree {
  constructor(
    readonly registry: Registry,
    readonly events: EventManager,
    readonly tasks: TaskManager,
    readonly machines: Machines,
    private readonly file: InventoryFile,
  ) {}

  load(records: readonly PoolRecord[]): void {
    for (const record of records) this.registry.add(new ResourcePool(this, record));
  }

  records(): PoolRecord[] {
    return this.all().map((pool) => pool.record);
  }

  children(parent: ManagedObjectReference): ResourcePool[] {
    return this.all().filter((pool) => pool.record.parent === parent.value);
  }

  async add(name: string, parent: string, cpu: Allocation, memory: Allocation): Promise<ResourcePool> {
    const record = { id: `pool-${this.file.nextId()}`, name, parent, cpu, memory };
    const pool = this.registry.add(new ResourcePool(this, record));
    this.registry.touch(this.registry.get(ref('ResourcePool', parent)), 'resourcePool');
    await this.save();
    return pool;
  }

  /** Removes a pool, whose VMs go to another one. */
  async remove(pool: ResourcePool, to: ManagedObjectReference): Promise<void> {
    this.machines.movePool(pool.ref, to);
    this.registry.remove(pool);
    this.registry.touch(this.registry.get(to), 'resourcePool', 'vm');
    await this.save();
  }

  save(): Promise<void> {
    return this.file.save();
  }

  private all(): ResourcePool[] {
    return [...this.registry.all()].filter((object): object is ResourcePool => object instanceof ResourcePool);
  }
}
