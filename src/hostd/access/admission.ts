/** The gate that every operation passes: who may call it on which object with which arguments. */
import type { ManagedObjectReference } from '../../vim25/server.js';
import { DATACENTER, HOST_SYSTEM, isReference, ROOT_FOLDER } from '../references.js';
import { type Caller, noPermission } from './caller.js';
import type { GuardedObject, GuardedObjects } from './guarded-object.js';
import type { Rule } from './operation-rules.js';

const VISIBLE = 'System.View';

/** @throws NoPermission naming the object and the missing privilege */
export function admit(objects: GuardedObjects, caller: Caller, rule: Rule, object: GuardedObject, args: unknown): void {
  if (!caller.restricted) return;
  mustSee(caller, object);
  for (const ref of references(args)) {
    const named = objects.find(ref);
    if (named !== undefined) mustSee(caller, named);
  }
  // Objects that are not entities have no permissions of their own: whoever sees one may use it.
  const places = placesOf(objects, rule, object);
  if (!places.some((on) => (on.isEntity() ? caller.has(on, rule.privilege) : rule.privilege === VISIBLE)))
    throw noPermission(places[0]!.ref, rule.privilege);
  for (const [name, privilege] of Object.entries(rule.arguments ?? {})) {
    const ref = (args as Record<string, unknown>)[name];
    // If it were left out, it would mean the host's root pool or the like.
    if (!isReference(ref)) throw noPermission(object.ref, privilege);
    if (!caller.has(objects.get(ref), privilege)) throw noPermission(ref, privilege);
  }
}

function mustSee(caller: Caller, object: GuardedObject): void {
  if (!caller.sees(object)) throw noPermission(object.ref, VISIBLE);
}

/** The objects on one of which the privilege is needed. Which datastore a file is on, and whose it is, is checked with its path. */
function placesOf(objects: GuardedObjects, rule: Rule, object: GuardedObject): GuardedObject[] {
  switch (rule.on) {
    case 'datastore':
      return (objects.get(DATACENTER).property('datastore') as ManagedObjectReference[]).map((ref) => objects.get(ref));
    case 'host':
      return [objects.get(HOST_SYSTEM)];
    case 'root':
      return [objects.get(ROOT_FOLDER)];
    default:
      return [object];
  }
}

/** All references in the arguments of a call, however deep. */
function* references(value: unknown): Iterable<ManagedObjectReference> {
  if (typeof value !== 'object' || value === null) return;
  if (isReference(value)) yield value;
  for (const inner of Array.isArray(value) ? value : Object.values(value)) yield* references(inner);
}
