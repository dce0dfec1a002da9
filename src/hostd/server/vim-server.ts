/** The vim25 server: SOAP over HTTPS at `/sdk`, files at `/folder`. */

import type { IncomingMessage, ServerResponse } from 'node:http';
import { createServer, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { internal, messageOf } from '../../common/errors.js';
import { logger, newOperationId, withOperation } from '../../common/log.js';
import { span } from '../../common/trace.js';
import {
  decodeRequest,
  describeService,
  encodeFault,
  encodeResponse,
  escapeXml,
  type ManagedObjectReference,
  operationInfo,
  type PropertyFilterSpec,
  type Request,
} from '../../vim25/server.js';
import { admit } from '../access/admission.js';
import { asCaller } from '../access/caller.js';
import type { Release } from '../access/holdings.js';
import { ruleOf } from '../access/operation-rules.js';
import { fault, toFault } from '../faults.js';
import type { Inventory } from '../inventory/inventory.js';
import type { CallContext } from '../objects/call-context.js';
import type { ManagedObject } from '../objects/managed-object.js';
import { notAuthenticated } from '../services/property-collector/not-authenticated.js';
import type { Session } from '../services/sessions/session.js';
import type { SessionManager } from '../services/sessions/session-manager.js';
import type { HostCertificate } from './certificate.js';
import { serveFolder } from './folder-server.js';
import { HANDSHAKE_MS, isKnownClient, limitConnections } from './host-connections.js';
import { STRANGER_BYTES, STRANGER_ELEMENTS, STRANGER_MS } from './strangers.js';

const log = logger('vim-server');
const MAX_REQUEST = 16 * 1024 * 1024;
const MAX_DISCARDED = 16 * MAX_REQUEST;
/** Most elements in a request from a user who is not an administrator. Each takes about 200 bytes. */
const USER_ELEMENTS = 100_000;
/** Bytes that are not counted, and the step in which further bytes are counted. */
const SMALL_BYTES = 64 * 1024;
const HELD_BYTES = 1024 * 1024;
const COOKIE = 'vmware_soap_session';
/** Operations that need no login. */
const OPEN = new Set(['RetrieveServiceContent', 'Login', 'CurrentTime', 'Logout']);

const VERSIONS = `<?xml version="1.0" encoding="UTF-8"?>
<namespaces version="1.0"><namespace><name>urn:vim25</name><version>7.0</version><priorVersions><version>6.7.1</version><version>6.7</version><version>6.5</version><version>6.0</version><version>5.5</version></priorVersions></namespace></namespaces>
`;

/** A listening server. */
export class VimServer {
  private constructor(
    private readonly server: Server,
    readonly address: AddressInfo,
  ) {}

  static async listen(
    inventory: Inventory,
    sessions: SessionManager,
    certificate: HostCertificate,
    listen: { host: string; port: number },
  ): Promise<VimServer> {
    const server = createServer(
      { cert: certificate.cert, key: certificate.key, minVersion: 'TLSv1.2', handshakeTimeout: HANDSHAKE_MS },
      (request, response) => {
        void handle(inventory, sessions, request, response).catch((error: unknown) => {
          log.error({ err: error }, 'a request failed');
          if (!response.headersSent) response.writeHead(500);
          response.end();
        });
      },
    );
    server.requestTimeout = 0; // uploads may take any time
    server.keepAliveTimeout = 120_000;
    limitConnections(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(listen.port, listen.host, () => resolve());
    });
    return new VimServer(server, server.address() as AddressInfo);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
  }
}

async function handle(
  inventory: Inventory,
  sessions: SessionManager,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://host');
  const session = sessions.open(cookieOf(request));
  if (session.user !== null) isKnownClient(request, session.user.userName);
  const operation = operationOf(request);
  if (url.pathname === '/sdk/vimServiceVersions.xml') {
    response.writeHead(200, { 'content-type': 'text/xml' }).end(VERSIONS);
  } else if (url.pathname === '/sdk/vimService.wsdl') {
    const address = `https://${request.headers.host ?? 'localhost'}/sdk`;
    response.writeHead(200, { 'content-type': 'text/xml' }).end(describeService(escapeXml(address)));
  } else if (url.pathname.replace(/\/$/, '') === '/sdk' && request.method === 'POST') {
    await withOperation(operation, () => span('hostd soap', () => serveSoap(inventory, session, request, response)));
  } else if (url.pathname === '/folder' || url.pathname.startsWith('/folder/')) {
    const caller = session.user === null ? await basicAuth(sessions, request) : session;
    if (caller === null) {
      request.resume();
      response.writeHead(401, { 'www-authenticate': 'Basic realm="hostd"' }).end();
      return;
    }
    if (caller.user !== null) isKnownClient(request, caller.user.userName);
    await withOperation(operation, () => asCaller(caller, () => serveFolder(inventory.files, request, response, url)));
  } else {
    request.resume();
    response.writeHead(404, { 'content-type': 'text/plain' }).end('not found\n');
  }
}

/** Answers a request for a file from a client that must have a session. @param known called if it has */
export async function answerFile(
  inventory: Inventory,
  sessions: SessionManager,
  request: IncomingMessage,
  response: ServerResponse,
  known: () => void,
): Promise<void> {
  const url = new URL(request.url ?? '/', 'https://host');
  const session = sessions.open(cookieOf(request));
  const isFile = url.pathname.startsWith('/folder/');
  if (session.user === null || !isFile) {
    request.resume();
    response.writeHead(isFile ? 401 : 404).end();
    return;
  }
  known();
  await withOperation(operationOf(request), () =>
    asCaller(session, () => serveFolder(inventory.files, request, response, url, true)),
  );
}

const operationOf = ({ headers }: IncomingMessage): string =>
  String(headers['vim25-operationid'] ?? newOperationId()).slice(0, 64);

function cookieOf(request: IncomingMessage): string | undefined {
  return new RegExp(`(?:^|;\\s*)${COOKIE}="?([0-9a-f]+)"?`).exec(request.headers.cookie ?? '')?.[1];
}

async function basicAuth(sessions: SessionManager, request: IncomingMessage): Promise<Session | null> {
  const encoded = /^Basic (\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
  if (encoded === undefined) return null;
  const [user = '', ...password] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  const { address } = clientOf(request);
  const right = await sessions.accepts(user, password.join(':'), address).catch(() => false);
  return right ? sessions.once(user, address) : null;
}

async function serveSoap(
  inventory: Inventory,
  session: Session,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const abort = new AbortController();
  response.on('close', () => abort.abort());
  let call: Request | null = null;
  const held: Release[] = [];
  // Also comes when the answer was not read.
  response.on('close', () => held.splice(0).forEach((release) => void release()));
  try {
    const stranger = session.user === null;
    const body = await readBody(request, stranger ? STRANGER_BYTES : MAX_REQUEST, (bytes) =>
      held.push(session.hold(bytes)),
    );
    call = decodeRequest(body, stranger ? STRANGER_ELEMENTS : session.restricted ? USER_ELEMENTS : undefined);
    const asked = call;
    const result = await asCaller(session, () =>
      invoke(inventory, session, asked, { signal: abort.signal, client: clientOf(request) }),
    );
    if (isTask(result)) await inventory.tasks.soon(result);
    if (!stranger && session.user === null && call.operation !== 'Logout') throw notLoggedIn(call.target);
    // Some values are computed only when they are encoded, so encoding runs as the caller too.
    const text = asCaller(session, () => encodeResponse(asked.operation, stranger ? result : session.redact(result)));
    if (text.length > SMALL_BYTES) held.push(session.hold(text.length));
    if (call.operation === 'Login')
      response.setHeader('set-cookie', `${COOKIE}="${session.cookie}"; Path=/; HttpOnly; Secure`);
    reply(response, 200, text);
  } catch (error) {
    const { fault: detail, message } = toFault(error);
    if (detail.$type === 'SystemError') log.error({ operation: call?.operation, err: error }, 'an operation failed');
    else log.debug({ operation: call?.operation, fault: detail.$type, err: messageOf(error) }, 'fault');
    reply(response, 500, encodeFault(message, detail));
  }
}

function isTask(result: unknown): result is ManagedObjectReference {
  return typeof result === 'object' && result !== null && (result as { type?: unknown }).type === 'Task';
}

function reply(response: ServerResponse, status: number, text: string): void {
  if (response.destroyed) return;
  response
    .writeHead(status, {
      'content-type': 'text/xml; charset=utf-8',
      'content-length': Buffer.byteLength(text),
      'cache-control': 'no-cache',
    })
    .end(text);
}

function clientOf(request: IncomingMessage): CallContext['client'] {
  const address = (request.socket.remoteAddress ?? '').replace(/^::ffff:/, '');
  return { address, agent: (request.headers['user-agent'] ?? '').slice(0, 256) };
}

async function invoke(
  inventory: Inventory,
  session: Session,
  call: Request,
  caller: Pick<CallContext, 'signal' | 'client'>,
): Promise<unknown> {
  const { operation, target, args } = call;
  if (session.user === null && !isOpen(call)) {
    const { specSet = [] } = args as { specSet?: PropertyFilterSpec[] };
    if (operation === 'RetrieveProperties') return notAuthenticated(specSet);
    if (operation === 'RetrievePropertiesEx') return { objects: notAuthenticated(specSet) };
    throw notLoggedIn(target);
  }
  const object: ManagedObject =
    target.value === session.defaultCollector.ref.value ? session.defaultCollector : inventory.registry.get(target);
  const method =
    operationInfo(operation) === undefined ? undefined : (object as unknown as Record<string, unknown>)[operation];
  if (typeof method !== 'function')
    throw fault('MethodNotFound', `The method is not supported on the object: ${target.type}.${operation}`, {
      receiver: target,
      method: operation,
    });
  const rule = ruleOf(object.ref.type, operation);
  if (rule === undefined) throw internal(`there is no rule for ${target.type}.${operation}`);
  if (session.user !== null) admit(inventory.registry, session, rule, object, args);
  const context: CallContext = { session, ...caller, userName: session.user?.userName ?? '' };
  return (method as (args: unknown, context: CallContext) => unknown).call(object, args, context);
}

function notLoggedIn(object: ManagedObjectReference): Error {
  return fault('NotAuthenticated', 'The session is not authenticated.', { object, privilegeId: 'System.View' });
}

/** True for requests that need no login. ServiceInstance, where every client begins, may be read in any way. */
function isOpen({ operation, target, args }: Request): boolean {
  if (OPEN.has(operation)) return true;
  const anyone = (ref: ManagedObjectReference): boolean => ref.type === 'ServiceInstance';
  if (operation === 'Fetch') return anyone(target);
  if (operation !== 'RetrieveProperties' && operation !== 'RetrievePropertiesEx') return false;
  const objects = ((args as { specSet?: PropertyFilterSpec[] }).specSet ?? []).flatMap((spec) => spec.objectSet ?? []);
  return objects.length > 0 && objects.every(({ obj, selectSet }) => anyone(obj) && (selectSet ?? []).length === 0);
}

/** Reads a whole message. @throws InvalidRequest for more than `limit` bytes */
async function readBody(request: IncomingMessage, limit: number, hold: (bytes: number) => void): Promise<string> {
  const parts: Buffer[] = [];
  let size = 0;
  let held = SMALL_BYTES;
  let refusal: unknown;
  const late = setTimeout(() => request.destroy(), STRANGER_MS);
  try {
    for await (const part of request) {
      size += (part as Buffer).length;
      if (size > held && size <= limit && refusal === undefined) {
        try {
          // Twice: the bytes, and what is made of them.
          hold(2 * HELD_BYTES);
          held += HELD_BYTES;
        } catch (error) {
          refusal = error;
          parts.length = 0;
        }
      }
      if (size <= limit && refusal === undefined) parts.push(part as Buffer);
      // The rest is still read, within reason: a client that is still sending does not look for the answer.
      else if (size > MAX_DISCARDED) request.destroy();
    }
  } finally {
    clearTimeout(late);
  }
  if (size > limit) throw fault('InvalidRequest', 'The request is too large');
  if (refusal !== undefined) throw refusal;
  return Buffer.concat(parts).toString('utf8');
}
