/**
 * Parses the head of an HTTP/1 request. Accepts and refuses what Go's `net/http`, on which Docker Engine is built, accepts and refuses:
 * RFC 9112 with lines that may end in LF alone, any method, absolute targets.
 */

import type { IncomingHttpHeaders } from 'node:http';

/** The largest head in bytes, as in Go. */
export const MAX_HEAD = 1024 * 1024 + 4096;
const MAX_FIELDS = 2000;

/** A malformed head. It is answered with this status, and the connection closed. */
export class HeadError extends Error {
  /** @param words what follows the reason, where Go adds something */
  constructor(
    readonly status: number,
    readonly reason: string,
    words = '',
  ) {
    super(`${reason}${words === '' ? '' : `: ${words}`}`);
  }
}

/** How a body is sent: its length in bytes, or in chunks. */
export type Framing = number | 'chunked';

export interface RequestHead {
  method: string;
  /** Path and query, percent-encoded. */
  url: string;
  /** `scheme://host` of an absolute target, `//host` of a target that is only a host. */
  origin: string;
  minorVersion: number;
  /** Alternating names and values. */
  rawHeaders: string[];
  /** By lower-case name, as in Node. */
  headers: IncomingHttpHeaders;
  framing: Framing;
  keepAlive: boolean;
  /** `Expect: 100-continue`. */
  expectsContinue: boolean;
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const bad = (words?: string): HeadError => new HeadError(400, 'Bad Request', words);

/** Where a head ends, after its empty line; -1: its end has not come yet. @param from where to begin to look */
export function endOfHead(bytes: Buffer, from: number): number {
  for (let at = bytes.indexOf(10, from); at >= 0; at = bytes.indexOf(10, at + 1)) {
    if (bytes[at + 1] === 10) return at + 2;
    if (bytes[at + 1] === 13 && bytes[at + 2] === 10) return at + 3;
  }
  return -1;
}

/** @param bytes the head with its empty line @throws HeadError */
export function parseHead(bytes: Buffer): RequestHead {
  const lines = bytes
    .toString('latin1')
    .replace(/\r?\n\r?\n$/, '')
    .split(/\r?\n/);
  const { method, target, major, minor } = requestLine(lines[0] ?? '');
  const rawHeaders = fields(lines.slice(1));
  const values = (name: string): string[] => {
    const found: string[] = [];
    for (let i = 0; i < rawHeaders.length; i += 2)
      if (rawHeaders[i]!.toLowerCase() === name) found.push(rawHeaders[i + 1]!);
    return found;
  };
  // The preface of HTTP/2, which is not spoken here. Docker answers it like a request too.
  const preface = method === 'PRI' && target === '*' && major === 2;
  if (major !== 1 && !preface) throw new HeadError(505, 'HTTP Version Not Supported', 'unsupported protocol version');
  const hosts = values('host');
  if (hosts.length > 1) throw bad();
  if (hosts.length === 0 && minor > 0) throw bad('missing required Host header');
  if (!/^[\w.\-~!$&'()*+,;=:@%[\]]*$/.test(hosts[0] ?? '')) throw bad('malformed Host header');
  const framing = bodyFraming(values('transfer-encoding'), values('content-length'), minor);
  const connection = values('connection')
    .join(',')
    .toLowerCase()
    .split(',')
    .map((token) => token.trim());
  const expectation = values('expect').join(', ').toLowerCase();
  if (expectation !== '' && expectation !== '100-continue') throw new HeadError(417, 'Expectation Failed');
  return {
    method,
    ...parseTarget(method, target),
    minorVersion: minor,
    rawHeaders,
    headers: joined(rawHeaders),
    framing,
    keepAlive: !preface && !connection.includes('close') && (minor > 0 || connection.includes('keep-alive')),
    expectsContinue: expectation !== '' && minor > 0 && framing !== 0,
  };
}

function requestLine(line: string): { method: string; target: string; major: number; minor: number } {
  const [, method = '', target = '', protocol = ''] = /^([^ ]*) ([^ ]*) (.*)$/s.exec(line) ?? [];
  const [, major, minor] = /^HTTP\/(\d)\.(\d)$/.exec(protocol) ?? [];
  if (!TOKEN.test(method) || target === '' || minor === undefined) throw bad();
  return { method, target, major: Number(major), minor: Number(minor) };
}

function fields(lines: string[]): string[] {
  const headers: string[] = [];
  for (const line of lines) {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are not allowed there
    if (/[\x00-\x08\x0a-\x1f\x7f]/.test(line)) throw bad();
    if (/^[ \t]/.test(line)) {
      // A continuation of the value before.
      if (headers.length === 0) throw bad();
      headers[headers.length - 1] += ` ${line.trim()}`;
      continue;
    }
    const colon = line.indexOf(':');
    const name = line.slice(0, Math.max(colon, 0));
    if (TOKEN.test(name.trimEnd()) && name !== name.trimEnd()) throw bad('invalid header name');
    if (!TOKEN.test(name)) throw bad();
    headers.push(name, line.slice(colon + 1).trim());
    if (headers.length > 2 * MAX_FIELDS) throw new HeadError(431, 'Request Header Fields Too Large');
  }
  return headers;
}

/** Of these headers the first counts; the values of others are joined. */
const SINGLE = new Set([
  'authorization',
  'content-length',
  'content-type',
  'expect',
  'host',
  'user-agent',
  'x-registry-auth',
]);

function joined(rawHeaders: string[]): IncomingHttpHeaders {
  const headers = Object.create(null) as Record<string, string>;
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!.toLowerCase();
    if (headers[name] === undefined) headers[name] = rawHeaders[i + 1]!;
    else if (!SINGLE.has(name)) headers[name] += `, ${rawHeaders[i + 1]!}`;
  }
  return headers;
}

function bodyFraming(encodings: string[], lengths: string[], minor: number): Framing {
  if (encodings.length > 0 && minor > 0) {
    if (encodings.length > 1 || encodings[0]!.toLowerCase() !== 'chunked') throw new HeadError(501, 'Not Implemented');
    return 'chunked';
  }
  if (lengths.some((length) => length !== lengths[0])) throw bad();
  const length = lengths[0] ?? '';
  if (length !== '' && !/^\d{1,15}$/.test(length)) throw bad();
  return Number(length);
}

function parseTarget(method: string, target: string): { url: string; origin: string } {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are not allowed there
  if (/[\x00-\x20\x7f]/.test(target)) throw bad();
  let [url, origin] = [target, ''];
  if (method === 'CONNECT' && !target.startsWith('/')) [url, origin] = ['', `//${target}`];
  else if (target !== '*' && !target.startsWith('/')) {
    const absolute = /^([a-z][a-z0-9+.-]*:\/\/[^/?]*)(.*)$/is.exec(target);
    if (absolute === null) throw bad();
    [, origin, url] = absolute as unknown as [string, string, string];
  }
  const path = url.split('?', 1)[0]!;
  if (/%(?![0-9a-f]{2})/i.test(path)) throw bad();
  // An empty path counts as one that can be cleaned: the router redirects it to `/`.
  if (path === '') url = `/.${url}`;
  // `#` has no meaning here, and bytes other than ASCII may come unescaped.
  return {
    origin,
    url: url.replace(/[#\x80-\xff]/g, (byte) => `%${byte.charCodeAt(0).toString(16).toUpperCase()}`),
  };
}
