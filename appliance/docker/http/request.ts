/** Decodes a request of the Docker API: its version, query and JSON body. */
import { setMaxListeners } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Request } from 'express';
import { z } from 'zod';
import { invalid } from '../../../src/common/errors.js';
import { GoJsonError, readGoJson } from '../../../src/common/go-json.js';
import { API_VERSION } from './api-version.js';
import { readBody } from './body-reader.js';

/** What the server remembers of a request. */
interface Extras {
  apiVersion?: string;
  queryChecked?: boolean;
}

const extras = new WeakMap<IncomingMessage, Extras>();

export function extrasOf(request: IncomingMessage): Extras {
  let known = extras.get(request);
  if (known === undefined) {
    known = {};
    extras.set(request, known);
  }
  return known;
}

export function versionOf(request: Request): string {
  return extrasOf(request).apiVersion ?? API_VERSION;
}

/** The first value of a query parameter. @throws invalid for a query that Go could not read */
export function query(request: Request, name: string): string | undefined {
  const known = extrasOf(request);
  if (known.queryChecked !== true) checkQuery(request.url);
  known.queryChecked = true;
  const value = request.query[name];
  const first: unknown = Array.isArray(value) ? value[0] : value;
  return typeof first === 'string' ? first : undefined;
}

function checkQuery(url: string): void {
  const text = url.slice(url.indexOf('?') + 1 || url.length);
  if (text.includes(';')) throw invalid('invalid semicolon separator in query');
  const broken = /%(?![0-9a-f]{2}).{0,2}/i.exec(text)?.[0];
  if (broken !== undefined) throw invalid(`invalid URL escape ${JSON.stringify(broken)}`);
}

/** A boolean as Docker reads it: anything but '', 0, no, false and none is true. */
export function flag(request: Request, name: string): boolean {
  const value = query(request, name)?.trim().toLowerCase();
  return value !== undefined && !['', '0', 'no', 'false', 'none'].includes(value);
}

/** A whole number. @throws invalid */
export function integer(request: Request, name: string): number | undefined {
  const value = query(request, name);
  if (value === undefined || value === '') return undefined;
  const problem = (why: string): Error => invalid(`strconv.Atoi: parsing ${JSON.stringify(value)}: ${why}`);
  if (!/^[+-]?\d+$/.test(value)) throw problem('invalid syntax');
  if (BigInt.asIntN(64, BigInt(value.replace('+', ''))) !== BigInt(value.replace('+', '')))
    throw problem('value out of range');
  return Number(value);
}

/** The values of each filter: a list, or (since 1.22) an object with the values as keys. */
const filtersSchema = z.record(
  z.string(),
  z.union([
    z.array(z.string()),
    z.record(z.string(), z.boolean()).transform((values) => Object.keys(values)),
    z.null().transform((): string[] => []),
  ]),
);

/** The `filters` parameter: all values by filter name. @throws invalid */
export function filters(request: Request): Map<string, string[]> {
  const text = query(request, 'filters');
  if (text === undefined || text === '') return new Map();
  try {
    const given: unknown = JSON.parse(text) ?? {};
    // The schema would drop this key silently.
    if (Object.hasOwn(given as object, '__proto__')) throw invalid('invalid filter');
    return new Map(Object.entries(filtersSchema.parse(given)));
  } catch (error) {
    throw invalid('invalid filter', error);
  }
}

/** The size of a terminal, `h` and `w`. @throws invalid in Docker's words */
export function terminalSize(request: Request): { rows: number; cols: number } {
  const side = (name: string, word: string): number => {
    const value = query(request, name) ?? '';
    if (!/^-?\d+$/.test(value)) throw invalid(`invalid resize ${word} "${value}": invalid syntax`);
    const cells = Number(value);
    if (cells < 0 || cells > 0xffffffff) throw invalid(`invalid resize ${word} "${value}": value out of range`);
    // The kernel keeps 16 bits of each side and drops the others.
    return cells & 0xffff;
  };
  return { rows: side('h', 'height'), cols: side('w', 'width') };
}

/**
 * Reads a JSON body and checks it. A missing body counts as `{}`.
 * @param options.required the body must be there
 * @param options.root see {@link readGoJson}
 * @param options.plain takes any content type, and puts no prefix before messages, as some of Docker's routes do
 * @throws invalid in Docker's words; also for a body without a content type, which any web page can make a browser send
 */
export async function body<T>(
  request: Request,
  schema: z.ZodType<T>,
  options: { required?: boolean; root?: string; plain?: boolean } = {},
): Promise<T> {
  const text = (await readBody(request)).toString('utf8');
  const type = request.headers['content-type'];
  if (options.plain !== true && (text !== '' || type !== undefined)) checkJsonType(type ?? '');
  // A chunked body must be there.
  const chunked = request.headers['transfer-encoding'] !== undefined;
  if (text === '' && options.required !== true && !chunked) return readGoJson('{}', schema);
  try {
    return readGoJson(text, schema, options);
  } catch (error) {
    if (error instanceof z.ZodError) {
      const issue = error.issues[0];
      throw invalid(`invalid JSON: ${[issue?.path.join('.'), issue?.message].filter(Boolean).join(': ')}`);
    }
    if (!(error instanceof GoJsonError)) throw error;
    if (error.kind === 'trailing' || options.plain === true) throw invalid(error.message);
    throw invalid(`invalid JSON: ${error.kind === 'empty' ? 'got EOF while reading request body' : error.message}`);
  }
}

/** @throws invalid in Docker's words for a content type other than JSON */
function checkJsonType(type: string): void {
  const [, media = '', rest = ''] = /^\s*([^;]*?)\s*(;.*)?$/s.exec(type) ?? [];
  const malformed = (why: string): Error => invalid(`malformed Content-Type header (${type}): mime: ${why}`);
  if (media === '') throw malformed('no media type');
  const [, first = '', second = ''] = /^([^\s/,]+)(?:\/([^\s/,]+))?/.exec(media) ?? [];
  const plain = second === '' ? first : `${first}/${second}`;
  if (plain !== media)
    throw malformed(second === '' ? 'expected slash after first token' : 'unexpected content after media subtype');
  if (!/^(\s*;\s*[^\s;=]+=("[^"]*"|[^\s;"]+))*\s*;?\s*$/.test(rest)) throw malformed('invalid media parameter');
  if (media.toLowerCase() !== 'application/json')
    throw invalid(`unsupported Content-Type header (${type}): must be 'application/json'`);
}

/** A signal that is aborted when the connection closes: the client has hung up, or the answer is complete. */
export function hangup(response: ServerResponse): AbortSignal {
  const abort = new AbortController();
  // There may be a listener for each container.
  setMaxListeners(0, abort.signal);
  response.once('close', () => abort.abort());
  return abort.signal;
}
