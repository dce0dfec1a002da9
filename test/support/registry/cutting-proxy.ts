/** A TCP proxy before a server that breaks connections off. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

export interface CuttingProxy {
  /** `127.0.0.1:40123` */
  address: string;
  /** How many more connections are cut, each after so many bytes to the server. */
  cuts: { left: number; after: number };
  stop(): Promise<void>;
}

/** @param target `host:port` */
export async function startCuttingProxy(target: string): Promise<CuttingProxy> {
  const [host = '', port = ''] = target.split(':');
  const cuts = { left: 0, after: 0 };
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    for (const socket of [client, upstream]) {
      open.add(socket);
      socket.on('error', () => undefined);
      socket.on('close', () => {
        open.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    let sent = 0;
    client.on('data', (chunk: Buffer) => {
      sent += chunk.length;
      if (cuts.left > 0 && sent > cuts.after) {
        cuts.left--;
        // What has gone out arrives; the rest never does.
        upstream.end();
        client.destroy();
      } else if (!upstream.write(chunk)) {
        client.pause();
        upstream.once('drain', () => client.resume());
      }
    });
    upstream.pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cuts,
    stop: async () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}
