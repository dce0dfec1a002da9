/** A managed object as access control sees it. */
import type { ManagedObjectReference } from '../../vim25/server.js';

export interface GuardedObject {
  readonly ref: ManagedObjectReference;
  /** Its owner and its subject, for objects where these decide who may know of them: tasks. */
  readonly belongsTo?: { user: string; about: GuardedObject };
  /** Id of the virtual container host that made it, for port groups. */
  readonly madeBy?: string | undefined;
  isEntity(): boolean;
  /** The value of a first-level property. */
  property(name: string): unknown;
}

/** All managed objects. */
export interface GuardedObjects {
  find(ref: ManagedObjectReference): GuardedObject | undefined;
  /** @throws ManagedObjectNotFound */
  get(ref: ManagedObjectReference): GuardedObject;
}
