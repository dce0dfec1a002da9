/**
 * Reads JSON into the shape of a schema as Go's `encoding/json` reads it into a struct: `null` is the zero value, names match in
 * any case (exactly, if one does), the last of several wins, unknown ones are ignored, and numbers have the range of their type. Only
 * this file decides that; which values a type allows is up to the schema.
 */
import { z } from 'zod';
import { GoJsonError, JsonNumber, JsonObject, type JsonValue, parseGoJson } from './go-json-text.js';

export { GoJsonError } from './go-json-text.js';

type Schema = z.core.$ZodType;

/** Names of Go's types, for messages and for the range of numbers. */
const names = new WeakMap<Schema, string>();

/** Names a type as Go does, e.g. `container.HostConfig`. @returns the schema */
export function goType<T extends z.ZodType>(name: string, schema: T): T {
  names.set(schema, name);
  return schema;
}

/** The largest int64 that a JavaScript number can tell from 2^63. */
const INT64_MAX = 2 ** 63 - 1024;
const RANGES: Record<string, [min: bigint, max: bigint]> = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  int: [-(2n ** 63n), 2n ** 63n - 1n],
  'time.Duration': [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
  uint: [0n, 2n ** 64n - 1n],
  uint32: [0n, 2n ** 32n - 1n],
  'os.FileMode': [0n, 2n ** 32n - 1n],
  uint16: [0n, 2n ** 16n - 1n],
};

/** Whole numbers. Beyond 2^53, the nearest one that a JavaScript number can hold, within the type's range. */
export const int64 = goType('int64', z.number());
export const int = goType('int', z.number());
export const uint = goType('uint', z.number());
export const uint16 = goType('uint16', z.number());
/** Nanoseconds. */
export const duration = goType('time.Duration', z.number());
/** `struct{}`: members of the object are ignored. */
export const nothing = goType('struct {}', z.object({}));
/** A list of texts, or a single text in place of a list of one (Docker's `strslice.StrSlice`). */
export const strSlice = z.union([z.array(z.string()), z.string().transform((value) => [value])]);

/** Values that no schema describes are kept down to this depth. */
const MAX_KEPT_DEPTH = 100;

/**
 * Reads a text.
 * @param options.root what Go's messages call the value's type before the path of a field (default: the last part of its name)
 * @throws GoJsonError in Go's words; ZodError when the schema itself refuses the value
 */
export function readGoJson<T>(text: string, schema: z.ZodType<T>, options: { root?: string } = {}): T {
  let trailing: unknown;
  let value: JsonValue;
  try {
    value = parseGoJson(text);
  } catch (error) {
    // As in Go, the value comes first, then what follows it.
    if (!(error instanceof GoJsonError) || error.kind !== 'trailing') throw error;
    trailing = error;
    value = error.before ?? null;
  }
  const shaped = shape(value, schema, options);
  if (trailing !== undefined) throw trailing;
  return schema.parse(shaped);
}

/** A parsed value in the shape of a schema, for the schema to check. @throws GoJsonError where the types differ */
export function shape(value: JsonValue, schema: Schema, options: { root?: string } = {}): unknown {
  const root = options.root ?? typeName(schema).replace(/^.*\./, '');
  return decode(value, schema, undefined, { path: [], root, inList: false });
}

interface Place {
  path: string[];
  root: string;
  /** Whether the value is an item of a list. */
  inList: boolean;
}

/** A schema without its wrappers, and what those accept. */
function unwrap(schema: Schema): { core: z.ZodType; nullable: boolean; optional: boolean } {
  let [core, nullable, optional] = [schema as z.ZodType, false, false];
  for (;;) {
    if (core instanceof z.ZodOptional || core instanceof z.ZodDefault) {
      optional = true;
      core = core.def.innerType as z.ZodType;
    } else if (core instanceof z.ZodNullable) {
      nullable = true;
      core = core.def.innerType as z.ZodType;
    } else if (core instanceof z.ZodReadonly || core instanceof z.ZodCatch) core = core.def.innerType as z.ZodType;
    else if (core instanceof z.ZodPipe) core = core.def.in as z.ZodType;
    else if (core instanceof z.ZodLazy) core = core.def.getter() as z.ZodType;
    else return { core, nullable, optional };
  }
}

const SCALARS = [z.ZodString, z.ZodNumber, z.ZodBoolean];

function decode(value: JsonValue, schema: Schema, before: unknown, place: Place): unknown {
  const { core, nullable, optional } = unwrap(schema);
  if (value === null) {
    if (core instanceof z.ZodUnknown || core instanceof z.ZodAny) return null;
    // `null` empties only pointers, lists and maps.
    if (before !== undefined && before !== null && SCALARS.some((type) => core instanceof type)) return before;
    if (nullable) return null;
    return optional ? undefined : zero(core, place);
  }
  if (core instanceof z.ZodUnion) return oneOf(value, core, place);
  if (core instanceof z.ZodObject) {
    if (value instanceof JsonObject) return struct(value, core, before, place);
  } else if (core instanceof z.ZodRecord) {
    if (value instanceof JsonObject) return map(value, core, before, place);
  } else if (core instanceof z.ZodArray) {
    if (Array.isArray(value))
      return value.map((item, index) => decode(item, core.def.element, undefined, under(place, String(index), true)));
  } else if (core instanceof z.ZodTuple) {
    if (Array.isArray(value))
      return core.def.items.map((item, index) =>
        decode(value[index] ?? null, item, undefined, under(place, String(index), true)),
      );
  } else if (core instanceof z.ZodString || core instanceof z.ZodEnum || core instanceof z.ZodLiteral) {
    if (typeof value === 'string') return value;
  } else if (core instanceof z.ZodBoolean) {
    if (typeof value === 'boolean') return value;
  } else if (core instanceof z.ZodNumber) {
    if (value instanceof JsonNumber) return number(value, core, place);
  } else return plain(value);
  throw mismatch(kindOf(value), core, place);
}

function struct(value: JsonObject, schema: z.ZodObject, before: unknown, place: Place): unknown {
  const { shape: fields } = schema.def;
  const result = { ...(before as Record<string, unknown> | undefined) };
  const folded = new Map(Object.keys(fields).map((name) => [fold(name), name]));
  for (const [name, member] of value.members) {
    const field = Object.hasOwn(fields, name) ? name : folded.get(fold(name));
    if (field !== undefined) set(result, field, decode(member, fields[field]!, result[field], under(place, name)));
    // Fields unknown here may be Docker's, and are kept unchanged.
    else if (schema.def.catchall !== undefined) set(result, name, plain(member));
  }
  for (const [name, field] of Object.entries(fields)) {
    if (result[name] !== undefined) continue;
    const { core, nullable, optional } = unwrap(field);
    if (optional) delete result[name];
    else result[name] = nullable ? null : zero(core, place);
  }
  return result;
}

function map(value: JsonObject, schema: z.ZodRecord, before: unknown, place: Place): unknown {
  const result = { ...(before as Record<string, unknown> | null | undefined) };
  for (const [name, member] of value.members)
    set(result, name, decode(member, schema.def.valueType, undefined, under(place, name)));
  return result;
}

/** The first member of a union that takes this kind of value. Like Go's own unmarshalers, it reports no place in the text. */
function oneOf(value: JsonValue, union: z.ZodUnion, place: Place): unknown {
  let refused: unknown;
  for (const option of union.def.options) {
    try {
      return decode(value, option, undefined, place);
    } catch {
      refused = mismatch(kindOf(value), unwrap(option).core, { path: [], root: '', inList: false });
    }
  }
  throw refused;
}

function number(value: JsonNumber, schema: z.ZodNumber, place: Place): number {
  const range = RANGES[names.get(schema) ?? (schema.isInt ? 'int64' : '')];
  const result = Number(value.text);
  if (range === undefined) {
    if (!Number.isFinite(result)) throw mismatch(`number ${value.text}`, schema, place);
    return result;
  }
  // Go looks at the text: 1.0 and 1e3 are not whole numbers.
  const whole = /^-?[0-9]{1,20}$/.test(value.text) ? BigInt(value.text) : null;
  if (whole === null || whole < range[0] || whole > range[1]) throw mismatch(`number ${value.text}`, schema, place);
  return range[1] === 2n ** 63n - 1n ? Math.min(result, INT64_MAX) : result;
}

/** The zero value of a type. */
function zero(core: z.ZodType, place: Place): unknown {
  if (core instanceof z.ZodString) return '';
  if (core instanceof z.ZodNumber) return 0;
  if (core instanceof z.ZodBoolean) return false;
  if (core instanceof z.ZodArray) return [];
  if (core instanceof z.ZodRecord) return {};
  if (core instanceof z.ZodTuple) return decode([], core, undefined, place);
  if (core instanceof z.ZodObject) return struct(new JsonObject(), core, undefined, place);
  if (core instanceof z.ZodUnion) return zero(unwrap(core.def.options[0]!).core, place);
  return undefined;
}

/** A value that no schema describes, as `JSON.parse` returns it. */
function plain(value: JsonValue, depth = 0): unknown {
  if (value instanceof JsonNumber) return Number(value.text);
  if (typeof value !== 'object' || value === null) return value;
  if (depth > MAX_KEPT_DEPTH) return null;
  if (Array.isArray(value)) return value.map((item) => plain(item, depth + 1));
  const result = {};
  for (const [name, member] of value.members) set(result, name, plain(member, depth + 1));
  return result;
}

/** `__proto__` is a name like any other. */
function set(target: object, name: string, value: unknown): void {
  Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true });
}

/** Names that Go treats as equal have the same folded form. */
const fold = (name: string): string => name.toLowerCase().toUpperCase();

const under = (place: Place, name: string, inList = false): Place => ({
  path: [...place.path, name.replaceAll('~', '~0').replaceAll('/', '~1')],
  root: place.root,
  inList,
});

function kindOf(value: JsonValue): string {
  if (value instanceof JsonNumber) return 'number';
  if (value instanceof JsonObject) return 'object';
  if (Array.isArray(value)) return 'array';
  return typeof value === 'boolean' ? 'bool' : 'string';
}

function mismatch(kind: string, core: z.ZodType, { path, root, inList }: Place): GoJsonError {
  const where = path.length === 0 ? 'Go value' : `${inList ? '' : 'Go struct field '}${[root, ...path].join('.')}`;
  return new GoJsonError(`json: cannot unmarshal ${kind} into ${where} of type ${typeName(core)}`, 'type');
}

function typeName(schema: Schema): string {
  const { core } = unwrap(schema);
  const inside = (item: Schema): string => {
    const { core: type, nullable } = unwrap(item);
    return `${nullable && !(type instanceof z.ZodArray || type instanceof z.ZodRecord) ? '*' : ''}${typeName(item)}`;
  };
  const name = names.get(schema) ?? names.get(core);
  if (name !== undefined) return name;
  if (core instanceof z.ZodArray) return `[]${inside(core.def.element)}`;
  if (core instanceof z.ZodTuple) return `[${core.def.items.length}]${inside(core.def.items[0]!)}`;
  if (core instanceof z.ZodRecord) return `map[string]${inside(core.def.valueType)}`;
  if (core instanceof z.ZodBoolean) return 'bool';
  if (core instanceof z.ZodNumber) return core.isInt ? 'int64' : 'float64';
  if (core instanceof z.ZodObject) return 'struct';
  return 'string';
}
