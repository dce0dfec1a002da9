/**
 * The Docker personality: the Engine API over HTTP(S). It parses at the edge, turns requests into calls of the port layer and the
 * image service, and their results into Docker's answers. It keeps no state that cannot be read back from there.
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
import { SERVER_VERSION } from './system/info.js';

const log = logger('docker');
/** A TLS client has said in this time who it is. */
const HANDSHAKE_MS = 15_000;

/** The request handler of the API. */
export function dockerApp(engine: Engine): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.use((request, response, next) => {
    setEngineHeaders(response, `Docker/${SERVER_VERSION} (linux)`);
    // Exactly this type, without a character set: clients compare it.
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
  /** A path for a unix socket. */
  address: AddressInfo | string;
  close(): Promise<void>;
}

/**
 * Serves the API, on a TCP port or on a unix socket, for root and the members of `group`.
 * @param listen `group`: number of a group; null: for root alone. `connections`: how many are kept at most
 * @param opened listens there already: opened by the endpoint's porter, for this process may not
 * @throws when the address is taken
 */
export async function listenDocker(
  app: express.Express,
  listen: (ListenConfig | { path: string; group?: number | null }) & { connections?: number },
  opened?: Server,
): Promise<DockerServer> {
  const tls = 'path' in listen ? undefined : listen.tls;
  // A client that has sent all its input still waits for output.
  const options = { allowHalfOpen: true, noDelay: true };
  /** The sockets below TLS, by who is at their other end. */
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
      // One that was killed leaves its socket.
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

/** Has `server` serve what connects to another one, whose socket came from another process. */
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
      // The porter, which made it, does not know when it is over.
      if ('path' in listen) rmSync(listen.path, { force: true });
    },
  };
}

function peer({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Lets a group in. Without that group, or the right to give it the socket, it stays its owner's alone. */
function admit(path: string, group: number | null): void {
  if (group === null) {
    log.warn({ path }, `there is no group "${SOCKET_GROUP}": only root can use the Docker socket`);
    return;
  }
  try {
    // In this order: nobody else gets in between.
    chownSync(path, process.geteuid?.() ?? 0, group);
    chmodSync(path, 0o660);
  } catch (error) {
    log.warn({ path, group, err: messageOf(error) }, 'only root can use the Docker socket');
  }
}
