/** The generated description of vim25's types and operations, ready for lookups. */
import { readFileSync } from 'node:fs';

/** An element of a type or operation, in sequence order. */
export interface FieldInfo {
  name: string;
  /** An XML Schema primitive, a data object, an enumeration, `ManagedObjectReference`, `anyType`, or `?` for a type that was left out. */
  type: string;
  array: boolean;
  optional: boolean;
  polymorphic: boolean;
}

type Row = [string, string, number];
interface Table {
  types: Record<string, [string | null, Row[]]>;
  enums: Record<string, string[]>;
  operations: Record<string, [Row[], Row | null]>;
  managed: Record<string, Row[]>;
}

// Compiled code is in dist/, where the compiler copies only JSON that is imported, so read it from the sources.
const table = JSON.parse(readFileSync(locate(), 'utf8')) as Table;

function locate(): URL {
  const compiled = import.meta.url.includes('/dist/src/vim25/');
  return new URL(compiled ? '../../../src/vim25/table.generated.json' : './table.generated.json', import.meta.url);
}

const field = ([name, type, flags]: Row): FieldInfo => ({
  name,
  type,
  array: (flags & 1) !== 0,
  optional: (flags & 2) !== 0,
  polymorphic: (flags & 4) !== 0,
});

/** Type names come from outside, so only own keys count (`constructor` must not). */
const own = <T>(record: Record<string, T>, key: string): T | undefined =>
  Object.hasOwn(record, key) ? record[key] : undefined;

const ARRAY_OF = /^ArrayOf([A-Z]\w*)$/;
const fieldsOf = new Map<string, FieldInfo[]>();

/** All elements of a type, inherited ones first (XML Schema extension order), or undefined for an unknown type. */
export function typeFields(type: string): FieldInfo[] | undefined {
  const known = fieldsOf.get(type);
  if (known !== undefined) return known;
  const entry = own(table.types, type);
  if (entry === undefined) return undefined;
  const [base, rows] = entry;
  const fields = [...(base === null ? [] : (typeFields(base) ?? [])), ...rows.map(field)];
  fieldsOf.set(type, fields);
  return fields;
}

const fieldsByName = new Map<string, Map<string, FieldInfo>>();

/** One element of a type, its own or an inherited one. */
export function typeField(type: string, name: string): FieldInfo | undefined {
  let index = fieldsByName.get(type);
  if (index === undefined) {
    const fields = typeFields(type);
    if (fields === undefined) return undefined;
    index = new Map(fields.map((one) => [one.name, one]));
    fieldsByName.set(type, index);
  }
  return index.get(name);
}

const subtypesOf = new Map<string, string[]>();

/** A type and all types derived from it. */
export function typeFamily(type: string): string[] {
  let family = subtypesOf.get(type);
  if (family === undefined) {
    family = Object.keys(table.types).filter((one) => isSubtype(one, type));
    subtypesOf.set(type, family);
  }
  return family;
}

/** True when `type` is `ancestor` or derived from it. */
export function isSubtype(type: string, ancestor: string): boolean {
  for (let at: string | null | undefined = type; at != null; at = own(table.types, at)?.[0])
    if (at === ancestor) return true;
  return false;
}

/** The values of an enumeration, or undefined when `type` is not an enumeration. */
export function enumValues(type: string): readonly string[] | undefined {
  return own(table.enums, type);
}

/** `X` for `ArrayOfX`. */
export function arrayElement(type: string): string | undefined {
  const name = ARRAY_OF.exec(type)?.[1];
  if (name === undefined) return undefined;
  const primitive = name[0]!.toLowerCase() + name.slice(1);
  return ['string', 'int', 'long', 'short', 'byte', 'boolean', 'double', 'float', 'anyType', 'anyURI'].includes(
    primitive,
  )
    ? primitive
    : name;
}

/** What an operation takes (without `_this`) and returns. */
export interface OperationInfo {
  args: FieldInfo[];
  result: FieldInfo | null;
}

const operations = new Map<string, OperationInfo>(
  Object.entries(table.operations).map(([name, [args, result]]) => [
    name,
    { args: args.map(field), result: result === null ? null : field(result) },
  ]),
);

/** An operation by its wire name. */
export function operationInfo(name: string): OperationInfo | undefined {
  return operations.get(name);
}

/** Names of all operations of the subset. */
export function operationNames(): string[] {
  return [...operations.keys()];
}

const properties = new Map<string, Map<string, FieldInfo>>(
  Object.entries(table.managed).map(([type, rows]) => [type, new Map(rows.map((row) => [row[0], field(row)]))]),
);

/** A managed object's property (first level, e.g. `config`). */
export function propertyInfo(type: string, property: string): FieldInfo | undefined {
  return properties.get(type)?.get(property);
}

/** All properties of a managed object type of the subset. */
export function propertyNames(type: string): string[] {
  return [...(properties.get(type)?.keys() ?? [])];
}
