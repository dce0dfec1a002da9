/**
 * Serves the Docker Engine API over HTTP(S), on TCP ports and unix sockets. The routes (routes.ts) decode requests, call the use cases beside
 * them, and encode the answers. Nothing here keeps state that cannot be read back from the port layer and the image service.
 */
import { chmodSync, chownSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import express, { type NextFunction, type Request, type Response } from 'express';
import type { ListenConfig } from '../../port-layer/config.js';
import { connectionLimit } from '../../src/common/connection-budget.js';
import { messageOf } from '../../src/common/errors.js';
import { logger, newOperationId, withOperation } from '../../src/common/log.js';
import { SOCKET_GROUP, socketGroup } from '../../src/common/socket-group.js';
import { mark } from '../../src/common/trace.js';
import type { Engine } from './engine.js';
import { browserGuard } from './http/browser-guard.js';
import { Connections, MAX_CONNECTIONS } from './http/connections.js';
import { setEngineHeaders } from './http/engine-headers.js';
import { sendError } from './http/errors.js';
import { noRoute, takeVersion } from './http/routing.js';
import { dockerRouter } from './routes.js';
import { SERVER_VERSION } from './system/version.js';

const log = logger('docker');
/** How long a TLS handshake may take. */
const HANDSHAKE_MS = 15_000;

/** The request handler of the API. */
export function dockerApp(engine: Engine): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.use((request, response, next) => {
    setEngineHeaders(response, `Docker/${SERVER_VERSION} (linux)`);
    // Exactly this type, without a character set: clients compare the whole value.
    response.json = (value: unknown) =>
      response.setHeader('content-type', 'application/json').end(`${JSON.stringify(value)}\n`);
    const started = Date.now();
    const { method, url } = request;
    withOperation(newOperationId(), () => {
      mark(`begins ${method} ${url}`);
      response.once('close', () => {
        mark(`ended ${method} ${url}`);
        log.debug({ method, url, status: response.statusCode, ms: Date.now() - started }, 'request');
      });
      next();
    });
  });
  app.use(browserGuard);
  app.use(takeVersion);
  app.use(dockerRouter(engine));
  app.use(noRoute);
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => sendError(response, error));
  return app;
}

/** A listening server. */
export interface DockerServer {
  /** For a unix socket, its path. */
  address: AddressInfo | string;
  close(): Promise<void>;
}

/**
 * Serves the API on a TCP port, or on a unix socket for root and the members of a group.
 * @param listen.group number of the group; null: root only
 * @param listen.connections how many connections there may be
 * @param opened a server that listens there already; the endpoint's porter opens it, since this process may not
 * @throws when the address is taken
 */
export async function listenDocker(
  app: express.Express,
  listen: (ListenConfig | { path: string; group?: number | null }) & { connections?: number },
  opened?: Server,
): Promise<DockerServer> {
  const tls = 'path' in listen ? undefined : listen.tls;
  // A client that has closed its sending side still waits for output.
  const options = { allowHalfOpen: true, noDelay: true };
  /** With TLS, the accepted sockets below it, by the client's address. */
  const accepted = new Map<string, Socket>();
  const connections = new Connections(app, listen.connections ?? connectionLimit(MAX_CONNECTIONS), 'path' in listen);
  const server: Server =
    tls === undefined
      ? createServer(options, (socket) => {
          if (connections.admit(socket, true)) connections.serve(socket);
        })
      : createTlsServer(
          {
            ...options,
            handshakeTimeout: HANDSHAKE_MS,
            cert: tls.cert,
            key: tls.key,
            minVersion: 'TLSv1.2',
            ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
          },
          (socket) => connections.serve(socket, accepted.get(peer(socket)) ?? socket),
        );
  if (tls !== undefined)
    server.on('connection', (socket: Socket) => {
      const key = peer(socket);
      accepted.set(key, socket);
      socket.once('close', () => accepted.delete(key));
      connections.admit(socket, false);
    });
  if (opened !== undefined) return serveOpened(server, opened, options, connections, listen);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if ('path' in listen) {
      // An endpoint that was killed leaves its socket behind.
      rmSync(listen.path, { force: true });
      const before = process.umask(0o177);
      server.listen(listen.path, () => {
        admit(listen.path, listen.group === undefined ? socketGroup() : listen.group);
        resolve();
      });
      process.umask(before);
    } else {
      server.listen(listen.port, listen.host, () => resolve());
    }
  });
  return {
    address: server.address() as AddressInfo | string,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      connections.close();
      await closed;
    },
  };
}

/** Serves the connections of a server that another process has opened. */
function serveOpened(
  server: Server,
  opened: Server,
  options: { allowHalfOpen: boolean; noDelay: boolean },
  connections: Connections,
  listen: ListenConfig | { path: string },
): DockerServer {
  Object.assign(opened, options);
  opened.on('connection', (socket: Socket) => void server.emit('connection', socket));
  return {
    address: 'path' in listen ? listen.path : (opened.address() as AddressInfo),
    async close() {
      const closed = new Promise((resolve) => opened.close(resolve));
      connections.close();
      await closed;
      // The porter, which made the socket, does not know that it is no longer used.
      if ('path' in listen) rmSync(listen.path, { force: true });
    },
  };
}

function peer({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Lets a group use the socket. If there is no such group, or this process may not, only the owner can use it. */
function admit(path: string, group: number | null): void {
  if (group === null) {
    log.warn({ path }, `there is no group "${SOCKET_GROUP}": only root can use the Docker socket`);
    return;
  }
  try {
    // In this order, so that at no time anybody else may use it.
    chownSync(path, process.geteuid?.() ?? 0, group);
    chmodSync(path, 0o660);
  } catch (error) {
    log.warn({ path, group, err: messageOf(error) }, 'only root can use the Docker socket');
  }
}
