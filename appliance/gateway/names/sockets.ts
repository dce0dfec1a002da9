/** The names server's sockets: DNS over UDP and TCP on all addresses of the gateway. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { createServer, type Server, type Socket } from 'node:net';
import { errnoOf } from '../../../src/common/errors.js';
import { Shares } from './limits.js';
import type { NamesServer } from './names-server.js';
import { udpLimit } from './question.js';

const MAX_TCP_BYTES = 65_535;
/** A connection on which nothing was asked for so long is closed (RFC 7766, 6.2.3). */
const IDLE_MS = 10_000;
const MAX_CONNECTIONS = 512;
const MAX_CONNECTIONS_EACH = 32;
/** Questions of one connection, and of one asker over UDP, that wait for their answers. */
const MAX_WAITING = 64;
const MAX_WAITING_UDP = 256;
const MAX_WAITING_ALL = 4096;
/** Errors of a machine without that family of addresses. */
const NO_FAMILY = new Set(['EAFNOSUPPORT', 'EADDRNOTAVAIL', 'EINVAL']);

/** Where it listens. */
export interface ListenPlace {
  /** `0.0.0.0`, `::`. */
  address: string;
  port: number;
}

/** @returns ends it @throws Error of bind(2) */
export async function listen(server: NamesServer, places: readonly ListenPlace[]): Promise<{ close(): void }> {
  const udpShares = new Shares(MAX_WAITING_UDP, MAX_WAITING_ALL);
  const tcpShares = new Shares(MAX_CONNECTIONS_EACH, MAX_CONNECTIONS);
  const open: { close(): void }[] = [];
  try {
    for (const place of places) {
      try {
        open.push(await listenUdp(server, place, udpShares), await listenTcp(server, place, tcpShares));
      } catch (error) {
        if (!place.address.includes(':') || !NO_FAMILY.has(errnoOf(error) ?? '')) throw error;
      }
    }
  } catch (error) {
    for (const one of open) one.close();
    throw error;
  }
  return { close: () => open.splice(0).forEach((one) => void one.close()) };
}

async function listenUdp(server: NamesServer, { address, port }: ListenPlace, shares: Shares): Promise<UdpSocket> {
  // The relay answers for servers outside from their addresses and the same port, which is another socket's then.
  const socket = createSocket({
    ...(address.includes(':') ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' }),
    reuseAddr: true,
  });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address, port, exclusive: true }, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  // Of one packet; the next is another matter.
  socket.on('error', () => undefined);
  socket.on('message', (raw, from) => {
    const asker = from.address.split('%', 1)[0]!;
    const giveBack = shares.take(asker);
    if (giveBack === null) return;
    void server.answer(asker, raw, udpLimit).then((answer) => {
      giveBack();
      // It may have gone.
      if (answer !== null) socket.send(answer, from.port, from.address, () => undefined);
    }, giveBack);
  });
  return socket;
}

async function listenTcp(server: NamesServer, { address, port }: ListenPlace, shares: Shares): Promise<Server> {
  const listener = createServer({ noDelay: true }, (socket) => {
    const asker = (socket.remoteAddress ?? '').split('%', 1)[0]!;
    const giveBack = shares.take(asker);
    if (giveBack === null) {
      socket.resetAndDestroy();
      return;
    }
    socket.once('close', giveBack);
    converse(server, socket, asker);
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen({ host: address, port, exclusive: true, ipv6Only: address.includes(':') }, () => {
      listener.off('error', reject);
      resolve();
    });
  });
  listener.on('error', () => undefined);
  return listener;
}

/** Each message follows its length (RFC 1035, 4.2.2). Answers come as they are ready (RFC 7766, 6.2.1.1). */
function converse(server: NamesServer, socket: Socket, asker: string): void {
  let received = Buffer.alloc(0);
  let waiting = 0;
  let ended = false;
  socket.setTimeout(IDLE_MS, () => socket.destroy());
  socket.on('error', () => socket.destroy());
  socket.on('end', () => {
    ended = true;
    if (waiting === 0) socket.end();
  });
  const ask = async (raw: Buffer): Promise<void> => {
    const answer = await server.answer(asker, raw, () => MAX_TCP_BYTES).catch(() => null);
    waiting--;
    // What is not answered over UDP would leave the asker waiting here.
    if (answer === null || socket.destroyed) {
      socket.destroy();
      return;
    }
    const length = Buffer.alloc(2);
    length.writeUInt16BE(answer.length);
    socket.write(Buffer.concat([length, answer]));
    if (ended && waiting === 0) socket.end();
    else take();
  };
  /** Asks what has arrived. An asker that does not read its answers is not read from either. */
  const take = (): void => {
    while (waiting < MAX_WAITING && socket.writableLength < MAX_TCP_BYTES && received.length >= 2) {
      const length = received.readUInt16BE(0);
      if (received.length < 2 + length) break;
      waiting++;
      void ask(received.subarray(2, 2 + length));
      received = received.subarray(2 + length);
    }
    if (received.length > 2 + MAX_TCP_BYTES) socket.pause();
    else socket.resume();
  };
  socket.on('drain', take);
  socket.on('data', (part) => {
    received = Buffer.concat([received, part]);
    take();
  });
}
