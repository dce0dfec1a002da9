/**
 * The Docker personality: the Engine API over HTTP(S). It parses at the edge, turns requests into calls of the port layer and the
 * image service, and their results into Docker's answers. It keeps no state that cannot be read back from there.
 */
import { rmSync } from 'node:fs';
import { createServer as createHttpServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import { createServer as createHttpsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import express, { type NextFunction, type Request, type Response } from 'express';
import type { ListenConfig } from '../../port-layer/config.js';
import { logger, newOperationId, withOperation } from '../../src/common/log.js';
import { mark } from '../../src/common/trace.js';
import type { Engine } from './engine.js';
import { sendError } from './errors.js';
import { SERVER_VERSION } from './info.js';
import { extrasOf } from './request.js';
import { attachRoutes } from './routes/attach.js';
import { commitRoutes } from './routes/commit.js';
import { containerRoutes } from './routes/containers.js';
import { diskUsageRoutes } from './routes/disk-usage.js';
import { eventRoutes } from './routes/events.js';
import { execRoutes } from './routes/execs.js';
import { fileRoutes } from './routes/files.js';
import { imageRoutes } from './routes/images.js';
import { logRoutes } from './routes/logs.js';
import { networkMemberRoutes } from './routes/network-members.js';
import { notImplementedRoutes } from './routes/not-implemented.js';
import { observeRoutes } from './routes/observe.js';
import { pauseRoutes } from './routes/pause.js';
import { pruneRoutes } from './routes/prune.js';
import { refusedRoutes } from './routes/refused.js';
import { systemRoutes } from './routes/system.js';
import { updateRoutes } from './routes/update.js';
import { volumeRoutes } from './routes/volumes.js';
import { noRoute, setHeaders, takeVersion, versionedRouter } from './routing.js';

const log = logger('docker');

/** The request handler of the API. */
export function dockerApp(engine: Engine): express.Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.set('query parser', 'simple');
  app.use((request, response, next) => {
    setHeaders(response, `Docker/${SERVER_VERSION} (linux)`);
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
  app.use(takeVersion);
  app.use(dockerRouter(engine));
  app.use(noRoute);
  app.use((error: unknown, _request: Request, response: Response, _next: NextFunction) => sendError(response, error));
  return app;
}

/** All routes of the API. */
export function dockerRouter(engine: Engine): express.Router {
  const router = versionedRouter();
  systemRoutes(router, engine);
  eventRoutes(router, engine);
  networkMemberRoutes(router, engine);
  containerRoutes(router, engine);
  attachRoutes(router, engine);
  execRoutes(router, engine);
  logRoutes(router, engine);
  observeRoutes(router, engine);
  pauseRoutes(router, engine);
  updateRoutes(router, engine);
  fileRoutes(router, engine);
  commitRoutes(router, engine);
  pruneRoutes(router, engine);
  volumeRoutes(router, engine);
  diskUsageRoutes(router, engine);
  // Fixed names under /images/ come before those that take any name.
  refusedRoutes(router);
  notImplementedRoutes(router);
  imageRoutes(router, engine);
  return router;
}

/** A listening server. */
export interface DockerServer {
  /** A path for a unix socket. */
  address: AddressInfo | string;
  close(): Promise<void>;
}

/** Serves the API, on a TCP port or on a unix socket that root alone may use. @throws when the address is taken */
export async function listenDocker(
  app: express.Express,
  listen: ListenConfig | { path: string },
): Promise<DockerServer> {
  const tls = 'path' in listen ? undefined : listen.tls;
  const server: Server =
    tls === undefined
      ? createHttpServer(app)
      : createHttpsServer(
          {
            cert: tls.cert,
            key: tls.key,
            minVersion: 'TLSv1.2',
            // A client that has sent all its input still waits for output.
            allowHalfOpen: true,
            ...(tls.clientCa === undefined ? {} : { ca: tls.clientCa, requestCert: true, rejectUnauthorized: true }),
          },
          app,
        );
  // Streams and waits last as long as they last.
  server.requestTimeout = 0;
  server.keepAliveTimeout = 60_000;
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
    upgrade(app, request, socket as Socket, head),
  );
  const connections = new Set<Socket>();
  server.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.once('close', () => connections.delete(socket));
  });
  server.on('clientError', (_error, socket) => {
    if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    if ('path' in listen) {
      // One that was killed leaves its socket.
      rmSync(listen.path, { force: true });
      const before = process.umask(0o177);
      server.listen(listen.path, () => resolve());
      process.umask(before);
    } else {
      server.listen(listen.port, listen.host, () => resolve());
    }
  });
  return {
    address: server.address() as AddressInfo | string,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      // Also those that were taken over for streams, which the server no longer counts.
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

/** A request that may become a raw stream goes the way of all requests; its route takes the connection over or answers plainly. */
function upgrade(app: express.Express, request: IncomingMessage, socket: Socket, head: Buffer): void {
  const response = new ServerResponse(request);
  response.assignSocket(socket);
  response.shouldKeepAlive = false;
  extrasOf(request).upgraded = { socket, head };
  socket.on('error', () => socket.destroy());
  // An answer that is no stream ends the connection.
  response.once('finish', () => socket.end());
  app(request, response);
}
