/** A managed object: a reference, properties that can be asked for by path, and operations named as in vim25. */
import { type ManagedObjectReference, propertyInfo, propertyNames } from '../../vim25/server.js';
import { restrictedCaller } from '../access/caller.js';
import type { GuardedObject } from '../access/guarded-object.js';
import { inheritedProperty } from './inherited-property.js';
import { isWithin, splitPath } from './property-path.js';
import { checkPath, WireValues } from './wire-values.js';

/** Base of all managed objects. Operations are methods named as in vim25, called by the dispatcher. */
export abstract class ManagedObject implements GuardedObject {
  readonly ref: ManagedObjectReference;
  /** Version of the last change by property path; see {@link Registry.touch}. */
  readonly versions = new Map<string, number>();
  /** Version at which the object appeared. */
  born = 0;
  /** Tasks on it, of the last ten minutes. */
  readonly recentTasks: ManagedObjectReference[] = [];

  protected constructor(type: string, value: string) {
    this.ref = { type, value };
  }

  /** Types that this object is an instance of, its own first. Selections by type match these. */
  get types(): string[] {
    return [this.ref.type, 'ManagedEntity'];
  }

  /** The value of a first-level property; undefined: unset or unknown. */
  abstract property(name: string): unknown;

  /** Names of the first-level properties it has. */
  abstract propertyNames(): string[];

  /** Like {@link property}, with inherited properties, as far as the caller may see them. */
  read(name: string): unknown {
    const caller = restrictedCaller();
    if (caller !== undefined && this.isEntity() && name !== 'name' && !caller.has(this, 'System.Read'))
      return undefined;
    const value =
      this.property(name) ?? (propertyInfo(this.ref.type, name) ? inheritedProperty(this, name) : undefined);
    return caller === undefined ? value : caller.redact(value);
  }

  isEntity(): boolean {
    return this.types.includes('ManagedEntity');
  }

  /** Names of all properties that objects of its type can have. */
  allPropertyNames(): string[] {
    const declared = propertyNames(this.ref.type);
    return declared.length > 0 ? declared : this.propertyNames();
  }

  /** One property by name: how pyVmomi 8 reads each. @throws InvalidProperty */
  Fetch(args: { prop: string }): unknown {
    checkPath(this.ref.type, args.prop);
    return new WireValues(this).at(args.prop);
  }

  /** The value at a path such as `config.extraConfig` or `config.extraConfig["key"]`. */
  value(path: string): unknown {
    const [first, ...rest] = splitPath(path);
    let value = this.read(first!);
    for (const part of rest) {
      if (value === null || value === undefined) return undefined;
      if (Array.isArray(value)) value = value.find((item: { key?: unknown }) => String(item.key) === part);
      else value = (value as Record<string, unknown>)[part];
    }
    return value;
  }

  /** Version of the last change that concerns a path. */
  versionOf(path: string): number {
    let version = this.born;
    for (const [changed, at] of this.versions) {
      if (at > version && (isWithin(path, changed) || isWithin(changed, path))) version = at;
    }
    return version;
  }
}
