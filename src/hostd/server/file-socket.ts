/**
 * `/folder` once more, on a socket of this machine: the endpoints of virtual container hosts run here too, and what they read and write
 * are disks, for which TLS is half of the work. Nobody logs in here: a request needs the cookie of a session that was opened over HTTPS,
 * and may do what that session may. A real vSphere host has no such socket, and its clients use HTTPS.
 */
import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ConnectionBudget, connectionLimit } from '../../common/connection-budget.js';

/** Most connections that have not shown a session's cookie; the one that has been idle longest makes room. */
const MAX_STRANGERS = 100;
/** Most of the others. */
const MAX_KNOWN = 1000;

/** Answers a request, and says whether it had a session's cookie. `known` is called before the answer begins if it has. */
export type AnswerFile = (request: IncomingMessage, response: ServerResponse, known: () => void) => Promise<void>;

/** A listening socket. */
export class FileSocket {
  private constructor(
    private readonly server: Server,
    private readonly path: string,
  ) {}

  /** @param path in a directory that only root may write to; what an earlier hostd has left there is removed */
  static async listen(path: string, answer: AnswerFile): Promise<FileSocket> {
    const evict = (socket: Socket): void => void socket.destroy();
    const strangers = new ConnectionBudget<Socket>(connectionLimit(MAX_STRANGERS), evict);
    const known = new ConnectionBudget<Socket>(connectionLimit(MAX_KNOWN), evict);
    const isKnown = new WeakSet<Socket>();
    const server = createServer((request, response) => {
      const { socket } = request;
      response.once('close', () => known.idle(socket));
      known.busy(socket);
      const enter = (): void => {
        if (isKnown.has(socket)) return;
        isKnown.add(socket);
        strangers.leave(socket);
        if (!known.enter(socket)) socket.destroy();
        known.busy(socket);
      };
      answer(request, response, enter).catch(() => response.destroy());
    });
    server.on('connection', (socket: Socket) => {
      socket.once('close', () => {
        strangers.leave(socket);
        known.leave(socket);
      });
      if (!strangers.enter(socket)) socket.destroy();
    });
    server.requestTimeout = 0; // uploads may take any time
    server.keepAliveTimeout = 120_000;
    await rm(path, { force: true });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(path, resolve);
    });
    // An endpoint has a user of its own, as the machine's other users have, who can do no more here than at the port of HTTPS.
    await chmod(path, 0o666);
    return new FileSocket(server, path);
  }

  async close(): Promise<void> {
    this.server.closeAllConnections();
    await new Promise((closed) => this.server.close(closed));
    await rm(this.path, { force: true });
  }
}
