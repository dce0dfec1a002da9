/**
 * Converts vim25 values to XML and back, by the generated table: one codec for the client and for hostd, so that both ends agree by
 * construction. (The `soap` package's own encoder and decoder lose vim25 data: they trim strings, empty dates, put inherited elements in
 * the wrong order and leave xsd:anyType untyped.)
 *
 * Values: managed object references are `{type, value}`; data objects are plain objects, with `$type` where the declared type is a base
 * class; arrays are arrays; xsd:dateTime is `Date`; xsd:base64Binary is its text. For xsd:anyType, primitives are JavaScript primitives,
 * and an `ArrayOfX` decodes to a plain array; {@link arrayOf} and {@link typedValue} make values that encode to an array or to a primitive
 * of an exact type.
 *
 * xsd:long is `number`: whole numbers beyond 2^53 are refused when encoding, and lose their low bits when decoding (vSphere sends them only
 * for "no limit").
 */
import { invalid } from '../common/errors.js';
import { arrayElement, enumValues, type FieldInfo, isSubtype, typeFields } from './table.js';
import { escapeXml, type XmlElement } from './xml.js';

const PRIMITIVES = new Set([
  'string',
  'boolean',
  'byte',
  'short',
  'int',
  'long',
  'float',
  'double',
  'dateTime',
  'anyURI',
  'base64Binary',
]);

/** Largest magnitude of whole numbers by type (XML Schema part 2); for xsd:long, what a double holds exactly. */
const INTEGER_LIMITS = new Map([
  ['byte', 2 ** 7],
  ['short', 2 ** 15],
  ['int', 2 ** 31],
  ['long', 2 ** 53],
]);

/** A value of an array type for an element of type xsd:anyType. `element` is the name of its items' type. */
export function arrayOf(element: string, values: readonly unknown[]): object {
  const name = element[0]!.toUpperCase() + element.slice(1);
  return { $type: `ArrayOf${name}`, [element]: values };
}

/**
 * A value for an element of type xsd:anyType that is encoded as exactly the declared type of `field` (of a managed object's property, say):
 * an xsd:long stays an xsd:long however small, an enumeration does not become a mere string, and an array or data object names its type.
 */
export function typedValue(field: FieldInfo, value: unknown): unknown {
  if (field.array && value !== undefined && value !== null) return arrayOf(field.type, value as unknown[]);
  if (field.type === 'anyType' || value === undefined || value === null) return value;
  if (PRIMITIVES.has(field.type) || enumValues(field.type) !== undefined) return { $type: field.type, value };
  if (field.type === 'ManagedObjectReference' || typeof value !== 'object' || '$type' in value) return value;
  return { $type: field.type, ...value };
}

/** Data objects that never change, with their XML by element name and declared type. */
const constants = new WeakMap<object, Map<string, string>>();

/** Declares that a data object never changes, so that it is encoded only once. For values that a great many objects share. */
export function constant<T extends object>(value: T): T {
  constants.set(value, new Map());
  return value;
}

type Fields = Record<string, unknown>;

const indexes = new WeakMap<FieldInfo[], Map<string, FieldInfo>>();

function byName(fields: FieldInfo[]): Map<string, FieldInfo> {
  let index = indexes.get(fields);
  if (index === undefined) {
    index = new Map(fields.map((field) => [field.name, field]));
    indexes.set(fields, index);
  }
  return index;
}

// --- encoding -------------------------------------------------------------------------------------------------------

/** The elements of `value` in the order of `fields`. @throws invalid for missing or unknown elements and wrong types */
export function encodeFields(fields: FieldInfo[], value: Fields, where: string): string {
  let xml = '';
  for (const field of fields) {
    const item = value[field.name];
    if (item === undefined || item === null) {
      if (!field.optional && !field.array) throw invalid(`${where}.${field.name} is required`);
      continue;
    }
    if (field.array) {
      if (!Array.isArray(item)) throw invalid(`${where}.${field.name} must be an array`);
      for (const one of item) xml += encodeElement(field, one, where);
    } else {
      xml += encodeElement(field, item, where);
    }
  }
  const known = byName(fields);
  for (const key of Object.keys(value)) {
    if (key !== '$type' && value[key] !== undefined && !known.has(key))
      throw invalid(`${where} has no element '${key}'`);
  }
  return xml;
}

/** One element named as the field. @throws invalid for a value that is not of the field's type */
export function encodeElement(field: FieldInfo, value: unknown, where: string): string {
  const path = `${where}.${field.name}`;
  if (field.type === 'anyType') return encodeAny(field.name, value, path);
  return encodeTyped(field.name, field.type, value, path);
}

function encodeTyped(name: string, type: string, value: unknown, where: string): string {
  if (PRIMITIVES.has(type)) return `<${name}>${encodePrimitive(type, value, where)}</${name}>`;
  if (enumValues(type) !== undefined) return `<${name}>${encodeEnum(type, value, where)}</${name}>`;
  if (type === 'ManagedObjectReference') {
    const { type: kind, value: id } = asReference(value, where);
    return `<${name} type="${escapeXml(kind)}">${escapeXml(id)}</${name}>`;
  }
  if (type === '?') throw invalid(`${where} is not supported`);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw invalid(`${where} must be a ${type}`);
  const kept = constants.get(value);
  if (kept === undefined) return encodeObject(name, type, value, where);
  const key = `${name} ${type}`;
  let xml = kept.get(key);
  if (xml === undefined) {
    xml = encodeObject(name, type, value, where);
    kept.set(key, xml);
  }
  return xml;
}

function encodeObject(name: string, type: string, value: object, where: string): string {
  const actual = (value as { $type?: string }).$type ?? type;
  if (type !== 'anyType' && !isSubtype(actual, type)) throw invalid(`${where}: ${actual} is not a ${type}`);
  const element = arrayElement(actual);
  const fields = typeFields(actual) ?? (element === undefined ? undefined : arrayFields(actual, element));
  if (fields === undefined) throw invalid(`${where}: unknown type '${actual}'`);
  const attribute = actual === type ? '' : ` xsi:type="${actual}"`;
  if (element !== undefined) return `<${name}${attribute}>${encodeItems(fields[0]!, value as Fields, where)}</${name}>`;
  return `<${name}${attribute}>${encodeFields(fields, value as Fields, where)}</${name}>`;
}

/**
 * The items of an `ArrayOfX` in an element of type xsd:anyType. Each names its type, as in vSphere, since clients look at it (libvirt:
 * "AnyType is missing 'type' property").
 */
function encodeItems(field: FieldInfo, value: Fields, where: string): string {
  const items = value[field.name] ?? [];
  if (!Array.isArray(items)) throw invalid(`${where}.${field.name} must be an array`);
  if (Object.keys(value).some((key) => key !== '$type' && key !== field.name))
    throw invalid(`${where} has elements that are not of type ${field.type}`);
  return items.map((item) => encodeItem(field, item, where)).join('');
}

function encodeItem(field: FieldInfo, item: unknown, where: string): string {
  const any = typedValue({ ...field, array: false }, item);
  if (typeof any === 'object' && any !== null && '$type' in any && typeof any.$type === 'string') {
    const known = field.type === 'anyType' || any.$type === field.type || isSubtype(any.$type, field.type);
    if (!known) throw invalid(`${where}: ${any.$type} is not a ${field.type}`);
  }
  return encodeAny(field.name, any, `${where}.${field.name}`);
}

function encodeAny(name: string, value: unknown, where: string): string {
  const primitive = primitiveType(value);
  if (primitive !== undefined) {
    return `<${name} xsi:type="xsd:${primitive}">${encodePrimitive(primitive, value, where)}</${name}>`;
  }
  if (isReference(value)) {
    return `<${name} type="${escapeXml(value.type)}" xsi:type="ManagedObjectReference">${escapeXml(value.value)}</${name}>`;
  }
  const type = typeof value === 'object' && value !== null ? (value as { $type?: unknown }).$type : undefined;
  if (typeof type !== 'string') throw invalid(`${where}: a value of any type must be a primitive or name its $type`);
  const { value: inner } = value as { value?: unknown };
  if (PRIMITIVES.has(type)) {
    return `<${name} xsi:type="xsd:${type}">${encodePrimitive(type, inner, where)}</${name}>`;
  }
  if (enumValues(type) !== undefined) return `<${name} xsi:type="${type}">${encodeEnum(type, inner, where)}</${name}>`;
  return encodeTyped(name, 'anyType', value, where);
}

/** `ArrayOfX` has elements named X; those of primitives have the primitive's name. */
function arrayFields(arrayType: string, element: string): FieldInfo[] {
  const plain = PRIMITIVES.has(element) || element === 'anyType';
  const name = plain ? element : arrayType.slice('ArrayOf'.length);
  return [{ name, type: element, array: true, optional: true, polymorphic: !plain }];
}

function primitiveType(value: unknown): string | undefined {
  switch (typeof value) {
    case 'string':
      return 'string';
    case 'boolean':
      return 'boolean';
    case 'number':
      if (!Number.isInteger(value)) return 'double';
      return Math.abs(value) < 2 ** 31 ? 'int' : 'long';
    default:
      return value instanceof Date ? 'dateTime' : undefined;
  }
}

function encodePrimitive(type: string, value: unknown, where: string): string {
  const limit = INTEGER_LIMITS.get(type);
  if (limit !== undefined) {
    if (!Number.isInteger(value)) throw invalid(`${where} must be a whole number`);
    return String(inRange(value as number, limit, where));
  }
  if (type === 'double' || type === 'float') {
    if (typeof value !== 'number') throw invalid(`${where} must be a number`);
    return String(value).replace('Infinity', 'INF');
  }
  if (type === 'boolean') {
    if (typeof value !== 'boolean') throw invalid(`${where} must be true or false`);
    return String(value);
  }
  if (type === 'dateTime') {
    if (!(value instanceof Date) || Number.isNaN(value.getTime())) throw invalid(`${where} must be a date`);
    return value.toISOString();
  }
  if (typeof value !== 'string') throw invalid(`${where} must be text`);
  return escapeXml(value);
}

function encodeEnum(type: string, value: unknown, where: string): string {
  if (typeof value !== 'string' || !enumValues(type)!.includes(value)) {
    throw invalid(`${where}: '${String(value).slice(0, 40)}' is not a ${type}`);
  }
  return value;
}

function inRange(value: number, limit: number, where: string): number {
  const unsafe = limit === 2 ** 53 && !Number.isSafeInteger(value);
  if (value < -limit || value >= limit || unsafe) throw invalid(`${where}: ${value} is out of range`);
  return value;
}

function isReference(value: unknown): value is { type: string; value: string } {
  const candidate = value as { type?: unknown; value?: unknown; $type?: unknown } | null;
  return (
    typeof candidate === 'object' &&
    candidate !== null &&
    typeof candidate.type === 'string' &&
    typeof candidate.value === 'string' &&
    (candidate.$type === undefined || candidate.$type === 'ManagedObjectReference')
  );
}

function asReference(value: unknown, where: string): { type: string; value: string } {
  if (!isReference(value)) throw invalid(`${where} must be a managed object reference {type, value}`);
  return value;
}

// --- decoding -------------------------------------------------------------------------------------------------------

/**
 * How to decode. A client is lenient with its server: it ignores elements and subclasses of a newer API version and keeps unknown
 * enumeration values. A server is strict: it refuses unknown or missing elements.
 */
export type Strictness = 'lenient' | 'strict';

/** The value of an element's children. @throws invalid */
export function decodeFields(
  fields: FieldInfo[],
  element: XmlElement,
  where: string,
  strictness: Strictness = 'lenient',
): Fields {
  const value: Fields = {};
  const known = byName(fields);
  for (const one of element.children) {
    const field = known.get(one.name);
    if (field === undefined || field.type === '?') {
      if (strictness === 'strict' && one.name !== '_this') throw invalid(`${where} has no element '${one.name}'`);
      continue;
    }
    const decoded = decodeElement(field, one, where, strictness);
    if (!field.array) value[field.name] = decoded;
    else if (Array.isArray(value[field.name])) (value[field.name] as unknown[]).push(decoded);
    else value[field.name] = [decoded];
  }
  if (strictness === 'strict') {
    for (const field of fields) {
      if (!field.optional && !field.array && value[field.name] === undefined) {
        throw invalid(`${where}.${field.name} is required`);
      }
    }
  }
  return value;
}

/** The value of one element. @throws invalid for text that is not of its type */
export function decodeElement(
  field: FieldInfo,
  element: XmlElement,
  where: string,
  strictness: Strictness = 'lenient',
): unknown {
  return decodeTyped(field.type, element, `${where}.${field.name}`, strictness);
}

/** Decodes xsd:anyType without xsi:type: a reference if it looks like one, otherwise text. */
function guess(element: XmlElement): string {
  return element.attributes.type !== undefined ? 'ManagedObjectReference' : 'string';
}

function decodeTyped(declared: string, element: XmlElement, where: string, strictness: Strictness): unknown {
  const any = declared === 'anyType';
  const type = any ? (element.xsiType ?? guess(element)) : declared;
  if (PRIMITIVES.has(type)) return decodePrimitive(type, element.text, where, strictness);
  const values = enumValues(type);
  if (values !== undefined) {
    const text = element.text.trim();
    if (strictness === 'strict' && !values.includes(text))
      throw invalid(`${where}: '${text.slice(0, 40)}' is not a ${type}`);
    return text;
  }
  if (type === 'ManagedObjectReference') return { type: element.attributes.type ?? '', value: element.text.trim() };
  const item = any ? arrayElement(type) : undefined;
  if (item !== undefined) return element.children.map((one) => decodeTyped(item, one, where, strictness));
  const value = decodeObject(type, element, where, strictness);
  // The type is named only if it says more than the declaration.
  const named = any ? element.xsiType : undefined;
  if (named !== undefined && typeof value === 'object' && value !== null) (value as Fields).$type = named;
  return value;
}

function decodeObject(declared: string, element: XmlElement, where: string, strictness: Strictness): unknown {
  const actual = element.xsiType ?? declared;
  const own = typeFields(actual);
  if (own !== undefined && !isSubtype(actual, declared)) throw invalid(`${where}: ${actual} is not a ${declared}`);
  // An unknown subclass still has the elements of the declared type.
  const fields = own ?? (strictness === 'strict' ? undefined : typeFields(declared));
  if (fields === undefined) {
    if (strictness === 'strict') throw invalid(`${where}: unknown type '${actual.slice(0, 80)}'`);
    return element.children.length === 0 ? element.text : { $type: actual };
  }
  const value = decodeFields(fields, element, where, strictness);
  if (element.xsiType !== undefined && actual !== declared) value.$type = actual;
  return value;
}

const DATE = /^-?\d{4,9}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$/;

function decodePrimitive(type: string, text: string, where: string, strictness: Strictness): unknown {
  if (type === 'string' || type === 'anyURI') return text;
  const trimmed = text.trim();
  const wrong = (what: string): Error => invalid(`${where}: '${trimmed.slice(0, 40)}' is not a ${what}`);
  if (type === 'base64Binary') return trimmed;
  if (type === 'boolean') {
    if (trimmed === 'true' || trimmed === '1') return true;
    if (trimmed === 'false' || trimmed === '0') return false;
    throw wrong('boolean');
  }
  if (type === 'dateTime') {
    const match = DATE.exec(trimmed);
    // Without a time zone JavaScript would assume local time; vSphere means UTC.
    const date = new Date(match === null || match[2] !== undefined ? trimmed : `${trimmed}Z`);
    if (match === null || Number.isNaN(date.getTime())) throw wrong('date');
    return date;
  }
  const limit = INTEGER_LIMITS.get(type);
  if (limit !== undefined) {
    if (!/^[+-]?\d{1,20}$/.test(trimmed)) throw wrong('whole number');
    const number = Number(trimmed);
    return strictness === 'strict' ? inRange(number, limit, where) : number;
  }
  if (/^[+-]?INF$/.test(trimmed)) return trimmed.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (!/^([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|NaN)$/.test(trimmed)) throw wrong('number');
  return Number(trimmed);
}
