/**
 * hostd's connections, bounded in number and time. Everybody of the machine may connect: those who have not logged in compete with each
 * other alone, and the one of them that has done nothing for longest makes room. So nobody keeps endpoints out, who have a login.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import { ConnectionBudget, connectionLimit } from '../../common/connection-budget.js';

/** Of each kind. The endpoints of virtual container hosts have a handful each. */
const MAX_STRANGERS = 250;
const MAX_KNOWN = 1000;
/** Of the latter, what one user may have who is no administrator; an endpoint opens 256 at most. */
const SHARE = 0.35;
/** A client has said who it is, as TLS has it, in this time. */
export const HANDSHAKE_MS = 15_000;
/** What is still to come of a request that was answered: its connection is then given up. */
const REST_MS = 60_000;

/** By the sockets that requests come over. */
const clients = new WeakMap<Socket, Client>();

interface Client {
  known(user: string | null): void;
}

function peer({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Keeps count of a server's connections. To be called before it listens. */
export function limitConnections(
  server: Server,
  limits: { strangers?: number; known?: number; restMs?: number } = {},
): void {
  const evict = (socket: Socket): void => void socket.destroy();
  const strangers = new ConnectionBudget<Socket>(limits.strangers ?? connectionLimit(MAX_STRANGERS), evict);
  const known = new ConnectionBudget<Socket>(limits.known ?? connectionLimit(MAX_KNOWN), evict);
  /** The sockets below TLS, by who is at their other end. */
  const accepted = new Map<string, Socket>();
  /** Those of each user who has to leave room for others. */
  const users = new Map<string, number>();
  const mostOfUser = Math.max(1, Math.floor(known.limit * SHARE));

  server.on('connection', (socket: Socket) => {
    const key = peer(socket);
    accepted.set(key, socket);
    socket.once('close', () => {
      accepted.delete(key);
      strangers.leave(socket);
      known.leave(socket);
    });
    if (!strangers.enter(socket)) socket.destroy();
  });

  const count = (user: string, socket: Socket): boolean => {
    const there = users.get(user) ?? 0;
    if (there >= mostOfUser || socket.destroyed) return false;
    users.set(user, there + 1);
    socket.once('close', () => {
      const left = users.get(user)! - 1;
      if (left > 0) users.set(user, left);
      else users.delete(user);
    });
    return true;
  };

  server.on('secureConnection', (secure: Socket) => {
    const socket = accepted.get(peer(secure));
    if (socket === undefined) return;
    let isKnown = false;
    clients.set(secure, {
      known(user) {
        if (isKnown) return;
        isKnown = true;
        strangers.leave(socket);
        if ((user !== null && !count(user, socket)) || !known.enter(socket)) socket.destroy();
        known.busy(socket);
      },
    });
  });

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const secure = request.socket;
    const socket = accepted.get(peer(secure));
    if (socket === undefined) return;
    // A stranger whose request has not come whole is waited for no longer than others.
    request.once('end', () => strangers.busy(socket));
    response.once('close', () => {
      strangers.idle(socket);
      known.idle(socket);
      if (request.complete) return;
      const timer = setTimeout(() => {
        if (!request.complete) secure.destroy();
      }, limits.restMs ?? REST_MS);
      secure.once('close', () => clearTimeout(timer));
      timer.unref();
    });
    // One that has logged in keeps its place while it is answered.
    known.busy(socket);
  });
}

/** The client of this request has logged in. @param user who it is, if that user is to leave room for others */
export function isKnownClient(request: IncomingMessage, user: string | null): void {
  clients.get(request.socket)?.known(user);
}
