/** All managed objects by id, and what changed when. */
import { EventEmitter } from 'node:events';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { fault } from '../faults.js';
import type { ManagedObject } from './managed-object.js';

/** Emits `changed` after each change, at most once a turn of the event loop, and `removed` for each object that goes. */
export class Registry extends EventEmitter<{ changed: []; removed: [ManagedObject] }> {
  private readonly objects = new Map<string, ManagedObject>();
  private version = 1;
  private scheduled = false;

  constructor() {
    super();
    this.setMaxListeners(0);
  }

  /** The current version: grows with each change. */
  get currentVersion(): number {
    return this.version;
  }

  add<T extends ManagedObject>(object: T): T {
    this.objects.set(object.ref.value, object);
    object.born = ++this.version;
    this.notify();
    return object;
  }

  remove(object: ManagedObject): void {
    if (this.objects.delete(object.ref.value)) {
      this.version++;
      this.emit('removed', object);
      this.notify();
    }
  }

  /** Says that properties at these paths changed. */
  touch(object: ManagedObject, ...paths: string[]): void {
    this.version++;
    for (const path of paths) object.versions.set(path, this.version);
    this.notify();
  }

  /** Wakes those who wait, though no object has changed. */
  notify(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.emit('changed');
    });
  }

  find(ref: ManagedObjectReference): ManagedObject | undefined {
    const object = this.objects.get(ref.value);
    return object !== undefined && (object.ref.type === ref.type || object.types.includes(ref.type))
      ? object
      : undefined;
  }

  /** @throws ManagedObjectNotFound */
  get(ref: ManagedObjectReference): ManagedObject {
    const object = this.find(ref);
    if (object === undefined) {
      throw fault(
        'ManagedObjectNotFound',
        `The object '${ref.type}:${ref.value}' has already been deleted or has not been completely created`,
        { obj: ref },
      );
    }
    return object;
  }

  /** The object if it is of that class. @throws ManagedObjectNotFound */
  getAs<T extends ManagedObject>(ref: ManagedObjectReference, type: abstract new (...args: never[]) => T): T {
    const object = this.get(ref);
    if (!(object instanceof type))
      throw fault('ManagedObjectNotFound', `'${ref.value}' is not of the expected type`, { obj: ref });
    return object;
  }

  *all(): Iterable<ManagedObject> {
    yield* this.objects.values();
  }
}
