/**
 * hostd's connections, bounded in number and time. Everybody on the machine may connect, but clients that have not logged in compete only
 * with each other: the one that has been idle longest makes room. So nobody can keep out the endpoints, which are logged in.
 */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Server } from 'node:https';
import type { Socket } from 'node:net';
import { ConnectionBudget, connectionLimit } from '../../common/connection-budget.js';

/** Most connections of each kind. The endpoint of a virtual container host has a handful. */
const MAX_STRANGERS = 250;
const MAX_KNOWN = 1000;
/** One user's share of that, so that a user whose requests never end cannot keep out others. */
const SHARE = 0.4;
/** A client must finish the TLS handshake within this time. */
export const HANDSHAKE_MS = 15_000;
/** If the rest of a request that was answered already takes longer than this to arrive, its connection is closed. */
const REST_MS = 60_000;

/** Clients, by the sockets that their requests come over. */
const clients = new WeakMap<Socket, Client>();

interface Client {
  known(user: string): void;
}

function peer({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

/** Counts a server's connections. Call this before it listens. */
export function limitConnections(
  server: Server,
  limits: { strangers?: number; known?: number; restMs?: number } = {},
): void {
  const evict = (socket: Socket): void => void socket.destroy();
  const strangers = new ConnectionBudget<Socket>(limits.strangers ?? connectionLimit(MAX_STRANGERS), evict);
  const known = new ConnectionBudget<Socket>(limits.known ?? connectionLimit(MAX_KNOWN), evict);
  /** The connections of each user who has any. */
  const shares = new Map<string, ConnectionBudget<Socket>>();
  const shareOf = new WeakMap<Socket, ConnectionBudget<Socket>>();
  const enterShare = (socket: Socket, user: string): boolean => {
    const share = shares.get(user) ?? new ConnectionBudget<Socket>(Math.max(1, Math.floor(known.limit * SHARE)), evict);
    if (!share.enter(socket)) return false;
    shares.set(user, share);
    shareOf.set(socket, share);
    socket.once('close', () => {
      share.leave(socket);
      if (share.size === 0 && shares.get(user) === share) shares.delete(user);
    });
    share.busy(socket);
    return true;
  };
  /** The sockets below TLS, by the address of the other end. */
  const accepted = new Map<string, Socket>();

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

  server.on('secureConnection', (secure: Socket) => {
    const socket = accepted.get(peer(secure));
    if (socket === undefined) return;
    let isKnown = false;
    clients.set(secure, {
      known(user) {
        if (isKnown) return;
        isKnown = true;
        strangers.leave(socket);
        if (!enterShare(socket, user) || !known.enter(socket)) socket.destroy();
        known.busy(socket);
      },
    });
  });

  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const secure = request.socket;
    const socket = accepted.get(peer(secure));
    if (socket === undefined) return;
    // A stranger whose request has not arrived completely gets no more time than others.
    request.once('end', () => strangers.busy(socket));
    response.once('close', () => {
      strangers.idle(socket);
      known.idle(socket);
      shareOf.get(socket)?.idle(socket);
      if (request.complete) return;
      const timer = setTimeout(() => {
        if (!request.complete) secure.destroy();
      }, limits.restMs ?? REST_MS);
      secure.once('close', () => clearTimeout(timer));
      timer.unref();
    });
    // A logged-in client keeps its place while it is being answered.
    known.busy(socket);
    shareOf.get(socket)?.busy(socket);
  });
}

/** Notes that the client of this request has logged in. */
export function isKnownClient(request: IncomingMessage, user: string): void {
  clients.get(request.socket)?.known(user);
}
