/**
 * vim25 values to XML and back, by the generated table: one codec for the client and for hostd, so that both ends agree by
 * construction. (The `soap` package's own encoder and decoder lose vim25 data: they trim strings, empty dates, order inherited
 * elements wrongly and leave xsd:anyType untyped.)
 *
 * Values: managed object references are `{type, value}`; data objects are plain objects, with `$type` where the declared type
 * is a base class; arrays are arrays; xsd:dateTime is `Date`. Of xsd:anyType, primitives are JavaScript primitives, and an
 * `ArrayOfX` decodes to a plain array; it is encoded from `{ $type: 'ArrayOfX', X: [...] }`, see {@link arrayOf}.
 */
import { invalid } from '../common/errors.js';
import { arrayElement, type FieldInfo, typeFields } from './table.js';
import { escapeXml, type XmlElement } from './xml.js';

const XSD: Record<string, string> = {
  int: 'xsd:int',
  long: 'xsd:long',
  short: 'xsd:short',
  byte: 'xsd:byte',
  boolean: 'xsd:boolean',
  string: 'xsd:string',
  dateTime: 'xsd:dateTime',
  double: 'xsd:double',
  float: 'xsd:float',
  anyURI: 'xsd:anyURI',
};
const INTEGERS = new Set(['int', 'long', 'short', 'byte']);

/** A value of an array type for a place of type xsd:anyType. */
export function arrayOf(element: string, values: unknown[]): object {
  const name = element[0]!.toUpperCase() + element.slice(1);
  return { $type: `ArrayOf${name}`, [element]: values };
}

type Fields = Record<string, unknown>;

// --- encoding -------------------------------------------------------------------------------------------------------

/** The elements of `value` in the order of `fields`. @throws invalid for missing or unknown elements and wrong types */
export function encodeFields(fields: FieldInfo[], value: Fields, where: string): string {
  let xml = '';
  const known = new Set(['$type']);
  for (const field of fields) {
    known.add(field.name);
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
  for (const key of Object.keys(value)) {
    if (!known.has(key) && value[key] !== undefined) throw invalid(`${where} has no element '${key}'`);
  }
  return xml;
}

/** One element named as the field. */
export function encodeElement(field: FieldInfo, value: unknown, where: string): string {
  const path = `${where}.${field.name}`;
  if (field.type === 'anyType') return encodeAny(field.name, value, path);
  return encodeTyped(field.name, field.type, value, path);
}

function encodeTyped(name: string, type: string, value: unknown, where: string): string {
  if (type in XSD) return `<${name}>${encodePrimitive(type, value, where)}</${name}>`;
  if (type === 'ManagedObjectReference') {
    const { type: kind, value: id } = asReference(value, where);
    return `<${name} type="${escapeXml(kind)}">${escapeXml(id)}</${name}>`;
  }
  if (typeof value !== 'object' || value === null) throw invalid(`${where} must be a ${type}`);
  const actual = (value as { $type?: string }).$type ?? type;
  const element = arrayElement(actual);
  const fields = typeFields(actual) ?? (element === undefined ? undefined : [arrayField(actual, element)]);
  if (fields === undefined) throw invalid(`${where}: unknown type '${actual}'`);
  const attribute = actual === type ? '' : ` xsi:type="${actual}"`;
  return `<${name}${attribute}>${encodeFields(fields, value as Fields, where)}</${name}>`;
}

function encodeAny(name: string, value: unknown, where: string): string {
  const primitive = primitiveType(value);
  if (primitive !== undefined) {
    return `<${name} xsi:type="${XSD[primitive]}">${encodePrimitive(primitive, value, where)}</${name}>`;
  }
  if (isReference(value)) {
    return `<${name} type="${escapeXml(value.type)}" xsi:type="ManagedObjectReference">${escapeXml(value.value)}</${name}>`;
  }
  if (typeof value !== 'object' || value === null || typeof (value as { $type?: unknown }).$type !== 'string') {
    throw invalid(`${where}: a value of any type must be a primitive or name its $type`);
  }
  return encodeTyped(name, 'anyType', value, where);
}

function arrayField(arrayType: string, element: string): FieldInfo {
  const primitive = element in XSD || element === 'anyType';
  return {
    name: primitive ? element : arrayType.slice('ArrayOf'.length),
    type: element,
    array: true,
    optional: true,
    polymorphic: false,
  };
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
  if (INTEGERS.has(type)) {
    if (typeof value !== 'number' || !Number.isSafeInteger(value)) throw invalid(`${where} must be a whole number`);
    return String(value);
  }
  if (type === 'double' || type === 'float') {
    if (typeof value !== 'number') throw invalid(`${where} must be a number`);
    return String(value);
  }
  if (type === 'boolean') {
    if (typeof value !== 'boolean') throw invalid(`${where} must be true or false`);
    return String(value);
  }
  if (type === 'dateTime') {
    if (!(value instanceof Date)) throw invalid(`${where} must be a date`);
    return value.toISOString();
  }
  if (typeof value !== 'string') throw invalid(`${where} must be text`);
  return escapeXml(value);
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

/** The value of an element's children. Unknown elements (of newer API versions) are passed over. */
export function decodeFields(fields: FieldInfo[], element: XmlElement, where: string): Fields {
  const value: Fields = {};
  const byName = new Map(fields.map((field) => [field.name, field]));
  for (const one of element.children) {
    const field = byName.get(one.name);
    if (field === undefined) continue;
    const decoded = decodeElement(field, one, where);
    if (!field.array) value[field.name] = decoded;
    else if (Array.isArray(value[field.name])) (value[field.name] as unknown[]).push(decoded);
    else value[field.name] = [decoded];
  }
  return value;
}

/** The value of one element. @throws invalid for text that is not of its type */
export function decodeElement(field: FieldInfo, element: XmlElement, where: string): unknown {
  const path = `${where}.${field.name}`;
  const type = field.type === 'anyType' ? (element.xsiType ?? guess(element)) : field.type;
  return decodeTyped(type, element, path);
}

/** xsd:anyType without xsi:type: a reference if it looks like one, else text. */
function guess(element: XmlElement): string {
  return element.attributes.type !== undefined ? 'ManagedObjectReference' : 'string';
}

function decodeTyped(type: string, element: XmlElement, where: string): unknown {
  if (type in XSD) return decodePrimitive(type, element.text, where);
  if (type === 'ManagedObjectReference') return { type: element.attributes.type ?? '', value: element.text.trim() };
  const actual = element.xsiType ?? type;
  if (actual === 'ManagedObjectReference') return { type: element.attributes.type ?? '', value: element.text.trim() };
  const item = arrayElement(actual);
  if (item !== undefined)
    return element.children.map((one) =>
      decodeTyped(item === 'anyType' ? (one.xsiType ?? 'string') : item, one, where),
    );
  // A subclass this side does not know still has the elements of the declared type.
  const fields = typeFields(actual) ?? typeFields(type);
  if (fields === undefined) return element.children.length === 0 ? element.text : { $type: actual };
  const value = decodeFields(fields, element, where);
  if (element.xsiType !== undefined) value.$type = actual;
  return value;
}

function decodePrimitive(type: string, text: string, where: string): unknown {
  if (type === 'string' || type === 'anyURI') return text;
  const trimmed = text.trim();
  if (type === 'boolean') {
    if (trimmed === 'true' || trimmed === '1') return true;
    if (trimmed === 'false' || trimmed === '0') return false;
    throw invalid(`${where}: '${trimmed.slice(0, 40)}' is not a boolean`);
  }
  if (type === 'dateTime') {
    const date = new Date(trimmed);
    if (Number.isNaN(date.getTime())) throw invalid(`${where}: '${trimmed.slice(0, 40)}' is not a date`);
    return date;
  }
  const number = Number(trimmed);
  if (trimmed === '' || Number.isNaN(number) || (INTEGERS.has(type) && !Number.isInteger(number))) {
    throw invalid(`${where}: '${trimmed.slice(0, 40)}' is not a number`);
  }
  return number;
}
