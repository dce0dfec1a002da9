/** What the services for files of the datastore share: paths that the caller may reach, and faults that name files as clients do. */
import type { ManagedObjectReference } from '../../../vim25/server.js';
import type { DatastoreFiles } from '../../datastore/datastore-files.js';
import { DATASTORE } from '../../datastore/datastore-places.js';
import type { Need } from '../../datastore/file-access.js';
import { fileFault } from '../../datastore/file-faults.js';
import type { CallContext } from '../../objects/call-context.js';
import { ManagedObject } from '../../objects/managed-object.js';
import type { TaskManager } from '../tasks/task-manager.js';

export abstract class DatastoreService extends ManagedObject {
  constructor(
    type: string,
    id: string,
    protected readonly files: DatastoreFiles,
    protected readonly tasks: TaskManager,
  ) {
    super(type, id);
  }

  override get types(): string[] {
    return [this.ref.type];
  }

  property(_name: string): unknown {
    return undefined;
  }

  propertyNames(): string[] {
    return [];
  }

  /** The object that its tasks work on. */
  protected entity(): ManagedObject {
    return this;
  }

  protected locate(path: string, need: Need): Promise<string> {
    return this.files.locate(path, need);
  }

  protected task(operation: string, context: CallContext, body: () => Promise<unknown>): ManagedObjectReference {
    return this.tasks.run(operation, this.entity(), DATASTORE, context.userName, () => this.named(body));
  }

  /** Runs a body whose faults name files as clients do, never by a path of this machine. */
  protected async named<T>(body: () => Promise<T>): Promise<T> {
    try {
      return await body();
    } catch (error) {
      throw fileFault(error, this.files);
    }
  }
}
