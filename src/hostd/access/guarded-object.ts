/** A managed object as access control sees it. */
import type { ManagedObjectReference } from '../../vim25/server.js';

export interface GuardedObject {
  readonly ref: ManagedObjectReference;
  /** Whose it is and what it is about, where that decides who may know of it: tasks have this. */
  readonly belongsTo?: { user: string; about: GuardedObject };
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
