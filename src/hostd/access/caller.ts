/** Whose call is being carried out. What hostd does on its own has no caller and may do everything. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { ManagedObjectReference } from '../../vim25/server.js';
import { fault } from '../faults.js';
import type { GuardedObject } from './guarded-object.js';
import { NOTHING_HELD, type Release } from './holdings.js';

/** A caller. {@link Authority} decides what it may do. */
export interface Caller {
  /** The user's name; null for one who has not logged in. */
  readonly principal: string | null;
  /** False for an administrator, who sees and may do everything. */
  readonly restricted: boolean;
  sees(object: GuardedObject): boolean;
  has(object: GuardedObject, privilege: string): boolean;
  /** True for an object that ends with the caller's session, such as a view. */
  owns(object: GuardedObject): boolean;
  /** Roles that the caller has on an entity. */
  rolesOn(object: GuardedObject): number[];
  /** Permissions on an entity that the caller may know of. */
  permissionsOn(object: GuardedObject): object[];
  /** A value without references to objects that the caller may not see. */
  redact<T>(value: T): T;
  /** Counts memory held for the caller. @throws LimitExceeded when that is too much */
  hold(bytes: number): Release;
}

const calling = new AsyncLocalStorage<Caller>();

/** Runs the body of a call on behalf of the caller. */
export function asCaller<T>(caller: Caller, body: () => T): T {
  return calling.run(caller, body);
}

/** Who is calling. */
export function currentCaller(): Caller | undefined {
  return calling.getStore();
}

/** The caller, if there is one and it may not do everything. */
export function restrictedCaller(): Caller | undefined {
  const caller = calling.getStore();
  return caller?.restricted === true ? caller : undefined;
}

/** True when the caller may know of the object. */
export function callerSees(object: GuardedObject): boolean {
  return restrictedCaller()?.sees(object) ?? true;
}

/** True when the caller has the privilege on the object. */
export function callerHas(object: GuardedObject, privilege: string): boolean {
  return restrictedCaller()?.has(object, privilege) ?? true;
}

/** @throws NoPermission */
export function mustHave(object: GuardedObject, privilege: string): void {
  if (!callerHas(object, privilege)) throw noPermission(object.ref, privilege);
}

/** Counts memory held for the caller; an administrator's is not counted. @throws LimitExceeded */
export function holdForCaller(bytes: number): Release {
  return restrictedCaller()?.hold(bytes) ?? NOTHING_HELD;
}

/** The fault for a missing privilege. @param why the message; the default names the privilege and the object */
export function noPermission(object: ManagedObjectReference, privilegeId: string, why?: string): Error {
  const reason = why ?? `it needs ${privilegeId} on ${object.type} ${object.value}`;
  return fault('NoPermission', `Permission to perform this operation was denied: ${reason}`, {
    object,
    privilegeId,
  });
}
