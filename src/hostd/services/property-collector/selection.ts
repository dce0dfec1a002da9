/** Which objects and properties a PropertyFilterSpec selects. */
import type { PropertyFilterSpec, SelectionSpec, TraversalSpec } from '../../../vim25/server.js';
import { callerSees } from '../../access/caller.js';
import type { Effort } from '../../access/effort.js';
import type { ManagedObject } from '../../objects/managed-object.js';
import type { Registry } from '../../objects/registry.js';
import { checkPath } from '../../objects/wire-values.js';
import { isReference } from '../../references.js';

/** An object and the paths that are asked of it. */
export interface Selected {
  object: ManagedObject;
  paths: string[];
}

/** Evaluates one filter's selection. @param mustExist an object that is not there is a fault */
export function select(
  registry: Registry,
  spec: PropertyFilterSpec,
  mustExist: boolean,
  effort: Effort,
): Map<string, Selected> {
  const found = new Map<string, Selected>();
  for (const start of spec.objectSet ?? []) {
    effort.step();
    const object = mustExist ? registry.get(start.obj) : registry.find(start.obj);
    if (object === undefined || !callerSees(object)) continue;
    const named = new Map<string, TraversalSpec>();
    collectNamed(start.selectSet ?? [], named);
    const seen = new Set<string>();
    if (start.skip !== true) take(spec, object, found, effort);
    walk(registry, spec, object, start.selectSet ?? [], named, found, seen, effort);
  }
  return found;
}

function collectNamed(specs: SelectionSpec[], named: Map<string, TraversalSpec>): void {
  for (const one of specs) {
    if (one.$type !== 'TraversalSpec') continue;
    const traversal = one as TraversalSpec;
    if (traversal.name !== undefined && traversal.name !== '') named.set(traversal.name, traversal);
    collectNamed((traversal.selectSet ?? []) as SelectionSpec[], named);
  }
}

function walk(
  registry: Registry,
  spec: PropertyFilterSpec,
  object: ManagedObject,
  selectSet: SelectionSpec[],
  named: Map<string, TraversalSpec>,
  found: Map<string, Selected>,
  seen: Set<string>,
  effort: Effort,
): void {
  for (const one of selectSet) {
    effort.step();
    const traversal = one.$type === 'TraversalSpec' ? (one as TraversalSpec) : named.get(one.name ?? '');
    if (traversal === undefined || !object.types.includes(traversal.type)) continue;
    const key = `${object.ref.value} ${traversal.name ?? ''} ${traversal.type} ${traversal.path}`;
    if (seen.has(key)) continue;
    seen.add(key);
    const value = object.value(traversal.path);
    for (const ref of Array.isArray(value) ? value : [value]) {
      effort.step();
      const target = isReference(ref) ? registry.find(ref) : undefined;
      if (target === undefined || !callerSees(target)) continue;
      if (traversal.skip !== true) take(spec, target, found, effort);
      walk(registry, spec, target, (traversal.selectSet ?? []) as SelectionSpec[], named, found, seen, effort);
    }
  }
}

function take(spec: PropertyFilterSpec, object: ManagedObject, found: Map<string, Selected>, effort: Effort): void {
  const paths = new Set<string>();
  let matches = false;
  for (const set of spec.propSet ?? []) {
    effort.step();
    if (!object.types.includes(set.type)) continue;
    matches = true;
    const all = set.all === true ? object.allPropertyNames() : [];
    effort.step(all.length + (set.pathSet?.length ?? 0));
    for (const name of all) paths.add(name);
    for (const path of set.pathSet ?? []) paths.add(path);
  }
  if (matches) found.set(object.ref.value, { object, paths: [...paths] });
}

/** @throws InvalidProperty for a path that no object of its type can have */
export function checkPaths(spec: PropertyFilterSpec): void {
  for (const set of spec.propSet ?? []) for (const path of set.pathSet ?? []) checkPath(set.type, path);
}
