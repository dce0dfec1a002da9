/** Opens listening sockets that another process is to serve. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { rename, rm } from 'node:fs/promises';
import { createServer, isIPv6, type Server } from 'node:net';

/** Listens on TCP. On an address of IPv6, on that alone. @throws Error of listen(2) */
export async function bindTcp(host: string, port: number): Promise<Server> {
  const server = handedOver();
  await listening(server, (done) => server.listen({ host, port, exclusive: true, ipv6Only: isIPv6(host) }, done));
  return server;
}

/** @throws Error of bind(2) */
export async function bindUdp(address: string, port: number): Promise<UdpSocket> {
  const socket = createSocket(isIPv6(address) ? { type: 'udp6', ipv6Only: true } : { type: 'udp4' });
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address, port, exclusive: true }, resolve);
  });
  return socket;
}

/**
 * Listens on a unix socket, for root and the members of `group`. It is made with its group and mode and only then put in place, in a
 * directory that may be somebody else's: nothing is changed by its name there.
 * @param draft where it is made: in a directory of root's on the same filesystem
 * @param group number of a group; null: for root alone
 * @throws Error of the system
 */
export async function bindSocket(path: string, draft: string, group: number | null): Promise<Server> {
  await rm(draft, { force: true });
  const server = handedOver();
  await listening(server, (done) => {
    const mask = process.umask(group === null ? 0o177 : 0o117);
    const own = process.getegid?.() ?? 0;
    try {
      if (group !== null) process.setegid?.(group);
      // Bound before this returns.
      server.listen(draft, done);
    } finally {
      process.setegid?.(own);
      process.umask(mask);
    }
  });
  try {
    await rename(draft, path);
  } catch (error) {
    server.close();
    throw error;
  }
  return server;
}

/** Until another process has its socket nobody would ever answer: who connects is told so. */
function handedOver(): Server {
  return createServer({ pauseOnConnect: true }, (socket) => socket.destroy());
}

function listening(server: Server, listen: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    listen(resolve);
  });
}
