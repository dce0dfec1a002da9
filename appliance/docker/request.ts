/** A request of the Docker API: its version, query, body, and the connection it may take over. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Duplex as DuplexStream } from 'node:stream';
import type { Request, Response } from 'express';
import type { z } from 'zod';
import { invalid } from '../../src/common/errors.js';
import { API_VERSION } from './api-version.js';

const MAX_BODY = 4 * 1024 * 1024;

/** What the server keeps with a request. */
interface Extras {
  apiVersion?: string;
  /** The connection of a request with `Upgrade`, and what the client sent after the head. */
  upgraded?: { socket: Socket; head: Buffer };
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

/** A query parameter's only or last value. */
export function query(request: Request, name: string): string | undefined {
  const value = request.query[name];
  const last: unknown = Array.isArray(value) ? value.at(-1) : value;
  return typeof last === 'string' ? last : undefined;
}

/** Docker's booleans: everything but '', 0, no, false and none is true. */
export function flag(request: Request, name: string): boolean {
  const value = query(request, name)?.trim().toLowerCase();
  return value !== undefined && !['', '0', 'no', 'false', 'none'].includes(value);
}

/** A whole number. @throws invalid */
export function integer(request: Request, name: string): number | undefined {
  const value = query(request, name);
  if (value === undefined || value === '') return undefined;
  if (!/^-?\d+$/.test(value)) throw invalid(`strconv.Atoi: parsing "${value}": invalid syntax`);
  return Number(value);
}

/** The `filters` parameter: by name, all values. @throws invalid */
export function filters(request: Request): Map<string, string[]> {
  const text = query(request, 'filters');
  const result = new Map<string, string[]>();
  if (text === undefined || text === '') return result;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    throw invalid(`invalid filter: ${text}`, error);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) throw invalid(`invalid filter: ${text}`);
  for (const [name, value] of Object.entries(parsed)) {
    // A list of values, or (since 1.22) an object with the values as keys.
    const values: unknown[] = Array.isArray(value)
      ? value
      : typeof value === 'object' && value !== null
        ? Object.keys(value)
        : [];
    result.set(name, values.map(String));
  }
  return result;
}

/** @throws invalid for a filter that the route does not know */
export function checkFilters(given: Map<string, string[]>, known: string[]): void {
  for (const name of given.keys()) if (!known.includes(name)) throw invalid(`invalid filter '${name}'`);
}

/** The raw body. @throws invalid when it is too large */
async function readBody(request: Request): Promise<Buffer> {
  const { upgraded } = extrasOf(request);
  if (upgraded === undefined) {
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of request) {
      size += (part as Buffer).length;
      if (size > MAX_BODY) throw invalid('request body too large');
      parts.push(part as Buffer);
    }
    return Buffer.concat(parts);
  }
  // Node parses no body after an Upgrade: take its bytes off the connection.
  const length = Number(request.headers['content-length'] ?? 0);
  if (!(length <= MAX_BODY)) throw invalid('request body too large');
  while (upgraded.head.length < length) {
    const part = await new Promise<Buffer | null>((resolve) => {
      upgraded.socket.once('data', (data: Buffer) => {
        upgraded.socket.pause();
        resolve(data);
      });
      upgraded.socket.once('close', () => resolve(null));
      upgraded.socket.resume();
    });
    if (part === null) throw invalid('unexpected EOF');
    upgraded.head = Buffer.concat([upgraded.head, part]);
  }
  const body = upgraded.head.subarray(0, length);
  upgraded.head = upgraded.head.subarray(length);
  return body;
}

/** A JSON body, checked. An empty body is `{}` where the schema allows it. @throws invalid in Docker's words */
export async function body<T>(request: Request, schema: z.ZodType<T>): Promise<T> {
  const text = (await readBody(request)).toString('utf8');
  const type = request.headers['content-type'];
  if (text !== '' && type !== undefined && !/^application\/json\b/i.test(type)) {
    throw invalid(`unsupported Content-Type header (${type}): must be 'application/json'`);
  }
  let value: unknown;
  try {
    value = text.trim() === '' ? {} : JSON.parse(text);
  } catch (error) {
    throw invalid(`invalid JSON: ${(error as Error).message}`, error);
  }
  const checked = schema.safeParse(value);
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  throw invalid(`invalid JSON: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'unexpected value'}`);
}

/** Aborted when the client hangs up before the answer is complete. */
export function hangup(response: ServerResponse): AbortSignal {
  const abort = new AbortController();
  response.once('close', () => abort.abort());
  return abort.signal;
}

/**
 * Takes the connection over for raw streams. With `Upgrade: tcp` it is answered 101 and becomes the stream; without, the request's
 * body is the input and the answer's body the output.
 */
export function hijack(request: Request, response: Response, contentType: string): Duplex {
  const { upgraded } = extrasOf(request);
  if (upgraded === undefined) {
    response.writeHead(200, { 'content-type': contentType, connection: 'close' });
    response.flushHeaders();
    const stream = DuplexStream.from({ readable: request, writable: response });
    response.once('close', () => stream.destroy());
    return stream;
  }
  const { socket, head } = upgraded;
  response.detachSocket(socket);
  socket.setNoDelay(true);
  socket.write(`HTTP/1.1 101 UPGRADED\r\nContent-Type: ${contentType}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`);
  if (head.length > 0) socket.unshift(head);
  upgraded.head = Buffer.alloc(0);
  return socket;
}
