/** Task: an operation that takes time, with its progress and outcome. */
import type { TaskInfo } from '../../../vim25/server.js';
import { NOTHING_HELD, type Release } from '../../access/holdings.js';
import { fault } from '../../faults.js';
import { ManagedObject } from '../../objects/managed-object.js';

/** A running or finished task. */
export class Task extends ManagedObject {
  info: TaskInfo;
  /** Resolves when it has ended, however. */
  done: Promise<void> = Promise.resolve();
  /** Releases the memory that its result takes of its user's share. */
  kept: Release = NOTHING_HELD;

  readonly belongsTo: { user: string; about: ManagedObject };

  /** @param entity what it works on; only a ManagedEntity may be named in its info */
  constructor(
    id: number,
    operation: string,
    readonly entity: ManagedObject,
    entityName: string,
    readonly user: string,
  ) {
    super('Task', `task-${id}`);
    this.belongsTo = { user, about: entity };
    this.info = {
      $type: 'TaskInfo',
      key: this.ref.value,
      task: this.ref,
      name: operation,
      descriptionId: operation,
      ...(entity.isEntity() ? { entity: entity.ref, entityName } : {}),
      state: 'running',
      cancelled: false,
      cancelable: false,
      reason: { $type: 'TaskReasonUser', userName: user },
      queueTime: new Date(),
      startTime: new Date(),
      eventChainId: id,
    };
  }

  override get types(): string[] {
    return ['Task', 'ExtensibleManagedObject'];
  }

  property(name: string): unknown {
    return name === 'info' ? this.info : undefined;
  }

  propertyNames(): string[] {
    return ['info'];
  }

  CancelTask(): never {
    throw fault('NotSupported', 'This task cannot be cancelled');
  }
}
