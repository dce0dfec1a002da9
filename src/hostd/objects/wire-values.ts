/**
 * Property values with the types that the schema declares at their paths, for elements of type anyType. The value alone does not tell: an
 * enumeration looks like a string, a short like an int, and an empty array has no items.
 */
import { type FieldInfo, propertyInfo, propertyNames, typedValue, typeFamily, typeField } from '../../vim25/server.js';
import { fault } from '../faults.js';
import { splitPath } from './property-path.js';

/** An object whose values are looked up. */
interface ReadObject {
  readonly ref: { type: string };
  read(name: string): unknown;
}

/** Looks up values of one object. Each first-level property is made once, however many paths lead into it. */
export class WireValues {
  private readonly roots = new Map<string, unknown>();

  /** @param made called before a first-level property is made */
  constructor(
    private readonly object: ReadObject,
    private readonly made: () => void = () => undefined,
  ) {}

  /** The value at a path with its type; undefined if it is unset. */
  at(path: string): unknown {
    const [first, ...rest] = splitPath(path);
    let value = this.root(first!);
    let declared = propertyInfo(this.object.ref.type, first!);
    for (const part of rest) {
      if (value === undefined || value === null || declared === undefined) return undefined;
      if (declared.array) {
        value = (value as { key?: unknown }[]).find((item) => String(item.key) === part);
        declared = { ...declared, array: false };
      } else {
        if (typeof value !== 'object') return undefined;
        declared = typeField((value as { $type?: string }).$type ?? declared.type, part);
        value = (value as Record<string, unknown>)[part];
      }
    }
    return value === undefined || value === null || declared === undefined ? undefined : typedValue(declared, value);
  }

  private root(name: string): unknown {
    if (!this.roots.has(name)) {
      this.made();
      this.roots.set(name, this.object.read(name));
    }
    return this.roots.get(name);
  }
}

/** Paths known to be valid, by type: clients ask for the same ones again and again. */
const good = new Set<string>();
const MAX_GOOD = 10_000;
/** No property has a longer path; the longest are those of extraConfig keys. */
const MAX_PATH = 1000;

/** @throws InvalidProperty for a path that no object of that type can have */
export function checkPath(type: string, path: string): void {
  const key = `${type} ${path}`;
  if (good.has(key)) return;
  if (key.length > MAX_PATH || !leadsSomewhere(type, path))
    throw fault('InvalidProperty', `'${path.slice(0, 200)}' is not a property of ${type.slice(0, 80)}`, {
      name: path.slice(0, MAX_PATH),
    });
  if (good.size < MAX_GOOD) good.add(key);
}

function leadsSomewhere(type: string, path: string): boolean {
  const [first, ...rest] = splitPath(path);
  if (first === undefined) return false;
  // A type of a newer or older API has no objects here, so nothing will be looked up.
  if (propertyNames(type).length === 0) return true;
  const start = propertyInfo(type, first);
  let at: FieldInfo[] = start === undefined ? [] : [start];
  for (const part of rest) {
    // Types that are left out of the table may have anything below them, all of it unset.
    if (at.some((field) => field.type === '?' || field.type === 'anyType')) return true;
    at = at.flatMap((field) =>
      field.array ? [{ ...field, array: false }] : typeFamily(field.type).flatMap((one) => typeField(one, part) ?? []),
    );
  }
  return at.length > 0;
}
