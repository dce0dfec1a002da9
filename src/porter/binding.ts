/** Opens listening sockets that another process is to serve. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { rename, rm } from 'node:fs/promises';
import { createServer, isIPv6, type Server } from 'node:net';

/** Listens on TCP; on an IPv6 address, for IPv6 only. @throws Error of listen(2) */
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
 * Listens on a unix socket, for root and the members of `group`. The socket gets its group and mode before it is moved into place, since the
 * directory may belong to somebody else: nothing there is changed by name.
 * @param draft where it is made: in a directory that only root can write to, on the same filesystem
 * @param group number of a group; null for root alone
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

/** Until another process has its socket nobody answers, so connections are closed at once. */
function handedOver(): Server {
  return createServer({ pauseOnConnect: true }, (socket) => socket.destroy());
}

function listening(server: Server, listen: (done: () => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    listen(resolve);
  });
}
