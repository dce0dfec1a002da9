/** A managed object: a reference, properties that can be asked for by path, and operations named as in vim25. */
import type { ManagedObjectReference } from '../../vim25/types.generated.js';

/** Base of all managed objects. Operations are methods named as in vim25, called by the dispatcher. */
export abstract class ManagedObject {
  readonly ref: ManagedObjectReference;
  /** Version of the last change by property path; see {@link Registry.touch}. */
  readonly versions = new Map<string, number>();
  /** Version at which the object appeared. */
  born = 0;

  protected constructor(type: string, value: string) {
    this.ref = { type, value };
  }

  /** Types this object is an instance of, its own first: what selections by type match. */
  get types(): string[] {
    return [this.ref.type, 'ManagedEntity'];
  }

  /** The value of a first-level property; undefined: unset or unknown. */
  abstract property(name: string): unknown;

  /** Names of the first-level properties it has. */
  abstract propertyNames(): string[];

  /** The value at a path such as `config.extraConfig` or `config.extraConfig["key"]`. */
  value(path: string): unknown {
    const [first, ...rest] = splitPath(path);
    let value = this.property(first!);
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

function isWithin(path: string, ancestor: string): boolean {
  return path === ancestor || path.startsWith(`${ancestor}.`) || path.startsWith(`${ancestor}[`);
}

/** `a.b["c d"].e` → a, b, c d, e */
function splitPath(path: string): string[] {
  return [...path.matchAll(/\["([^"]*)"\]|\[(\d+)\]|([^.[\]]+)/g)].map((match) => match[1] ?? match[2] ?? match[3]!);
}
