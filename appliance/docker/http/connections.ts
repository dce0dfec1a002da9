/** The connections of one listening socket: limits their number, and closes all of them at the end. */
import type { Socket } from 'node:net';
import { ConnectionBudget } from '../../../src/common/connection-budget.js';
import { Connection, type Handler } from './connection.js';

/** The limit for one listening socket. The unix socket has its own, so that TCP clients cannot lock its users out. */
export const MAX_CONNECTIONS = 1000;
/** Bytes of unfinished heads, of all connections together. A single head may have a megabyte. */
const MAX_UNFINISHED_BYTES = 64 * 1024 * 1024;
/** How many refused clients are told so at a time; others are just disconnected. */
const MAX_TOLD = 50;
const TELL_MS = 2000;

export class Connections {
  private readonly sockets = new Set<Socket>();
  /** By the sockets that the server accepted; with TLS, by the sockets below it. */
  private readonly budget: ConnectionBudget<Socket>;
  private unfinished = 0;
  private told = 0;

  constructor(
    private readonly handler: Handler,
    limit = MAX_CONNECTIONS,
    private readonly onUnixSocket = false,
  ) {
    this.budget = new ConnectionBudget(limit, (socket) => socket.destroy());
  }

  /** Counts a socket that was just accepted. @returns false: there is no room; it is closed, and told why if it is `plain` */
  admit(socket: Socket, plain: boolean): boolean {
    this.sockets.add(socket);
    socket.once('close', () => {
      this.sockets.delete(socket);
      this.budget.leave(socket);
    });
    if (this.budget.enter(socket)) return true;
    this.turnAway(socket, plain);
    return false;
  }

  /** Serves a socket. @param accepted the one below it, with TLS */
  serve(socket: Socket, accepted = socket): void {
    const { budget } = this;
    const watcher = {
      idle: () => budget.idle(accepted),
      busy: () => budget.busy(accepted),
      keeps: (bytes: number) => {
        this.unfinished += bytes;
        while (this.unfinished > MAX_UNFINISHED_BYTES && bytes > 0 && budget.makeRoom());
      },
    };
    new Connection(socket, this.handler, watcher, this.onUnixSocket);
  }

  close(): void {
    // This includes those that became streams, which the server no longer counts.
    for (const socket of this.sockets) socket.destroy();
  }

  private turnAway(socket: Socket, plain: boolean): void {
    socket.on('error', () => socket.destroy());
    if (!plain || this.told >= MAX_TOLD) {
      socket.destroy();
      return;
    }
    this.told++;
    const timer = setTimeout(() => socket.destroy(), TELL_MS);
    socket.once('close', () => {
      clearTimeout(timer);
      this.told--;
    });
    const text = `${JSON.stringify({
      message: `too many connections: ${this.budget.limit} requests are under way, and no more are served at a time`,
    })}\n`;
    const head = `Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(text)}\r\nConnection: close`;
    // Reads and discards its request: closing with unread bytes would reset the connection before the client has the answer.
    socket.resume();
    socket.end(`HTTP/1.1 503 Service Unavailable\r\n${head}\r\n\r\n${text}`);
    socket.once('end', () => socket.destroy());
  }
}
