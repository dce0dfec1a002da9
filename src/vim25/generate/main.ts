/**
 * Generates `types.generated.ts` and `table.generated.json` from govmomi's Go sources (Debian package golang-github-vmware-govmomi-dev).
 * Run it by hand when the subset changes:
 *
 *   npm run build && node dist/src/vim25/generate/main.js [sources of govmomi/vim25] [target directory]
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CUT, HIDDEN_TYPES, MANAGED_OBJECTS, OPERATIONS, UNDESCRIBED } from './subset.js';

const SOURCE = process.argv[2] ?? '/usr/share/gocode/src/github.com/vmware/govmomi/vim25';
const TARGET = process.argv[3] ?? join(process.cwd(), 'src', 'vim25');

interface Field {
  name: string;
  type: string;
  array: boolean;
  optional: boolean;
  /** The declared type is a base class, so a value names its own type. */
  polymorphic: boolean;
}

interface Struct {
  base: string | null;
  fields: Field[];
}

const PRIMITIVES: Record<string, string> = {
  string: 'string',
  bool: 'boolean',
  int32: 'int',
  int64: 'long',
  int16: 'short',
  byte: 'byte',
  int8: 'byte',
  float32: 'float',
  float64: 'double',
  'time.Time': 'dateTime',
  AnyType: 'anyType',
  'url.URL': 'anyURI',
};

/** Go has one type for xsd:byte arrays and xsd:base64Binary; these are the latter (vSphere API reference). */
const BASE64 = new Set([
  'VirtualMachineConfigInfo.vmxConfigChecksum',
  'VirtualMachineConfigSpec.vmxConfigChecksum',
  'HostSubSpecification.binaryData',
]);

const structs = new Map<string, Struct>();
const enums = new Map<string, string[]>();

/** A Go type expression as field properties. */
function goType(text: string): Pick<Field, 'type' | 'array' | 'optional' | 'polymorphic'> {
  let rest = text.replace(/\btypes\./g, '');
  const array = rest.startsWith('[]');
  if (array) rest = rest.slice(2);
  const optional = rest.startsWith('*');
  if (optional) rest = rest.slice(1);
  const primitive = PRIMITIVES[rest];
  if (primitive !== undefined) return { type: primitive, array, optional, polymorphic: false };
  const polymorphic = rest.startsWith('Base') && !structs.has(rest);
  return { type: polymorphic ? rest.slice(4) : rest, array, optional, polymorphic };
}

function parseStructs(source: string): void {
  const found = [...source.matchAll(/^type (\w+) struct \{\n([\s\S]*?)^\}/gm)];
  for (const [, name] of found) structs.set(name!, { base: null, fields: [] });
  for (const [, name, body] of found) {
    const struct = structs.get(name!)!;
    for (const line of body!.split('\n')) {
      const embedded = /^\t\*?(\w+)$/.exec(line);
      if (embedded !== null) struct.base = embedded[1]!;
      const field = /^\t(\w+)\s+(\S+)\s+`xml:"([^"]+)"/.exec(line);
      if (field === null) continue;
      const [wire, ...options] = field[3]!.split(',');
      const type = goType(field[2]!);
      const polymorphic =
        options.includes('typeattr') && type.type !== 'anyType' && !['int', 'long'].includes(type.type);
      const base64 = BASE64.has(`${name}.${wire}`) ? { type: 'base64Binary', array: false } : {};
      struct.fields.push({
        ...type,
        ...base64,
        name: wire!,
        optional: type.optional || options.includes('omitempty'),
        polymorphic: type.polymorphic || polymorphic,
      });
    }
  }
  for (const [, alias, target] of source.matchAll(/^type (\w+) (\w+RequestType)$/gm))
    structs.set(alias!, structs.get(target!)!);
}

function parseEnums(source: string): void {
  for (const [, name] of source.matchAll(/^type (\w+) string$/gm)) enums.set(name!, []);
  for (const [, type, value] of source.matchAll(/^\s+\w+\s+= (\w+)\("([^"]*)"\)/gm)) enums.get(type!)?.push(value!);
}

/** Properties of managed objects, inherited ones included; the base class may come later in the file. */
function parseManagedObjects(source: string): Map<string, Map<string, Field>> {
  const bodies = new Map([...source.matchAll(/^type (\w+) struct \{\n([\s\S]*?)^\}/gm)].map((m) => [m[1]!, m[2]!]));
  const result = new Map<string, Map<string, Field>>();
  const resolve = (name: string): Map<string, Field> => {
    const done = result.get(name);
    if (done !== undefined) return done;
    const properties = new Map<string, Field>();
    for (const line of (bodies.get(name) ?? '').split('\n')) {
      const embedded = /^\t(\w+)$/.exec(line);
      if (embedded !== null) for (const [key, field] of resolve(embedded[1]!)) properties.set(key, field);
      const field = /^\t(\w+)\s+(\S+)\s+`mo:"([^"]+)"/.exec(line);
      if (field !== null) properties.set(field[3]!, { ...goType(field[2]!), name: field[3]!, optional: true });
    }
    result.set(name, properties);
    return properties;
  };
  for (const name of bodies.keys()) resolve(name);
  return result;
}

const read = (path: string): string => readFileSync(join(SOURCE, path), 'utf8');
parseStructs(read('types/types.go'));
parseEnums(read('types/enum.go'));
const managed = parseManagedObjects(read('mo/mo.go'));

const children = new Map<string, string[]>();
for (const [name, struct] of structs)
  if (struct.base !== null) children.set(struct.base, [...(children.get(struct.base) ?? []), name]);

const included = new Set<string>();
function include(type: string): void {
  if (included.has(type) || CUT.has(type)) return;
  if (enums.has(type)) {
    included.add(type);
    return;
  }
  const struct = structs.get(type);
  if (struct === undefined) return;
  included.add(type);
  if (struct.base !== null) include(struct.base);
  for (const field of struct.fields) (field.polymorphic ? includeFamily : include)(field.type);
}
/** Includes a type with all its subclasses: what a polymorphic element may hold. */
function includeFamily(type: string): void {
  include(type);
  if (included.has(type)) for (const child of children.get(type) ?? []) includeFamily(child);
}
interface Operation {
  fields: Field[];
  result: Field | null;
}
const operations = new Map<string, Operation>();
const lower = new Map(
  [...read('methods/methods.go').matchAll(/xml:"urn:vim25 (\w+),omitempty"/g)].map((m) => [m[1]!.toLowerCase(), m[1]!]),
);
for (const name of OPERATIONS) {
  const go = name[0]!.toUpperCase() + name.slice(1);
  const request = structs.get(go);
  const wire = lower.get(name.toLowerCase());
  if (request === undefined || wire === undefined) throw new Error(`no operation ${name}`);
  const result = structs.get(`${go}Response`)?.fields[0] ?? null;
  operations.set(wire, { fields: request.fields.filter((field) => field.name !== '_this'), result });
  for (const field of [...request.fields, ...(result === null ? [] : [result])]) {
    (field.polymorphic ? includeFamily : include)(field.type);
  }
}
for (const [name, { args, result }] of Object.entries(UNDESCRIBED)) {
  const field = (name: string, type: string, optional: boolean): Field => ({
    name,
    type,
    array: false,
    optional,
    polymorphic: false,
  });
  operations.set(name, {
    fields: args.map(([name, type]) => field(name, type, false)),
    result: field('returnval', result, true),
  });
}
for (const name of HIDDEN_TYPES) include(name);
const managedSubset = MANAGED_OBJECTS.map((name) => {
  const properties = managed.get(name);
  if (properties === undefined) throw new Error(`no managed object ${name}`);
  const fields = [...properties.values()];
  for (const field of fields) (field.polymorphic ? includeFamily : include)(field.type);
  return [name, fields] as const;
});

// --- TypeScript -----------------------------------------------------------------------------------------------------
const TS: Record<string, string> = {
  string: 'string',
  boolean: 'boolean',
  int: 'number',
  long: 'number',
  short: 'number',
  byte: 'number',
  float: 'number',
  double: 'number',
  dateTime: 'Date',
  anyType: 'AnyValue',
  anyURI: 'string',
  base64Binary: 'string',
};
const known = (type: string): boolean => included.has(type);
function tsType(field: Field): string {
  let type = TS[field.type] ?? (known(field.type) ? field.type : 'unknown');
  if (enums.has(field.type) && known(field.type)) type = field.type;
  if (field.polymorphic && known(field.type)) type = `Any${field.type}`;
  return field.array ? `${type}[]` : type;
}
const optionalMark = (field: Field): string => (field.optional || field.array ? '?' : '');
function subtypes(type: string): string[] {
  return [type, ...(children.get(type) ?? []).flatMap(subtypes)].filter(known);
}

const polymorphic = new Set<string>();
const allFields = [
  ...[...included].flatMap((type) => structs.get(type)?.fields ?? []),
  ...[...operations.values()].flatMap((op) => [...op.fields, ...(op.result === null ? [] : [op.result])]),
  ...managedSubset.flatMap(([, fields]) => fields),
];
for (const field of allFields) if (field.polymorphic && known(field.type)) polymorphic.add(field.type);

const out: string[] = [
  '// Generated by src/vim25/generate/main.ts from govmomi; do not edit.',
  '',
  '/** A value of type xsd:anyType: a primitive, an array, or a data object that names its type. */',
  'export type AnyValue = unknown;',
  '',
];
const sortedTypes = [...included].sort();
for (const type of sortedTypes) {
  const values = enums.get(type);
  if (values !== undefined) {
    out.push(
      `export type ${type} = ${values.length === 0 ? 'string' : values.map((value) => `'${value}'`).join(' | ')};`,
    );
    continue;
  }
  const struct = structs.get(type)!;
  if (type === 'ManagedObjectReference') {
    out.push('export interface ManagedObjectReference { type: string; value: string }');
    continue;
  }
  const base = struct.base !== null && known(struct.base) ? ` extends ${struct.base}` : '';
  const own = type === 'DynamicData' ? ' $type?: string;' : '';
  out.push(
    `export interface ${type}${base} {${own}${struct.fields.map((field) => ` ${field.name}${optionalMark(field)}: ${tsType(field)};`).join('')} }`,
  );
}
out.push(
  '',
  'type Typed<N extends string, T> = Omit<T, "$type"> & { $type: N };',
  'type Base<N extends string, T> = Omit<T, "$type"> & { $type?: N };',
  '',
);
for (const type of [...polymorphic].sort())
  out.push(
    `export type Any${type} = ${subtypes(type)
      .map((sub) => `${sub === type ? 'Base' : 'Typed'}<'${sub}', ${sub}>`)
      .join(' | ')};`,
  );
out.push('', '/** Every operation: what it takes besides `_this`, and gives. */', 'export interface Operations {');
for (const [name, operation] of [...operations].sort()) {
  const args = operation.fields.map((field) => ` ${field.name}${optionalMark(field)}: ${tsType(field)};`).join('');
  const result =
    operation.result === null
      ? 'void'
      : `${tsType(operation.result)}${operation.result.optional && !operation.result.array ? ' | undefined' : ''}`;
  out.push(`  ${name}: { args: {${args} }; result: ${result} };`);
}
out.push('}', '', '/** Properties of managed objects. */', 'export interface ManagedObjects {');
for (const [name, fields] of managedSubset)
  out.push(`  ${name}: {${fields.map((field) => ` ${field.name}?: ${tsType(field)};`).join('')} };`);
out.push('}', '');
writeFileSync(join(TARGET, 'types.generated.ts'), out.join('\n'));

// --- the codec's table ----------------------------------------------------------------------------------------------
/** `[name, type, flags]`; flags: 1 array, 2 optional, 4 polymorphic. The type `?` stands for a type that was left out. */
const row = (field: Field): [string, string, number] => [
  field.name,
  TS[field.type] !== undefined || known(field.type) ? field.type : '?',
  (field.array ? 1 : 0) | (field.optional ? 2 : 0) | (field.polymorphic ? 4 : 0),
];
const table = {
  types: Object.fromEntries(
    sortedTypes
      .filter((type) => structs.has(type) && type !== 'ManagedObjectReference')
      .map((type) => [type, [structs.get(type)!.base, structs.get(type)!.fields.map(row)]]),
  ),
  enums: Object.fromEntries(sortedTypes.filter((type) => enums.has(type)).map((type) => [type, enums.get(type)])),
  operations: Object.fromEntries(
    [...operations]
      .sort()
      .map(([name, operation]) => [
        name,
        [operation.fields.map(row), operation.result === null ? null : row(operation.result)],
      ]),
  ),
  managed: Object.fromEntries(managedSubset.map(([name, fields]) => [name, fields.map(row)])),
};
writeFileSync(join(TARGET, 'table.generated.json'), `${JSON.stringify(table)}\n`);
process.stdout.write(
  `${included.size} types, ${operations.size} operations, ${managedSubset.length} managed objects\n`,
);
