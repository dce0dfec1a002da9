/** A small registry in this process that misbehaves on request. */
import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type BuiltImage, digestOf } from './image-builder.js';
import { isUploadFault, type UploadFault, type UploadOptions, Uploads } from './uploads.js';

/** What to do with a request instead of answering it correctly. */
export type Fault =
  /** Never answer. */
  | { kind: 'hang' }
  /** Answer with this status and body. */
  | { kind: 'status'; status: number; body?: string; headers?: Record<string, string> }
  /** Close the connection after so many bytes of the body. */
  | { kind: 'truncate'; after: number }
  /** Send so many bytes, then nothing more. */
  | { kind: 'stall'; after: number }
  /** Change one byte of the body. */
  | { kind: 'corrupt' }
  /** Send this instead. */
  | { kind: 'replace'; body: Buffer; headers?: Record<string, string> }
  /** Answer a range request with the whole body. */
  | { kind: 'ignore-range' }
  | { kind: 'redirect'; location: string }
  | UploadFault;

export interface FaultyOptions {
  /** Images by `name:tag`. */
  images?: Record<string, BuiltImage>;
  /** Called for every request. `nth` counts requests of this method and path from 1. */
  fault?(request: {
    method: string;
    path: string;
    query: URLSearchParams;
    nth: number;
    headers: IncomingMessage['headers'];
  }): Fault | undefined;
  auth?:
    | { kind: 'basic'; user: string; password: string }
    /** Tokens are good for `uses` requests each. */
    | { kind: 'token'; user?: string; password?: string; refreshToken?: string; uses?: number };
  tls?: { key: string; cert: string };
  /** How it takes what is sent to it. */
  uploads?: UploadOptions;
  /** An address that is redirected to loopback, where the registry listens, and by which clients know it. */
  host?: string;
}

export interface LoggedRequest {
  method: string;
  path: string;
  headers: IncomingMessage['headers'];
}

/** A running faulty registry. Its owner must `stop()` it. */
export interface FaultyRegistry {
  address: string;
  requests: LoggedRequest[];
  images: Record<string, BuiltImage>;
  uploads: Uploads;
  stop(): Promise<void>;
}

interface Content {
  body: Buffer;
  headers: Record<string, string>;
}

/** Starts one on a free port. */
export async function startFaultyRegistry(options: FaultyOptions = {}): Promise<FaultyRegistry> {
  const { images = {}, host = '127.0.0.1' } = options;
  const requests: LoggedRequest[] = [];
  const counts = new Map<string, number>();
  const tokens = new Map<string, number>();
  const uploads = new Uploads(options.uploads ?? {});
  let address = '';

  const listener: RequestListener = (request, response) => {
    const method = request.method ?? '';
    const url = new URL(request.url ?? '/', `http://${address}`);
    requests.push({ method, path: url.pathname + url.search, headers: request.headers });
    const key = `${method} ${url.pathname}`;
    const nth = (counts.get(key) ?? 0) + 1;
    counts.set(key, nth);
    const fault = options.fault?.({
      method,
      path: url.pathname,
      query: url.searchParams,
      nth,
      headers: request.headers,
    });
    if (fault?.kind === 'hang') return;
    if (fault?.kind === 'status') {
      request.resume();
      response.writeHead(fault.status, fault.headers).end(fault.body ?? '');
      return;
    }
    if (fault?.kind === 'redirect') {
      response.writeHead(307, { location: fault.location }).end();
      return;
    }
    if (url.pathname === '/token') {
      void grantToken(request, response, url);
      return;
    }
    if (!authorized(request)) {
      const scheme = options.tls ? 'https' : 'http';
      const challenge =
        options.auth?.kind === 'basic'
          ? 'Basic realm="test, registry"'
          : `Bearer realm="${scheme}://${address}/token",service="test"`;
      const body = JSON.stringify({ errors: [{ code: 'UNAUTHORIZED', message: 'authentication required' }] });
      response.writeHead(401, { 'www-authenticate': challenge, 'content-type': 'application/json' }).end(body);
      return;
    }
    void uploads
      .answer(request, response, url, isUploadFault(fault) ? fault : undefined)
      .catch(() => request.socket.destroy())
      .then((answered) => {
        if (answered === false) answer(request, response, url, fault);
      });
  };

  function answer(request: IncomingMessage, response: ServerResponse, url: URL, fault: Fault | undefined): void {
    const content = fault?.kind === 'replace' ? { body: fault.body, headers: fault.headers ?? {} } : find(url.pathname);
    if (!content) {
      const code = url.pathname.includes('/blobs/') ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN';
      response
        .writeHead(404, { 'content-type': 'application/json' })
        .end(JSON.stringify({ errors: [{ code, message: code.toLowerCase().replace('_', ' ') }] }));
      return;
    }
    send(request, response, content, fault);
  }

  function authorized(request: IncomingMessage): boolean {
    const { auth } = options;
    if (!auth) return true;
    const header = request.headers.authorization ?? '';
    if (auth.kind === 'basic') {
      return header === `Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString('base64')}`;
    }
    const token = header.replace(/^Bearer /, '');
    const left = tokens.get(token) ?? 0;
    tokens.set(token, left - 1);
    return left > 0;
  }

  async function grantToken(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const { auth } = options;
    if (auth?.kind !== 'token') return void response.writeHead(404).end();
    let body = '';
    for await (const chunk of request) body += chunk;
    const form = new URLSearchParams(body);
    const basic = `Basic ${Buffer.from(`${auth.user}:${auth.password}`).toString('base64')}`;
    const granted =
      request.method === 'POST'
        ? form.get('grant_type') === 'refresh_token' && form.get('refresh_token') === auth.refreshToken
        : auth.user === undefined || request.headers.authorization === basic;
    if (!granted || (url.searchParams.get('service') ?? form.get('service')) !== 'test') {
      return void response.writeHead(401).end('{}');
    }
    const token = `token-${tokens.size}`;
    tokens.set(token, auth.uses ?? 1_000_000);
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token, expires_in: 300 }));
  }

  function find(path: string): Content | undefined {
    if (path === '/v2/') return { body: Buffer.from('{}'), headers: {} };
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path);
    if (!match) return undefined;
    const [, repository, kind, reference] = match;
    const stored = uploads.blobs.get(`${repository}@${reference}`);
    if (kind === 'blobs' && stored !== undefined)
      return { body: stored, headers: { 'content-type': 'application/octet-stream' } };
    const sent = uploads.manifests.get(`${repository}${reference!.includes(':') ? '@' : ':'}${reference}`);
    if (kind === 'manifests' && sent !== undefined)
      return {
        body: sent.body,
        headers: { 'content-type': sent.mediaType, 'docker-content-digest': digestOf(sent.body) },
      };
    for (const [name, image] of Object.entries(images)) {
      if (!name.startsWith(`${repository}:`)) continue;
      if (kind === 'blobs') {
        const blob = image.blobs.get(reference!);
        if (blob) return { body: blob, headers: { 'content-type': 'application/octet-stream' } };
        continue;
      }
      const found =
        name === `${repository}:${reference}`
          ? image.top
          : [image.top, ...image.manifests].find(({ digest }) => digest === reference);
      if (!found) continue;
      return {
        body: found.body,
        headers: { 'content-type': found.mediaType, 'docker-content-digest': found.digest },
      };
    }
    return undefined;
  }

  const server = options.tls ? createTlsServer(options.tls, listener) : createServer(listener);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  address = `${host}:${(server.address() as AddressInfo).port}`;
  return {
    address,
    requests,
    images,
    uploads,
    stop: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function send(request: IncomingMessage, response: ServerResponse, content: Content, fault: Fault | undefined): void {
  let { body } = content;
  if (fault?.kind === 'corrupt') {
    body = Buffer.from(body);
    body[body.length >> 1]! ^= 0xff;
  }
  const from = fault?.kind === 'ignore-range' ? undefined : /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
  const start = from === undefined ? 0 : Number(from);
  const range: Record<string, string> =
    from === undefined ? {} : { 'content-range': `bytes ${start}-${body.length - 1}/${body.length}` };
  const rest = body.subarray(start);
  response.writeHead(from === undefined ? 200 : 206, { ...content.headers, ...range, 'content-length': rest.length });
  if (request.method === 'HEAD') {
    response.end();
  } else if (fault?.kind === 'truncate') {
    response.write(rest.subarray(0, fault.after), () => response.destroy());
  } else if (fault?.kind === 'stall') {
    response.write(rest.subarray(0, fault.after));
  } else {
    response.end(rest);
  }
}
